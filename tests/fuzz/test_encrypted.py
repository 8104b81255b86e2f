"""Random copies: nothing of what must be hidden is seen outside, and nothing gets lost inside."""

import re
from collections.abc import Callable
from email import message_from_bytes
from email.header import Header as Encoded

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailrelay.core import dkim
from mailrelay.core.canonical import canonical
from mailrelay.core.header import Field, split
from mailrelay.core.htmltext import plain_text
from mailrelay.core.letterhead import Header
from mailrelay.core.mime import Entity, tree
from mailrelay.core.pgpmime import Kind, Left, Wish, entity, outer, sealed_form
from mailrelay.core.transfer import decode
from tests.fuzz.test_bodies import CONTENTS, PIECES
from tests.unit.sealing import ARMOR, BOUNDARY, PREFIX, cut, leaves

MARK = b"wombat-4711"
WISHES = st.builds(Wish, st.just(PREFIX), inline=st.booleans(), hide_subject=st.booleans())
MARKED = st.lists(PIECES | st.just(MARK) | st.binary(max_size=12), max_size=40).map(b"".join)
NAMES = st.sampled_from(
    [
        *("X-Topic", "X-Mailrelay-Original-Subject", "X-Original-Subject", "Subject", "Thread-Topic", "Comments"),
        *("Keywords", "Summary", "X-MS-Topic", "HP-Outer", "X-ms-TOPIC"),
        *("Content-Description", "Content-Type", "Content-Disposition", "content-transfer-encoding"),
    ]
)
Spelling = Callable[[str], str]
SPELLINGS: st.SearchStrategy[Spelling] = st.sampled_from(
    [
        lambda text: text,
        lambda text: text.upper(),
        lambda text: f"Re: {text}",
        lambda text: f"about {text}, again",
        lambda text: text.replace(" ", "\r\n\t"),
        lambda text: Encoded(text, "utf-8").encode(linesep="\r\n"),
        lambda text: f"=?utf-8?q?{text.replace(' ', '_')}?=",
    ]
)
SUBJECTS = st.sampled_from(["wombat-4711", "The wombat-4711 of the month", "RE: wombat-4711", "Fwd: AW: wombat-4711 2"])


def sealed(header: Header, body: bytes, wish: Wish) -> tuple[bytes, bytes, Kind] | None:
    """What is encrypted, and the copy; None if it is left alone."""
    form = sealed_form(header, body, wish, BOUNDARY)
    if isinstance(form, Left):
        return None
    head, around = outer(form, ARMOR, BOUNDARY)
    return form.content, head.block + b"\r\n" + around, form.kind


@settings(max_examples=400)
@given(MARKED, WISHES)
@example(b"--" + MARK + b"\r\n\r\nx\r\n--" + MARK + b"--\r\n", Wish(PREFIX))
def test_no_octet_of_a_body_is_outside(content: bytes, wish: Wish) -> None:
    kind = b"Content-Type: multipart/mixed; boundary=%b\r\n" % MARK
    header = Header(b"", (Field(b"from", b"From: a@alias.example\r\n"), Field(b"content-type", kind)))
    done = sealed(header, content, wish)
    assert done is not None and MARK not in done[1] and done[1].isascii()
    assert done[0].count(MARK) == content.count(MARK) + 1 or done[2] is Kind.INLINE
    around = done[1].partition(b"\r\n\r\n")[2]
    assert max(map(len, around.split(b"\r\n"))) <= 76 and not set(around.replace(b"\r\n", b"")) & set(b"\r\n\0")


@settings(max_examples=400)
@given(SUBJECTS, st.lists(st.tuples(NAMES, SPELLINGS), max_size=8), MARKED)
def test_no_octet_of_a_subject_is_outside(
    text: str, fields: list[tuple[str, Callable[[str], str]]], body: bytes
) -> None:
    raws = [f"{name}: {spell(text)}\r\n".encode() for name, spell in fields]
    first = [f"Subject: {text}\r\n".encode(), b"From: a@alias.example\r\n"]
    header = Header(b"", tuple(Field(raw.partition(b":")[0].lower(), raw) for raw in first + raws))
    done = sealed(header, body, Wish(PREFIX, hide_subject=True))
    assert done is not None
    parsed = message_from_bytes(done[1])
    assert parsed.get_all("Subject") == ["[...]"]
    assert parsed["From"] == "a@alias.example" and not re.search(rb"wombat|=\?|4711", done[1], re.IGNORECASE)
    [inside] = [split(done[0]).values(b"subject")]
    assert inside == [text.encode()]


@settings(max_examples=400)
@given(CONTENTS, WISHES)
def test_any_copy_can_be_sealed(content: bytes, wish: Wish) -> None:
    header, body = cut(content)
    done = sealed(header, body, wish)
    if done is None:
        return
    inner, copy, kind = done
    assert not set(inner.replace(b"\r\n", b"")) & set(b"\r\n")
    parsed = message_from_bytes(copy)
    assert parsed.get_content_type() == ("text/plain" if kind is Kind.INLINE else "multipart/encrypted")
    head, around = cut(copy)
    assert dkim.body_hash(around) and all(field.raw.endswith(b"\n") for field in head.fields)
    if kind is Kind.MIME:
        assert inner.endswith(b"\r\n\r\n" + canonical(body)) and inner == entity(header.fields, body)


@settings(max_examples=400)
@given(CONTENTS, st.sampled_from(["", "hello", "żółć", "<b>&"]))
def test_a_hidden_subject_adds_its_line_and_changes_no_part_otherwise(content: bytes, subject: str) -> None:
    header, body = cut(content)
    fields = [field for field in header.fields if b"subject" not in field.name]
    raw = b"Subject: " + Encoded(subject, "utf-8" if not subject.isascii() else None).encode().encode() + b"\r\n"
    header = Header(b"", (Field(b"subject", raw), *fields))
    done = sealed(header, body, Wish(PREFIX, hide_subject=True))
    if done is None:
        return
    bare = tree(split(entity(header.fields, body)))
    found = tree(split(done[0]))
    before = [(one.type, one.encoding, said(bare.message.content, one)) for one in bare.leaves(embedded=True)]
    after = list(found.leaves(embedded=True))
    if found.root.children and bare.root.type in (b"multipart/signed", b"multipart/encrypted"):
        after = after[1:] if subject else after
    assert len(after) == len(before)
    for one, (kind, _, text) in zip(after, before, strict=True):
        assert one.type == kind or (not kind and one is found.root) or kind == b"" or one.type == b"text/plain"
        if b"hp-legacy-display" in one.params:
            assert subject
            new = said(found.message.content, one) or b""
            if kind == b"text/plain" and b"utf-16" not in one.params.get(b"charset", b"utf-16"):
                spoken = subject.encode() if subject.isascii() else rb"[^\r]*"
                assert re.sub(rb"Subject: %b\r\n\r\n" % spoken, b"", new, count=1) == text
            continue
        assert said(found.message.content, one) == text


def said(content: bytes, one: Entity) -> bytes | None:
    raw = content[one.body_start : one.body_end]
    return decode(raw, one.encoding) if not one.broken else raw


ASCII_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\r\n"), max_size=60)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(["plain", "html"]), ASCII_TEXT), min_size=1, max_size=4))
def test_the_inside_has_the_leaves_of_the_unencrypted_copy(parts: list[tuple[str, str]]) -> None:
    body = "".join(f"--b1\r\nContent-Type: text/{kind}\r\n\r\n{text}\r\n" for kind, text in parts) + "--b1--\r\n"
    content = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n"
    content += canonical(body.encode())
    header, raw = cut(content)
    done = sealed(header, raw, Wish(PREFIX))
    if done is not None:
        assert leaves(done[0]) == leaves(content)


@settings(max_examples=300)
@given(st.text(max_size=100) | st.lists(PIECES, max_size=30).map(lambda some: b"".join(some).decode("latin-1")))
def test_any_html_is_read(html: str) -> None:
    text = plain_text(html)
    assert not set(text) & set("\0\x1b\r") and (not text or text.endswith("\n"))
    text.encode()
