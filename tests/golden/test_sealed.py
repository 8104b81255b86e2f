"""Encrypted copies, written down: in.eml is the copy as it would go out in clear, inner.txt what is encrypted of it,
out.eml what goes out, with a few lines of armor in place of the real ones.

After a change that is meant, `python -m tests.golden.test_sealed` writes inner.txt and out.eml anew.
"""

from pathlib import Path

import pytest

from mailrelay.core.pgpmime import Left, outer, sealed_form
from tests.unit.sealing import ARMOR, BOUNDARY, HIDDEN, INLINE, NORMAL, cut

FOLDER = Path(__file__).parent / "pgp"
CASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())
_WISHES = {"mime": NORMAL, "hidden": HIDDEN, "inline": INLINE}


def made(folder: Path) -> tuple[bytes, bytes]:
    """inner.txt and out.eml; the former is empty where the copy stays as it is."""
    content = (folder / "in.eml").read_bytes()
    form = sealed_form(*cut(content), _WISHES[folder.name.partition("-")[2].partition("-")[0]], BOUNDARY)
    if isinstance(form, Left):
        return b"", content
    header, body = outer(form, ARMOR, BOUNDARY)
    return form.content, header.block + b"\r\n" + body


@pytest.mark.parametrize("folder", CASES, ids=[path.name for path in CASES])
def test_the_copy_is_sealed_as_it_is_written_down(folder: Path) -> None:
    inner, out = made(folder)
    assert inner == (folder / "inner.txt").read_bytes()
    assert out == (folder / "out.eml").read_bytes()


@pytest.mark.parametrize("folder", CASES, ids=[path.name for path in CASES])
def test_the_case_says_why(folder: Path) -> None:
    why = (folder / "why.md").read_text()
    assert len(why) > 40 and "spec" in why.lower()


if __name__ == "__main__":
    for each in CASES:
        for name, octets in zip(("inner.txt", "out.eml"), made(each), strict=True):
            (each / name).write_bytes(octets)
