"""Encrypted copies as GnuPG opens them: octet for octet what was encrypted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailrelay.core.pgpmime import Wish
from tests.unit.sealing import HEAD, HIDDEN, INLINE, NORMAL, Gpg, formed, leaves, out, said, walk
from tests.unit.test_frozen import html, multipart, plain
from tests.unit.test_pgpmime import MALFORMED, PDF
from tests.unit.test_protected import ALTERNATIVE, SIGNED


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    found = Gpg(Path(tmp_path_factory.mktemp("gpg")) / "h")
    yield found
    found.close()


COPIES = {
    "plain": plain(b"hello \r\n\r\n"),
    "8-bit": b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa4\r\n",
    "attachment": multipart(b"mixed", ALTERNATIVE.replace(b"b1", b"b2"), PDF),
    "signed": SIGNED,
    "empty": b"\r\n",
    "NUL": MALFORMED["NUL"],
    "no boundary": MALFORMED["no boundary"],
    "long line": plain(b"x" * 5000),
}


@pytest.mark.parametrize("content", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("wish", [NORMAL, HIDDEN], ids=["normal", "hidden"])
def test_row_151_gpg_decrypts_the_part_and_verifies_the_signature(gpg: Gpg, content: bytes, wish: Wish) -> None:
    form = formed(HEAD + content, wish)
    _, _, data = walk(out(form, gpg.sealed(form.content)))
    opened = gpg.opened(said(data))
    assert opened == form.content
    if wish is NORMAL:
        assert leaves(opened) == leaves(HEAD + content)


@pytest.mark.parametrize("content", [plain(b"hello \r\n"), html(b"<p>Gr&uuml;&szlig;e")], ids=["plain", "html"])
def test_gpg_decrypts_the_body_of_an_inline_copy(gpg: Gpg, content: bytes) -> None:
    form = formed(HEAD + content, INLINE)
    [sent] = walk(out(form, gpg.sealed(form.content)))
    assert sent.get_content_type() == "text/plain" and sent.get_content_charset() == "utf-8"
    opened = gpg.opened(said(sent))
    assert opened == form.content and opened.decode("utf-8").strip() in ("hello", "Grüße")
