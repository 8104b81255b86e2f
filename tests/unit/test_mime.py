"""The tree of parts: offsets, types, what is broken, what is too much."""

import pytest

from mailrelay.core.contenttype import content_type, disposition, transfer_encoding, with_charset
from mailrelay.core.header import split
from mailrelay.core.mime import MAX_DEPTH, MAX_PART_HEADER_OCTETS, MAX_PARTS, Entity, Tree, first_texts, tree

ALTERNATIVE = (
    b'Content-Type: multipart/alternative; boundary="b1"\r\n\r\npreamble\r\n'
    b"--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nplain\r\n"
    b"--b1\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n<p>html</p>\r\n\r\n"
    b"--b1--\r\nepilogue\r\n"
)


def read(content: bytes) -> Tree:
    return tree(split(content))


def mixed(*parts: bytes, kind: bytes = b"mixed", boundary: bytes = b"b1") -> bytes:
    """A multipart entity, header included."""
    lines = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return b'Content-Type: multipart/%b; boundary="%b"\r\n\r\n%b--%b--\r\n' % (kind, boundary, lines, boundary)


def bodies(content: bytes) -> list[bytes]:
    return [content[leaf.body_start : leaf.body_end] for leaf in read(content).leaves()]


def chosen(content: bytes) -> list[bytes]:
    """The bodies that would get a banner."""

    def body(entity: Entity) -> bytes:
        return content[entity.body_start : entity.body_end]

    return first_texts(read(content), body)


def test_parts_lie_where_the_boundaries_say() -> None:
    root = read(ALTERNATIVE).root
    assert (root.type, root.broken, root.children[0].type) == (b"multipart/alternative", "", b"text/plain")
    assert [ALTERNATIVE[child.start : child.header_end] for child in root.children] == [
        b"Content-Type: text/plain; charset=utf-8\r\n",
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: Quoted-Printable\r\n",
    ]
    assert bodies(ALTERNATIVE) == [b"plain", b"<p>html</p>\r\n"]
    assert root.children[0].params == {b"charset": b"utf-8"}
    assert [child.encoding for child in root.children] == [b"7bit", b"quoted-printable"]


def test_a_message_without_content_fields_is_one_plain_text() -> None:
    root = read(b"From: news@shop.example\r\n\r\nhello\r\n").root
    assert (root.type, root.encoding, root.children, root.broken) == (b"text/plain", b"7bit", (), "")


def test_the_body_of_the_message_ends_where_the_message_does() -> None:
    assert bodies(b"\r\nhello\r\n") == [b"hello\r\n"]


@pytest.mark.parametrize(
    ("part", "body"),
    [
        (b"\r\nno header", b"no header"),
        (b"Content-Type: text/plain\r\n\r\n", b""),
        (b"\r\n", b""),
        (b"\r\n--b1x is no boundary\r\n --b1\r\n--b", b"--b1x is no boundary\r\n --b1\r\n--b"),
        (b"\r\n--b1--x\r\n-- b1", b"--b1--x\r\n-- b1"),
        (b"\r\na\nb\rc", b"a\nb\rc"),
    ],
)
def test_odd_parts(part: bytes, body: bytes) -> None:
    content = mixed(part)
    assert bodies(content) == [body]
    assert read(content).root.broken == ""


def test_white_space_after_a_boundary_does_not_count() -> None:
    content = mixed(b"\r\na", b"\r\nb").replace(b"--b1\r\n", b"--b1 \t\r\n").replace(b"--b1--", b"--b1-- ")
    assert bodies(content) == [b"a", b"b"]


def test_line_ends_may_be_bare() -> None:
    content = mixed(b"\r\na", b"X: y\r\n\r\nb").replace(b"\r\n", b"\n")
    assert bodies(content) == [b"a", b"b"]


def test_the_outer_boundary_ends_inner_parts() -> None:
    inner = mixed(b"\r\ninner", boundary=b"b2").replace(b"--b2--\r\n", b"")
    root = read(mixed(inner, b"\r\nouter")).root
    assert [child.broken for child in root.children] == ["no final boundary", ""]
    assert chosen(mixed(inner, b"\r\nouter")) == [b"outer"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (mixed(b"\r\na").replace(b"--b1--\r\n", b""), "no final boundary"),
        (mixed(b"\r\na").replace(b'; boundary="b1"', b""), "no usable boundary parameter"),
        (mixed(b"\r\na").replace(b'"b1"', b'""'), "no usable boundary parameter"),
        (mixed(b"\r\na").replace(b'"b1"', b"b1; boundary=b2"), "two boundary parameters"),
        (mixed(b"\r\na").replace(b'"b1"', b"other"), "no final boundary"),
        (mixed(), "no parts"),
        (mixed(b"\r\na") + b"--b1\r\n\r\nb\r\n--b1--\r\n", "a boundary after the final one"),
        (b"Content-Transfer-Encoding: base64\r\n" + mixed(b"\r\na"), "a multipart in a transfer encoding"),
        (b"Content-Transfer-Encoding: 8bits\r\n\r\na", "unknown transfer encoding"),
        (b"Content-Transfer-Encoding: utf-8\r\n\r\na", "unknown transfer encoding"),
        (b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\na", "content fields stand there twice"),
        (b"From: news@shop.example\r\nno separator", "no empty line after the header"),
        (b"From: news@shop.example\r\n", "no empty line after the header"),
    ],
)
def test_what_is_broken_is_left_alone(content: bytes, why: str) -> None:
    read_tree = read(content)
    assert (read_tree.root.broken, read_tree.excess) == (why, "")
    assert chosen(content) == []


PLAIN, HTML, IMAGE = (b"Content-Type: text/%b\r\n\r\n%b" % (kind, kind) for kind in (b"plain", b"html", b"x-image"))
PICTURE = b"Content-Type: image/png\r\n\r\npicture"
FILE = b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nfile"
NAMED = b"Content-Type: text/html\r\nContent-Disposition: inline; filename*0*=utf-8''a%20b.html\r\n\r\nfile"
BROKEN = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bits\r\n\r\nbroken"
INNER = b"b2"


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (PLAIN, [b"plain"]),
        (HTML, [b"html"]),
        (FILE, []),
        (mixed(PLAIN, HTML, kind=b"alternative"), [b"plain", b"html"]),
        (mixed(HTML, PLAIN, kind=b"alternative"), [b"html", b"plain"]),
        (mixed(PLAIN, mixed(HTML, IMAGE, kind=b"related", boundary=INNER), kind=b"alternative"), [b"plain", b"html"]),
        (mixed(PLAIN, mixed(BROKEN, HTML, kind=b"related", boundary=INNER), kind=b"alternative"), [b"plain"]),
        (mixed(PLAIN, mixed(PICTURE, HTML, kind=b"related", boundary=INNER), kind=b"alternative"), [b"plain", b"html"]),
        (mixed(BROKEN, HTML, kind=b"alternative"), [b"html"]),
        (mixed(mixed(PLAIN, HTML, kind=b"alternative", boundary=INNER), PLAIN), [b"plain", b"html"]),
        (mixed(PLAIN, HTML), [b"plain"]),
        (mixed(PICTURE, PLAIN), [b"plain"]),
        (mixed(FILE, NAMED, HTML), [b"html"]),
        (mixed(BROKEN, PLAIN), [b"plain"]),
        (mixed(PLAIN, kind=b"x-unknown"), [b"plain"]),
        (mixed(PLAIN, kind=b"signed"), []),
        (mixed(mixed(PLAIN, kind=b"signed", boundary=INNER), PLAIN), [b"plain"]),
        (mixed(PLAIN, kind=b"report"), []),
        (mixed(b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner"), []),
        (mixed(PLAIN, kind=b"digest"), [b"plain"][:0]),
        (mixed(b"Content-Type: png\r\n\r\nx", b"Content-Type: text\r\n\r\nx", b"Content-Type: .pdf\r\n\r\nx"), []),
    ],
)
def test_the_texts_that_people_see_first(content: bytes, texts: list[bytes]) -> None:
    assert chosen(content) == texts


def test_the_root_of_related_parts_may_be_named() -> None:
    named = b"Content-Type: text/html\r\nContent-ID: <r@x>\r\n\r\nroot"
    content = mixed(HTML, named, kind=b"related").replace(b"related;", b'related; start="<r@x>";')
    assert chosen(content) == [b"root"]


def test_none_sends_on_to_the_next_text() -> None:
    content = mixed(PLAIN, mixed(HTML, PLAIN, kind=b"alternative", boundary=INNER))
    seen: list[bytes] = []

    def only_html(entity: Entity) -> bytes | None:
        seen.append(entity.type)
        return entity.type if entity.type == b"text/html" else None

    assert first_texts(read(content), only_html) == [b"text/html"]
    assert seen == [b"text/plain", b"text/html", b"text/plain"]


def test_attached_messages_have_parts_of_their_own() -> None:
    inner = b"Content-Type: message/rfc822\r\n\r\n" + mixed(PLAIN, HTML, boundary=INNER)
    read_tree = read(mixed(PLAIN, inner))
    assert [leaf.type for leaf in read_tree.leaves()] == [b"text/plain", b"message/rfc822"]
    assert [leaf.type for leaf in read_tree.leaves(embedded=True)] == [b"text/plain", b"text/plain", b"text/html"]
    digest = read(mixed(b"\r\nSubject: one\r\n\r\nhello", kind=b"digest")).root.children[0]
    assert (digest.type, digest.children[0].type) == (b"message/rfc822", b"text/plain")


def nested(levels: int) -> bytes:
    content = PLAIN
    for level in range(levels):
        content = mixed(content, boundary=b"level-%d" % level)
    return content


@pytest.mark.parametrize(
    ("content", "excess"),
    [
        (nested(MAX_DEPTH - 1), ""),
        (nested(MAX_DEPTH), "parts are nested too deep"),
        (nested(40), "parts are nested too deep"),
        (mixed(*[PLAIN] * MAX_PARTS), ""),
        (mixed(*[PLAIN] * (MAX_PARTS + 1)), "too many parts"),
        (mixed(*[mixed(*[PLAIN] * 49, boundary=INNER)] * 11), "too many parts"),
        (mixed(*[PLAIN] * 10_000), "too many parts"),
        (mixed(b"X: %b\r\n\r\na" % (b"x" * (MAX_PART_HEADER_OCTETS - 5))), ""),
        (mixed(b"X: %b\r\n\r\na" % (b"x" * (MAX_PART_HEADER_OCTETS - 4))), "the header of a part is too long"),
        (b'Content-Type: text/plain; x="%b"\r\n\r\na' % (b"x" * MAX_PART_HEADER_OCTETS), "a content field is too long"),
        (mixed(b"\r\n" + b"--b1x\r\n" * 20_001), "too many lines like a boundary"),
    ],
    ids=range(11),
)
def test_beyond_the_limits_nothing_is_read(content: bytes, excess: str) -> None:
    read_tree = read(content)
    assert read_tree.excess == excess
    assert bool(read_tree.root.children) is (excess == "")
    assert bool(chosen(content)) is (excess == "")


@pytest.mark.parametrize(
    ("value", "word", "params"),
    [
        (b"Text/HTML; Charset=UTF-8", b"text/html", {b"charset": b"UTF-8"}),
        (b"text/plain", b"text/plain", {}),
        (b"text/plain;", b"text/plain", {}),
        (b'text/plain; charset="us-ascii" (plain); format=flowed', b"text/plain", {b"charset": b"us-ascii"}),
        (b"text/html charset=utf-8", b"text/html", {b"charset": b"utf-8"}),
        (b"text/plain ; charset = utf-8", b"text/plain", {b"charset": b"utf-8"}),
        (b'multipart/mixed; boundary="a;b \\"c\\\\"', b"multipart/mixed", {b"boundary": b'a;b "c\\'}),
        (b'multipart/mixed; boundary="open', b"multipart/mixed", {b"boundary": b"open"}),
        (b"multipart/mixed; boundary==_a/b:c?d", b"multipart/mixed", {b"boundary": b"=_a/b:c?d"}),
        (b'multipart/mixed; type="a; boundary=x"; boundary=y', b"multipart/mixed", {b"boundary": b"y"}),
        (b"text/plain; charset*=utf-8'en'a%2Db", b"text/plain", {b"charset": b"a-b"}),
        (b"multipart/mixed; boundary*1=b; boundary*0=a", b"multipart/mixed", {b"boundary": b"ab"}),
        (
            b"multipart/mixed; boundary*0*=x''a%20; boundary*1=%62; boundary*3=z",
            b"multipart/mixed",
            {b"boundary": b"a %62"},
        ),
        (b"png", b"", {}),
        (b"text", b"", {}),
        (b".pdf", b"", {}),
        (b"", b"", {}),
        (b"text/plain, text/html", b"", {}),
        (b"text / plain", b"", {}),
    ],
)
def test_content_types_are_read_leniently(value: bytes, word: bytes, params: dict[bytes, bytes]) -> None:
    read_value = content_type(value)
    assert read_value.word == word
    assert params.items() <= read_value.params.items()


def test_parameters_that_contradict_themselves_are_named() -> None:
    assert content_type(b"a/b; x=1; x=1; y=1; y=2; z=1; z*=2").ambiguous == {b"y", b"z"}


def test_other_content_fields() -> None:
    assert disposition(b'ATTACHMENT; filename="a b"').word == b"attachment"
    assert disposition(b"; x").word == b""
    assert transfer_encoding(b" Base64 (really) ") == b"base64"


@pytest.mark.parametrize(
    ("raw", "changed"),
    [
        (b"Content-type: text/plain; CHARSET=utf-16\r\n", b"Content-type: text/plain; CHARSET=utf-8\r\n"),
        (
            b'A: t/p; x="; charset=a";\r\n\tcharset="utf-16"; z=1\r\n',
            b'A: t/p; x="; charset=a";\r\n\tcharset=utf-8; z=1\r\n',
        ),
        (b"A: t/p; charset*=x''utf-16\r\n", None),
        (b"A: t/p\r\n", None),
    ],
)
def test_the_charset_changes_and_nothing_else(raw: bytes, changed: bytes | None) -> None:
    assert with_charset(raw, b"utf-8") == changed
