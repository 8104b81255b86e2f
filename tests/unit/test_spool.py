"""Messages wait, encrypted, for news of their copies; trouble with that is nobody else's."""

import os
import resource
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailrelay import metrics
from mailrelay.clients import spool as spool_module
from mailrelay.clients.spool import Spool, Spooled
from mailrelay.core.ledger import OutboundId
from mailrelay.core.sealed import vault

ONE, OTHER = OutboundId(0x0123456789ABCDEF), OutboundId(2**64 - 1)
CONTENT = b"Subject: hello\r\n\r\nhello \x00\xff\r\n"
EVIDENCE = b"v=1; q=4XyZ12AbCd; mac=00"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Spool:
    return Spool(folder, vault([b"a secret of the installation"]), secrets.token_bytes)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def troubles(step: str) -> float:
    return float(metrics.SPOOL_TROUBLE.labels(step)._value.get())


async def test_what_was_kept_is_taken_as_it_was(spool: Spool) -> None:
    assert await spool.keep(ONE, CONTENT, EVIDENCE)
    assert await spool.keep(OTHER, b"", b"")
    assert await spool.take(ONE) == Spooled(CONTENT, EVIDENCE)
    assert await spool.take(ONE) == Spooled(CONTENT, EVIDENCE)
    assert await spool.take(OTHER) == Spooled(b"", b"")


async def test_kept_twice_the_last_one_counts(spool: Spool, folder: Path) -> None:
    await spool.keep(ONE, CONTENT, EVIDENCE)
    await spool.keep(ONE, b"other", b"")
    assert await spool.take(ONE) == Spooled(b"other", b"")
    assert len(files(folder)) == 1


async def test_what_is_dropped_is_gone(spool: Spool, folder: Path) -> None:
    before = troubles("drop"), troubles("take")
    await spool.keep(ONE, CONTENT, EVIDENCE)
    await spool.drop([ONE, OTHER])
    await spool.drop([])
    assert await spool.take(ONE) is None
    assert await spool.take(OTHER) is None
    assert files(folder) == []
    assert (troubles("drop"), troubles("take")) == before


async def test_nobody_else_reads_it(spool: Spool, folder: Path) -> None:
    await spool.keep(ONE, CONTENT, EVIDENCE)
    (file,) = files(folder)
    assert file.relative_to(folder) == Path("01/23456789abcdef")
    assert b"hello" not in file.read_bytes()
    assert [path.stat().st_mode & 0o777 for path in (file, file.parent, folder)] == [0o600, 0o700, 0o700]


async def test_a_file_in_anothers_place_is_not_believed(spool: Spool, folder: Path) -> None:
    await spool.keep(ONE, CONTENT, EVIDENCE)
    await spool.keep(OTHER, b"other", b"")
    mine, others = files(folder)
    os.replace(others, mine)
    before = troubles("take")
    assert await spool.take(ONE) is None
    assert troubles("take") == before + 1


@pytest.mark.parametrize("left", [0, 10, 60])
async def test_a_file_that_a_crash_cut_is_none(spool: Spool, folder: Path, left: int) -> None:
    await spool.keep(ONE, CONTENT, EVIDENCE)
    (file,) = files(folder)
    os.truncate(file, left)
    assert await spool.take(ONE) is None


@pytest.mark.parametrize("inline_octets", [10, 10**6], ids=["in-a-thread", "at-once"])
async def test_large_messages_are_the_same(spool: Spool, monkeypatch: pytest.MonkeyPatch, inline_octets: int) -> None:
    monkeypatch.setattr(spool_module, "_INLINE_OCTETS", inline_octets)
    content = secrets.token_bytes(300_000)
    await spool.keep(ONE, content, EVIDENCE)
    assert await spool.take(ONE) == Spooled(content, EVIDENCE)


async def test_old_ones_are_swept_and_what_crashes_left(spool: Spool, folder: Path) -> None:
    now = datetime.now(UTC)
    await spool.keep(ONE, CONTENT, EVIDENCE)
    await spool.keep(OTHER, CONTENT, EVIDENCE)
    old = (now - timedelta(days=7)).timestamp()
    fresh, stale = files(folder)
    leftover = fresh.with_name(".new-abc")
    leftover.touch()
    for path in (stale, leftover):
        os.utime(path, (old, old))
    assert await spool.sweep(now - timedelta(days=6)) == 2
    assert files(folder) == [fresh]
    assert await spool.sweep(now + timedelta(days=1)) == 1


@pytest.fixture(params=["missing", "file", "link"])
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A place where no folder can be."""
    match request.param:
        case "missing":
            return tmp_path / "missing" / "spool"
        case "file":
            (tmp_path / "spool").touch()
        case _:
            (tmp_path / "spool").symlink_to(tmp_path / "missing")
    return tmp_path / "spool"


async def test_trouble_stays_here(nowhere: Path) -> None:
    spool = Spool(nowhere, vault([b"a secret of the installation"]), secrets.token_bytes)
    before = troubles("keep")
    assert not await spool.keep(ONE, CONTENT, EVIDENCE)
    assert troubles("keep") == before + 1
    assert await spool.take(ONE) is None
    await spool.drop([ONE])
    assert await spool.sweep(datetime.now(UTC)) == 0


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files cannot grow beyond a megabyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_disturbs_nobody(spool: Spool, folder: Path, full_disk: None) -> None:
    assert not await spool.keep(ONE, bytes(2**20), EVIDENCE)
    assert files(folder) == []
    assert await spool.take(ONE) is None


async def test_trouble_is_told_when_it_begins_and_ends(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Logger:
        def warning(self, event: str, **_: object) -> None:
            told.append(event)

        info = warning

    monkeypatch.setattr("mailrelay.log.logger", Logger)
    os.symlink(folder.with_name("missing"), folder)
    for _ in range(3):
        await spool.keep(ONE, CONTENT, EVIDENCE)
    os.unlink(folder)
    for _ in range(3):
        await spool.keep(ONE, CONTENT, EVIDENCE)
    assert told == ["spool.troubled", "spool.recovered"]
