"""Random bodies: nothing raises, parts lie inside each other, and what was inserted can be taken out again."""

from collections.abc import Iterator

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailrelay.core import charset
from mailrelay.core.banner import Facts, Fragment, banner, warning
from mailrelay.core.bodyedit import Edited, apply, edit, needs_reencoding, reencoded
from mailrelay.core.contenttype import content_type, disposition, with_charset
from mailrelay.core.frozen import frozen
from mailrelay.core.header import split
from mailrelay.core.htmlsplice import after_body_tag, before_body_end
from mailrelay.core.mime import ENCODINGS, Entity, Tree, has_delimiter, tree
from mailrelay.core.transfer import decode, encode

TOP = Fragment("<!--mr-banner-->żółć<!--/mr-banner-->", ("[mr", "żółć", "mr]"))
BOTTOM = Fragment("<!--mr-bottom-->żółć<!--/mr-bottom-->", ("[bottom", "żółć", "bottom]"))

PIECES = st.sampled_from(
    [
        *(
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b":",
            b";",
            b"=",
            b'"',
            b"--",
            b"\0",
            b"\xff",
            b"x",
            b"<",
            b">",
            b"\r\n\r\n",
        ),
        *(
            b"Content-Type: ",
            b"multipart/mixed",
            b"multipart/alternative",
            b"text/html",
            b"text/plain",
            b"message/rfc822",
        ),
        *(b"; boundary=b", b"; boundary=bb", b"\r\n--b\r\n", b"\r\n--b--\r\n", b"\r\n--bb\r\n", b"\r\n--bb--\r\n"),
        *(b"Content-Transfer-Encoding: ", b"base64", b"quoted-printable", b"8bit", b"; charset=utf-16", b"YWJj"),
        *(b"<body>", b"</body>", b"<!--", b"-->", b"=C3=A9", b"=\r\n", b"x" * 600, b"-----BEGIN PGP MESSAGE-----\r\n"),
    ]
)
CONTENTS = st.lists(PIECES | st.binary(max_size=12), max_size=40).map(b"".join)


def every(entity: Entity) -> Iterator[Entity]:
    yield entity
    for child in entity.children:
        yield from every(child)


@settings(max_examples=500)
@given(CONTENTS)
def test_nothing_raises_and_every_part_lies_in_its_place(content: bytes) -> None:
    parts = tree(split(content))
    for entity in every(parts.root):
        assert entity.start <= entity.header_end <= entity.body_start <= entity.body_end
        assert b"".join(field.raw for field in entity.fields) == content[entity.start : entity.header_end]
        places = [entity.body_start, *(at for child in entity.children for at in (child.start, child.body_end))]
        assert places == sorted(places) and places[-1] <= entity.body_end
    state = frozen(parts)
    done = edit(parts, state, TOP, BOTTOM)
    if not done.inserted and not needs_reencoding(parts.message):
        assert done == Edited(parts.message.body, {}, False)
    assert edit(parts, state).inserted is False
    reencoded(parts)


@settings(max_examples=300)
@given(CONTENTS | st.binary(max_size=200))
def test_small_readers_take_anything(content: bytes) -> None:
    content_type(content)
    disposition(content)
    with_charset(content, b"utf-8")
    charset.codec(content)
    for place in (after_body_tag(content), before_body_end(content)):
        assert place is None or 0 <= place <= len(content)


TEXTS = st.lists(
    st.sampled_from(
        [
            *(
                "a",
                "é",
                "\u65e5",
                " ",
                "\t",
                "\r\n",
                "=",
                ".",
                "From x",
                "--b0",
                "--b1\r\n",
                "\r\n--b1",
                "x" * 80,
                "x" * 1000,
            ),
            *(
                "<p>",
                "</p>",
                "<body>",
                "</body>",
                "<!--",
                "-->",
                "<a b='",
                "'>",
                "<style>",
                "</style>",
                "\r\n\r\n",
                "\0",
            ),
        ]
    ),
    max_size=12,
).map("".join)
CODECS = ["utf-8", "iso-8859-1", "iso-2022-jp", "utf-16", "utf-16-le", "gb18030", "us-ascii"]


@st.composite
def leaves(draw: st.DrawFn) -> bytes:
    codec = draw(st.sampled_from(CODECS))
    encoding = draw(st.sampled_from(sorted(ENCODINGS)))
    kind = draw(st.sampled_from([b"text/plain", b"text/html", b"text/html", b"image/png"]))
    body = encode(draw(TEXTS).encode(codec, "replace"), encoding)
    disposed = draw(st.sampled_from([b"", b"", b"", b"Content-Disposition: attachment\r\n"]))
    named = b"Content-Transfer-Encoding: %b\r\n" % encoding if encoding != b"7bit" else b""
    return b"Content-Type: %b; charset=%b\r\n%b%b\r\n%b" % (kind, codec.encode(), named, disposed, body)


@st.composite
def multiparts(draw: st.DrawFn, parts: st.SearchStrategy[bytes]) -> bytes:
    boundary = b"b%d" % draw(st.integers(0, 99))
    kind = draw(st.sampled_from([b"mixed", b"alternative", b"related"]))
    lines = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in draw(st.lists(parts, min_size=1, max_size=3)))
    return b"Content-Type: multipart/%b; boundary=%b\r\n\r\npre\r\n%b--%b--\r\npost" % (kind, boundary, lines, boundary)


MESSAGES = st.recursive(leaves(), multiparts, max_leaves=6)


def said(parts: Tree) -> list[bytes]:
    """What every leaf says, as UTF-8 where it is text in a wide charset."""
    texts = []
    for leaf in parts.leaves():
        raw = parts.message.content[leaf.body_start : leaf.body_end]
        text = decode(raw, leaf.encoding)
        codec = charset.codec(leaf.params.get(b"charset", b""))
        if text is not None and codec is not None and charset.is_wide(codec) and leaf.type.startswith(b"text/"):
            narrow = charset.narrow(text, codec)
            text = text if narrow is None else narrow
        texts.append(raw if text is None else text)
    return texts


def without_fragments(text: bytes) -> bytes:
    for codec in CODECS:
        if codec.startswith("utf-16"):
            continue
        for fragment in (TOP, BOTTOM):
            text = text.replace(charset.encode(fragment.html, charset.codec(codec.encode()) or "", markup=True), b"")
        plain = ("\r\n".join((*TOP.plain, "", "")), "\r\n".join(("", *BOTTOM.plain, "")))
        for lines in (*plain, "\r\n".join(("", "", *BOTTOM.plain))):
            text = text.replace(charset.encode(lines, charset.codec(codec.encode()) or "", markup=False), b"")
    return text


@settings(max_examples=700)
@example(b"Content-Type: text/plain; charset=utf-8\r\n\r\n")
@given(MESSAGES)
def test_what_was_inserted_can_be_taken_out_again(content: bytes) -> None:
    before = tree(split(content))
    done = edit(before, frozen(before), TOP, BOTTOM)
    header = b"".join(field.raw for field in apply(before.message.fields, done.fields))
    after = tree(split(header + b"\r\n" + done.body))
    assert done.inserted is (b"mr" in b"".join(said(after)))
    assert [leaf.type for leaf in after.leaves()] == [leaf.type for leaf in before.leaves()]
    assert [without_fragments(text) for text in said(after)] == said(before)
    assert not needs_reencoding(after.message) or any(entity.broken for entity in every(before.root))
    skeleton = [entity.fields for entity in every(before.root) if entity.is_multipart]
    assert [entity.fields for entity in every(after.root) if entity.is_multipart] == skeleton


LINES = ["--b1", "--b1--", "----- mailrelay -----", "x" * 75]


@settings(max_examples=200)
@given(
    st.sampled_from(["b1", "--- mailrelay -----", "b1--"]),
    st.lists(st.sampled_from(LINES), max_size=4).map(" ".join),
    st.sampled_from([b"7bit", b"8bit", b"quoted-printable", b"base64"]),
    st.lists(st.sampled_from(["x" * 75, "--b1", "\r\n", "y" * 1000]), max_size=6).map("".join),
)
def test_no_line_of_ours_is_a_boundary_of_theirs(boundary: str, subject: str, encoding: bytes, text: str) -> None:
    mark = boundary.encode()
    if has_delimiter(text.encode(), mark):
        return
    body = encode(text.encode(), encoding)
    if has_delimiter(body, mark):
        return
    part = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (encoding, body)
    content = b'Content-Type: multipart/mixed; boundary="%b"\r\n\r\n--%b\r\n%b\r\n--%b--\r\n' % (mark, mark, part, mark)
    parts = tree(split(content))
    shown = banner(Facts("a1@alias.example", subject, subject, subject))
    for done in (edit(parts, frozen(parts), shown, warning("spam")), reencoded(parts)):
        after = tree(split(split(content).content[: parts.root.body_start] + done.body))
        assert len(after.root.children) == 1
        assert not after.root.broken
        assert text.encode() in said(after)[0]
