"""The mail log is followed over its rotations: every line once, none lost, in bounded memory."""

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

import pytest

from mailrelay.clients.logtail import FileTail, JournalTail, local_zone
from mailrelay.core.errors import Unavailable
from mailrelay.core.maillog import Chunk, Position, Rejected
from mailrelay.wire.maillog import read


class Tail(Protocol):
    async def read(self, after: Position) -> Chunk: ...


class Reader:
    """Reads on from where it was, as the watcher does."""

    def __init__(self, tail: Tail, position: Position | None = None) -> None:
        self.tail = tail
        self.position = position or Position()

    async def lines(self) -> list[bytes]:
        """All that can be read now."""
        found: list[bytes] = []
        while True:
            chunk = await self.tail.read(self.position)
            found += chunk.lines
            self.position = chunk.position
            if not chunk.more and not chunk.lines:
                return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mail.log"


def write(log: Path, *lines: str) -> None:
    with log.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def add(log: Path, octets: bytes) -> None:
    with log.open("ab") as file:
        file.write(octets)


def rotate(log: Path) -> None:
    """As logrotate does with `create`."""
    log.rename(log.with_name("mail.log.1"))
    log.touch()


def copy_and_truncate(log: Path) -> None:
    shutil.copyfile(log, log.with_name("mail.log.1"))
    os.truncate(log, 0)


def pass_day(log: Path, day: int, name: str, copied: bool) -> None:
    """A day's lines, rotated under a name. Somebody writes other files there."""
    write(log, f"{day} a", f"{day} b")
    if copied:
        shutil.copyfile(log, log.with_name(name))
        os.truncate(log, 0)
    else:
        log.rename(log.with_name(name))
        log.touch()
    os.utime(log.with_name(name), (10**9 + day, 10**9 + day))
    for another in (f"mail.log.{day + 3}.gz", f"mail.log.offset{day}"):
        write(log.with_name(another), "another")


async def test_lines_come_once_and_in_order(log: Path) -> None:
    write(log, "1", "2")
    reader = Reader(FileTail(log))
    assert await reader.lines() == [b"1", b"2"]
    assert await reader.lines() == []
    write(log, "3")
    assert await reader.lines() == [b"3"]


async def test_a_line_without_its_end_waits(log: Path) -> None:
    add(log, b"1\nhal")
    reader = Reader(FileTail(log))
    assert await reader.lines() == [b"1"]
    add(log, b"f\n")
    assert await reader.lines() == [b"half"]


@pytest.mark.parametrize("again", [False, True], ids=["the-same-process", "another-process"])
async def test_row_178_what_a_rotated_file_still_held_comes_first(log: Path, again: bool) -> None:
    write(log, "1")
    reader = Reader(FileTail(log))
    assert await reader.lines() == [b"1"]
    write(log, "2")
    rotate(log)
    if again:
        reader = Reader(FileTail(log), reader.position)
    assert await reader.lines() == [b"2"]
    write(log.with_name("mail.log.1"), "3")  # syslogd writes there until it is told
    assert await reader.lines() == [b"3"]
    write(log, "4")
    assert await reader.lines() == [b"4"]


@pytest.mark.parametrize("again", [False, True], ids=["the-same-process", "another-process"])
@pytest.mark.parametrize("copied", [False, True], ids=["renamed", "copied"])
async def test_row_178_what_was_rotated_more_than_once_meanwhile_comes_in_order(
    log: Path, again: bool, copied: bool
) -> None:
    """A worker that was down for two days; other files there are not taken for the log."""
    write(log, "1")
    reader = Reader(FileTail(log))
    assert await reader.lines() == [b"1"]
    for day, name in enumerate(("mail.log.2", "mail.log-20261121", "mail.log.1")):
        pass_day(log, day, name, copied)
    if again:
        reader = Reader(FileTail(log), reader.position)
    write(log, "last")
    expected = [b"%d %s" % (day, part) for day in range(3) for part in (b"a", b"b")]
    assert await reader.lines() == [*expected, b"last"]
    assert await reader.lines() == []


async def test_row_178_a_replaced_file_begins_at_zero(log: Path) -> None:
    write(log, "1", "2")
    reader = Reader(FileTail(log))
    assert await reader.lines() == [b"1", b"2"]
    position = reader.position
    os.unlink(log)
    write(log, "3", "4", "5")
    assert await Reader(FileTail(log), position).lines() == [b"3", b"4", b"5"]


async def test_a_removed_file_is_read_to_its_end_by_who_holds_it(log: Path) -> None:
    write(log, "1")
    reader = Reader(FileTail(log))
    assert await reader.lines() == [b"1"]
    write(log, "2")
    os.unlink(log)
    assert await reader.lines() == [b"2"]
    write(log, "3")
    assert await reader.lines() == [b"3"]


@pytest.mark.parametrize("again", [False, True], ids=["the-same-process", "another-process"])
async def test_row_178_a_truncated_file_goes_on_in_its_copy(log: Path, again: bool) -> None:
    write(log, "1")
    reader = Reader(FileTail(log))
    assert await reader.lines() == [b"1"]
    write(log, "2")
    copy_and_truncate(log)
    if again:
        reader = Reader(FileTail(log), reader.position)
    write(log, "3", "4", "5")  # by now it is longer than what was read of the old one
    assert await reader.lines() == [b"2", b"3", b"4", b"5"]
    copy_and_truncate(log)
    write(log, "6")
    assert await reader.lines() == [b"6"]


async def test_row_178_a_shrunk_file_without_a_copy_begins_at_zero(log: Path) -> None:
    write(log, "first", "second")
    reader = Reader(FileTail(log))
    assert len(await reader.lines()) == 2
    os.truncate(log, 0)
    assert await reader.lines() == []
    write(log, "third")
    assert await reader.lines() == [b"third"]


async def test_what_is_read_again_from_an_older_position_comes_again(log: Path) -> None:
    write(log, "1", "2")
    tail = FileTail(log)
    first = await tail.read(Position())
    assert await tail.read(Position()) == first
    assert (await tail.read(first.position)).lines == ()


async def test_large_logs_come_in_pieces(log: Path) -> None:
    lines = [f"line {number}" for number in range(500)]
    write(log, *lines)
    tail = FileTail(log, chunk_octets=100)
    chunk = await tail.read(Position())
    assert chunk.more
    assert 0 < len(chunk.lines) < 15
    assert [line.decode() for line in await Reader(tail).lines()] == lines


async def test_giant_lines_are_left_out(log: Path) -> None:
    write(log, "1", "x" * 1000, "2", "y" * 1000)
    reader = Reader(FileTail(log, chunk_octets=100))
    assert await reader.lines() == [b"1", b"2"]
    write(log, "3")
    assert await reader.lines() == [b"3"]


async def test_a_giant_line_that_grows_slowly_is_left_out(log: Path) -> None:
    add(log, b"x" * 150)
    reader = Reader(FileTail(log, chunk_octets=100))
    assert await reader.lines() == []
    add(log, b"yyy\n4\n")
    assert await reader.lines() == [b"4"]


async def test_a_log_that_is_not_there_is_trouble_until_it_is(log: Path) -> None:
    tail = FileTail(log)
    with pytest.raises(Unavailable, match="No such file"):
        await tail.read(Position())
    write(log, "1")
    assert await Reader(tail).lines() == [b"1"]


@pytest.mark.timeout(5)
async def test_what_is_no_file_is_refused(log: Path) -> None:
    os.mkfifo(log)
    with pytest.raises(Unavailable, match="no regular file"):
        await FileTail(log).read(Position())


async def test_descriptors_do_not_pile_up(log: Path) -> None:
    write(log, "1")
    reader = Reader(FileTail(log))
    await reader.lines()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        rotate(log)
        write(log, f"{number}")
        assert await reader.lines() == [f"{number}".encode()]
    assert len(os.listdir("/proc/self/fd")) == before
    await reader.tail.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_times_are_those_of_the_host(tmp_path: Path) -> None:
    assert local_zone(tmp_path / "missing") is UTC
    (tmp_path / "broken").write_bytes(b"no zone")
    assert local_zone(tmp_path / "broken") is UTC
    vienna = local_zone(Path("/usr/share/zoneinfo/Europe/Vienna"))
    summer = datetime(2026, 7, 1, tzinfo=UTC)
    assert vienna.utcoffset(summer) == ZoneInfo("Europe/Vienna").utcoffset(summer)


# -- The journal ---------------------------------------------------------------------------------------------------

# A journalctl that has entries 0 to 4, notes how it was called, and follows until it is ended.
_JOURNALCTL = """
import json, pathlib, signal, sys
arguments = sys.argv[1:]
pathlib.Path({calls!r}).open("a").write(json.dumps(arguments) + "\\n")
entries = json.loads(pathlib.Path({entries!r}).read_text())
after = [one.partition("=")[2] for one in arguments if one.startswith("--after-cursor")]
names = [entry["__CURSOR"] for entry in entries if isinstance(entry, dict)]
for entry in entries[names.index(after[0]) + 1 if after else 0:]:
    print(json.dumps(entry) if isinstance(entry, dict) else entry, flush=True)
if {stays}:
    signal.pause()
"""


class Journal:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tail(self, *entries: object, stays: bool = True) -> JournalTail:
        (self.folder / "entries").write_text(json.dumps(entries))
        script = self.folder / "journalctl.py"
        names = {name: str(self.folder / name) for name in ("calls", "entries")}
        script.write_text(_JOURNALCTL.format(**names, stays=stays))
        return JournalTail((sys.executable, str(script)))

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


def entry(number: int, message: object = None) -> dict[str, object]:
    text = (
        f"NOQUEUE: reject: RCPT from a.example[192.0.2.9]: 550 5.7.1 no {number}; from=<s@x.example> "
        "to=<a1@alias.example> proto=ESMTP helo=<a.example>"
    )
    return {
        "__CURSOR": f"s=1;i={number}",
        "__REALTIME_TIMESTAMP": str(1_767_607_200_000_000 + number),
        "_HOSTNAME": "mx",
        "SYSLOG_IDENTIFIER": "postfix/smtpd",
        "SYSLOG_PID": "812",
        "MESSAGE": text if message is None else message,
    }


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


async def lines_of(tail: JournalTail, reader: Reader, count: int) -> list[bytes]:
    """That many lines; the program takes a moment to start."""
    found: list[bytes] = []
    while len(found) < count:
        found += await reader.lines()
    return found


async def test_entries_of_the_journal_are_lines_like_any(journal: Journal) -> None:
    tail = journal.tail(entry(0), entry(1))
    reader = Reader(tail)
    lines = await lines_of(tail, reader, 2)
    event = read(lines[1], datetime(2030, 1, 1, tzinfo=UTC), UTC)
    assert isinstance(event, Rejected)
    assert (event.text, event.at) == ("no 1", datetime(2026, 1, 5, 10, 0, 0, 1, UTC))
    await tail.close()


async def test_the_journal_goes_on_behind_its_cursor(journal: Journal) -> None:
    tail = journal.tail(entry(0), entry(1), entry(2))
    reader = Reader(tail)
    assert len(await lines_of(tail, reader, 3)) == 3
    await tail.close()
    again = journal.tail(entry(0), entry(1), entry(2), entry(3))
    reader = Reader(again, reader.position)
    (line,) = await lines_of(again, reader, 1)
    assert b"no 3" in line
    assert [next(word for word in call if "since" in word or "cursor" in word) for call in journal.calls()] == [
        "--since=-1d",
        "--after-cursor=s=1;i=2",
    ]
    await again.close()


async def test_a_position_that_was_not_written_down_is_read_again(journal: Journal) -> None:
    tail = journal.tail(entry(0), entry(1))
    first = await lines_of(tail, Reader(tail), 2)
    assert await lines_of(tail, Reader(tail), 2) == first
    await tail.close()


async def test_odd_entries_do_no_harm(journal: Journal) -> None:
    octets = list(b"4XyZ12AbCd: removed \xff")
    odd = [
        entry(0, octets),
        entry(1, "two\nlines"),
        {**entry(2), "MESSAGE": None},
        "-- a remark --",
        entry(3, [{"a": 1}]),
        entry(4, "last"),
    ]
    tail = journal.tail(*odd)
    reader = Reader(tail)
    lines = await lines_of(tail, reader, 3)
    assert [line.partition(b"]: ")[2] for line in lines] == [
        "4XyZ12AbCd: removed \ufffd".encode(),
        b"two lines",
        b"last",
    ]
    assert reader.position.mark == "s=1;i=4"
    await tail.close()


async def test_a_journal_that_ends_is_trouble(journal: Journal) -> None:
    tail = journal.tail("Failed to open files: Permission denied", stays=False)
    with pytest.raises(Unavailable, match="Permission denied"):
        await lines_of(tail, Reader(tail), 1)
    with pytest.raises(Unavailable, match="no-such-program"):
        await JournalTail(("/no-such-program",)).read(Position())


async def test_journalctl_ends_with_its_reader(journal: Journal) -> None:
    tail = journal.tail(entry(0))
    await lines_of(tail, Reader(tail), 1)
    process = tail._process
    assert process is not None
    await tail.close()
    assert process.returncode is not None
