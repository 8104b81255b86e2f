"""Every ugly message through the body work: nothing raises, nothing is slow, frozen content stays."""

import time

import pytest

from mailrelay.core.banner import Facts, banner, warning
from mailrelay.core.bodyedit import Edited, apply, edit, needs_reencoding, reencoded, splits_signed_lines
from mailrelay.core.frozen import Frozen, frozen
from mailrelay.core.header import split
from mailrelay.core.mime import Tree, tree
from tests.golden.ugly import UGLY, Builder

NAMES = [name for name, _ in UGLY]
BANNER = banner(
    Facts("a1@alias.example", "Zażółć", "news@shop.example", "Your order 77", "https://app.relay.example/u/x")
)
WARNING = warning("dmarc")
# The bound of the specification is 50 ms for 100 KB; other work goes on beside the tests.
SECONDS_PER_100_KB = 0.05
PATIENCE = 30  # the square would take minutes

each = pytest.mark.parametrize("build", [build for _, build in UGLY], ids=NAMES)


def worked(content: bytes) -> tuple[Tree, Frozen, Edited]:
    parts = tree(split(content))
    state = frozen(parts)
    return parts, state, edit(parts, state, WARNING, BANNER)


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len(UGLY) >= 80
    assert len(set(NAMES)) == len(UGLY)


@each
def test_the_body_work_takes_linear_time(build: Builder) -> None:
    content = build()
    began = time.process_time()
    worked(content)
    assert time.process_time() - began < PATIENCE * SECONDS_PER_100_KB * max(1, len(content) / 100_000)


@each
def test_only_what_must_change_changes(build: Builder) -> None:
    content = build()
    parts, state, done = worked(content)
    message = parts.message
    if not done.inserted and not needs_reencoding(message):
        assert done == Edited(message.body, {}, False)
    if not state.body_edits:
        assert not done.inserted
    if not needs_reencoding(message):
        assert edit(parts, state) == Edited(message.body, {}, False) == reencoded(parts)
    assert content.startswith(b"".join(field.raw for field in message.fields))
    splits_signed_lines(message)


@each
def test_the_result_reads_as_the_original_did(build: Builder) -> None:
    parts, _, done = worked(build())
    header = b"".join(field.raw for field in apply(parts.message.fields, done.fields))
    separator = parts.message.content[parts.message.header_end : parts.message.body_start]
    again = tree(split(header + separator + done.body))
    assert again.excess == parts.excess
    assert [leaf.type for leaf in again.leaves()] == [leaf.type for leaf in parts.leaves()]
    assert frozen(again).why in (frozen(parts).why, "")


# What people should see a banner in, however odd; in all others there is no text, or it must not be touched.
TAKES_BANNER = """
    body-only two-mime-versions mbox-line list-mail lf-lines mixed-line-ends long-line long-line-in-html nested-29
    boundary-in-pieces boundary-is-our-mark two-texts-apart related-first seven-bits-with-eight raw-latin-1
    raw-utf-16 utf-16-html-in-base64 base64-on-one-line qp-with-eight-bits qp-on-one-line charset-iso-2022-jp
    charset-big5 nul-octets html-with-comments html-of-brackets calendar-invite calendar-attached amp list-footer
    attached-message appledouble part-without-header
"""
NO_BANNER = """
    empty header-only no-separator two-content-types two-transfer-encodings boundary-missing boundary-empty
    boundary-never-used final-boundary-missing final-boundary-first same-boundary-inside parts-after-the-end nested-40
    nested-1000 wrapped-40 10000-parts part-header-of-1-mb like-boundaries types-that-are-none html-as-attachment
    encoding-8bits encoding-utf-8 encoding-uuencode multipart-in-base64 base64-with-footer base64-cut charset-unknown
    charset-utf-7 charset-zlib utf-16-that-is-none charset-iso-2022-jp-open binary pgp-mime pgp-signed pgp-inline
    pgp-inline-signed smime-encrypted smime-opaque smime-signed calendar-only dsn mdn arf partial external-body digest
    content-type-of-1-mb long-line-in-signed pgp-inline-after-blank-lines
"""


@pytest.mark.parametrize(
    ("name", "takes"),
    [*((name, True) for name in TAKES_BANNER.split()), *((name, False) for name in NO_BANNER.split())],
)
def test_who_gets_a_banner(name: str, takes: bool) -> None:
    *_, done = worked(dict(UGLY)[name]())
    assert done.inserted is takes
