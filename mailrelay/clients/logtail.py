"""Following the mail log: a file over its rotations, or systemd's journal through `journalctl`.

Both give lines in the same form, and are told from where to read on: who has written down what lines caused, and how
far they were read, in one transaction gets every line exactly once.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from mailrelay.core.errors import Unavailable
from mailrelay.core.maillog import Chunk, Position

_CHUNK_OCTETS = 256 * 1024
_HEAD_OCTETS = 512
_SIBLINGS = 50
_ROTATED = re.compile(r"[.-][0-9][0-9T._-]*", re.ASCII)  # what is added to its name, unless it is compressed
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IDLE_SECONDS = 0.1
_END_SECONDS = 5.0


def local_zone(path: Path = Path("/etc/localtime")) -> tzinfo:
    """The zone of times in this host's logs; UTC where none is set."""
    try:
        with path.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC


class FileTail:
    """A log file. It knows its file again by how it begins: inodes come back, and `copytruncate` keeps them.

    What rotated files still held is read first, as long as they lie beside the new one uncompressed. A last line
    without its end waits; a line longer than `chunk_octets` is left out.
    """

    def __init__(self, path: Path, chunk_octets: int = _CHUNK_OCTETS) -> None:
        self._path = path
        self._chunk_octets = chunk_octets
        self._file: int | None = None  # descriptor
        self._within: Position | None = None  # a position in the middle of a line that is being left out

    @property
    def name(self) -> str:
        """What the position is of, on this host."""
        return str(self._path)

    async def read(self, after: Position) -> Chunk:
        """The next lines, none if there are none yet. Raises Unavailable if the file cannot be read."""
        return await asyncio.to_thread(self._read, after)

    async def close(self) -> None:
        """Let go of the file; another `read` opens it again."""
        self._leave()

    def _read(self, after: Position) -> Chunk:
        try:
            file, after = self._found(after)
            # Looked for before the end of the old one is: whoever writes has moved on by then.
            successor = self._successor(file)
            content = os.pread(file, self._chunk_octets, after.octets)
            end = content.rfind(b"\n") + 1
            if end == 0 and len(content) == self._chunk_octets:
                self._within = _position(file, after.octets + len(content))
                return Chunk((), self._within, more=True)
            if end == 0 and successor is not None:
                self._leave()
                return Chunk((), Position(successor), more=True)
            if end == 0:
                return Chunk((), after)
            lines = content[: end - 1].split(b"\n")
            begun = 1 if after == self._within else 0
            return Chunk(
                tuple(lines[begun:]), _position(file, after.octets + end), more=len(content) == self._chunk_octets
            )
        except OSError as error:
            self._leave()
            raise Unavailable(f"{self._path}: {error.strerror}") from error

    def _found(self, after: Position) -> tuple[int, Position]:
        """The file to read, open, and where in it."""
        if self._file is not None and _continues(self._file, after):
            return self._file, after
        self._leave()
        for path in self._candidates(after):
            with contextlib.suppress(FileNotFoundError):
                file = _open(path)
                if _continues(file, after):
                    self._file = file
                    return file, after
                os.close(file)
        self._file = _open(self._path)
        return self._file, Position(_inode(os.fstat(self._file)))

    def _candidates(self, after: Position) -> Iterator[Path]:
        """Where the file may be by now: in its place, or beside it under a longer name."""
        if after == Position():
            return
        yield self._path
        found = sorted(((status.st_mtime_ns, path) for path, status in self._siblings()), reverse=True)
        for _, path in found[:_SIBLINGS]:
            yield path

    def _siblings(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Files beside ours under longer names."""
        with os.scandir(self._path.parent) as entries:
            for entry in entries:
                if entry.name.startswith(self._path.name) and entry.name != self._path.name and entry.is_file():
                    with contextlib.suppress(FileNotFoundError):
                        yield Path(entry.path), entry.stat()

    def _successor(self, file: int) -> int | None:
        """Inode of the file that was written to after this one; None: there is none yet.

        It is in the place of this one, or was there in between and has been rotated as well.
        """
        try:
            new = self._path.stat()
        except FileNotFoundError:
            return None
        old = os.fstat(file)
        if (new.st_dev, new.st_ino) == (old.st_dev, old.st_ino):
            return None
        between = [
            status
            for path, status in self._siblings()
            if _ROTATED.fullmatch(path.name[len(self._path.name) :])
            and status.st_mtime_ns > old.st_mtime_ns
            and status.st_size > 0
        ]
        if between:
            return _inode(min(between, key=lambda status: status.st_mtime_ns))
        return _inode(new) if new.st_size > 0 else None

    def _leave(self) -> None:
        file, self._file, self._within = self._file, None, None
        if file is not None:
            os.close(file)


def _open(path: Path) -> int:
    """Raises OSError, also for what is no regular file. A pipe without a writer does not hold us up."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(0, "is no regular file")
    return file


def _continues(file: int, after: Position) -> bool:
    """True if the position is one in this file, or in the one that this is a copy of."""
    status = os.fstat(file)
    if after.octets == 0:
        return _inode(status) == after.inode
    return status.st_size >= after.octets and _mark(file, after.octets) == after.mark


def _inode(status: os.stat_result) -> int:
    """As PostgreSQL's bigint takes it."""
    return status.st_ino & (1 << 63) - 1


def _position(file: int, octets: int) -> Position:
    return Position(_inode(os.fstat(file)), octets, _mark(file, octets))


def _mark(file: int, octets: int) -> str:
    """How the file begins, as far as it was read."""
    head = os.pread(file, min(octets, _HEAD_OCTETS), 0)
    return hashlib.sha256(head).hexdigest()[:32]


class JournalTail:
    """Entries of the mail facility in systemd's journal, as lines of syslog with times by RFC 3339.

    The first time it begins a day ago. Entries of more than 4096 octets are left out, as journalctl does.
    """

    name = "journal"

    def __init__(self, program: Sequence[str] = ("journalctl",)) -> None:
        self._program = tuple(program)
        self._process: asyncio.subprocess.Process | None = None
        self._position = Position()
        self._rest = b""  # of an entry that has not come wholly
        self._said = ""  # what journalctl said besides entries

    async def read(self, after: Position) -> Chunk:
        """The next lines, none if there are none within a moment. Raises Unavailable if journalctl does not run."""
        if self._process is None or after != self._position:
            await self._start(after)
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            content = await asyncio.wait_for(self._process.stdout.read(_CHUNK_OCTETS), _IDLE_SECONDS)
        except TimeoutError:
            return Chunk((), after)
        if not content:
            said = self._said
            await self.close()
            raise Unavailable(f"journalctl ended: {said or 'it said nothing'}")
        *entries, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > _CHUNK_OCTETS:
            self._rest = self._rest[:1]  # too long for an entry; what is left of it cannot be read as one
        lines = tuple(line for entry in entries if (line := self._line(entry)) is not None)
        return Chunk(lines, self._position, more=len(content) == _CHUNK_OCTETS)

    async def close(self) -> None:
        """End journalctl; another `read` starts it again."""
        process, self._process, self._rest, self._said = self._process, None, b"", ""
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _start(self, after: Position) -> None:
        await self.close()
        since = f"--after-cursor={after.mark}" if after.mark else "--since=-1d"
        fields = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_HOSTNAME"
        options = ("--follow", "--no-tail", "--quiet", "--no-pager", "--output=json", fields, since)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._program,
                *options,
                "SYSLOG_FACILITY=2",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=4 * _CHUNK_OCTETS,
            )
        except OSError as error:
            raise Unavailable(f"{self._program[0]}: {error.strerror}") from error
        self._position = after

    def _line(self, entry: bytes) -> bytes | None:
        """A line for an entry, None if it has no text; notes its cursor."""
        try:
            fields = json.loads(entry)
            cursor = fields["__CURSOR"]
            at = _EPOCH + timedelta(microseconds=int(fields["__REALTIME_TIMESTAMP"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            self._said = entry[:200].decode("utf-8", "replace")
            return None
        self._position = Position(mark=str(cursor))
        host, who, pid, text = (
            _text(fields.get(name)) for name in ("_HOSTNAME", "SYSLOG_IDENTIFIER", "SYSLOG_PID", "MESSAGE")
        )
        if not text:
            return None
        line = f"{at.isoformat()} {host or '-'} {who}[{pid or 0}]: {text}"
        return line.replace("\n", " ").encode("utf-8", "replace")


def _text(value: object) -> str:
    """A field's value: text, or a list of octets where it is no UTF-8; '' for anything else."""
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode("utf-8", "replace") if isinstance(value, list) else ""
    except (ValueError, TypeError):
        return ""
