"""Large OpenPGP jobs, one after the other, in one process of its own (clients/pgpworker.py), started when needed.

A process that dies, hangs or is in the middle of something nobody waits for is replaced with the next job.
"""

import asyncio
import contextlib
import fcntl
import io
import json
import os
import socket
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from mailrelay.clients.pgpworker import DONE, JOB, REFUSED
from mailrelay.core.errors import Malformed, Unavailable

WAITING = 8  # jobs; each keeps its message in memory
DEADLINE_SECONDS = 60.0

_CHUNK_OCTETS = 1 << 18  # small enough that the event loop does not notice
_PIPE_OCTETS = 1 << 20


class TooLarge(Malformed):  # says what happened
    """What came out passed the limit."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to do with a content. certificates: None to decrypt, with the first of the secret keys."""

    secrets: Sequence[bytes]
    certificates: Sequence[bytes] | None
    limit_octets: int  # of what comes out

    def octets(self) -> bytes:
        """As the process reads it."""
        said = {"secrets": [b64encode(each).decode() for each in self.secrets]}
        if self.certificates is not None:
            said["certificates"] = [b64encode(each).decode() for each in self.certificates]
        return json.dumps(said).encode()


class Pool:
    """One worker process, and who waits for it."""

    def __init__(
        self,
        *,
        waiting: int = WAITING,
        deadline_seconds: float = DEADLINE_SECONDS,
        command: Sequence[str] | None = None,
    ) -> None:
        """command: starts the process, to which the number of its descriptor is added; None: the usual one."""
        self._command = tuple(command or (sys.executable, "-m", "mailrelay.clients.pgpworker"))
        self._waiting = waiting
        self._deadline_seconds = deadline_seconds
        self._queued = 0
        self._turn = asyncio.Lock()
        self._process: _Process | None = None
        self._is_closed = False

    async def run(self, job: Job, content: bytes, edit: Callable[[bytes], bytes] | None = None) -> bytes:
        """What comes out. edit: changes it, piece by piece, wherever the pieces end.

        Raises Malformed: the process refused the job, or the result is TooLarge. Raises Unavailable: too many wait,
        it took too long, the process died, or this is closing down.
        """
        if self._queued > self._waiting:
            raise Unavailable("too many large messages are being encrypted")
        self._queued += 1
        try:
            async with self._turn:
                return await self._run(job, content, edit)
        finally:
            self._queued -= 1

    async def _run(self, job: Job, content: bytes, edit: Callable[[bytes], bytes] | None) -> bytes:
        if self._is_closed:
            raise Unavailable("shutting down")
        try:
            if self._process is None:
                self._process = await _Process.start(self._command)
            if self._is_closed:
                raise Unavailable("shutting down")
            async with asyncio.timeout(self._deadline_seconds):
                result, answer = await self._process.do(job, content, edit)
        except BaseException as error:
            # Cancelled ones included: whatever it is doing now, it is in nobody's interest.
            await self._end()
            if isinstance(error, TimeoutError | OSError):
                raise Unavailable("the process for encryption failed") from error
            raise
        if answer == DONE:
            return result
        if answer == REFUSED:
            raise Malformed("the OpenPGP library refused")
        await self._end()
        raise Unavailable("shutting down" if self._is_closed else "the process for encryption died")

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        return None if self._process is None else self._process.pid

    async def close(self) -> None:
        """End the process. Who waits gets Unavailable."""
        self._is_closed = True
        if self._process is not None:
            self._process.stop()
        async with self._turn:
            await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.kill()


class _Process:
    """The process and our end of the socket."""

    def __init__(self, process: asyncio.subprocess.Process, orders: socket.socket) -> None:
        self._process = process
        self._orders = orders

    @classmethod
    async def start(cls, command: Sequence[str]) -> Self:
        """Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,  # a panic of the library may quote what it worked on
                env=_environment(os.environ),
                start_new_session=True,  # Ctrl-C is for us
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def do(self, job: Job, content: bytes, edit: Callable[[bytes], bytes] | None) -> tuple[bytes, bytes]:
        """What comes out, and how the job ended: b"" if the process died. Raises OSError, TooLarge."""
        with ExitStack() as theirs, ExitStack() as ours:
            order = _Descriptor(theirs, os.memfd_create("order"))
            os.write(order.number, job.octets())
            os.lseek(order.number, 0, os.SEEK_SET)
            (source_end, source), (result, sink_end) = _pipe(theirs, ours), _pipe(ours, theirs)
            socket.send_fds(self._orders, [JOB], [order.number, source_end.number, sink_end.number])
            theirs.close()
            flow = _Flow(source, result, content, job.limit_octets, edit)
            ours.callback(flow.stop)
            result_octets = await flow.done()
            try:
                answer = await asyncio.get_running_loop().sock_recv(self._orders, 1)
            except OSError:
                answer = b""
            return result_octets, answer

    def stop(self) -> None:
        """End it, whatever it does. A job in it comes to its end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def kill(self) -> None:
        """The same, between jobs, and leave nothing of it."""
        self._orders.close()
        self.stop()
        await self._process.wait()


class _Descriptor:
    """A descriptor that is closed once: at once, or with the stack."""

    def __init__(self, stack: ExitStack, number: int) -> None:
        self.number = number
        self._is_open = True
        stack.callback(self.close)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self.number)


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[_Descriptor, _Descriptor]:
    """The ends of a pipe that blocks neither here nor, as it is opened anew there, lets the other side see that."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with contextlib.suppress(OSError):  # more than an unprivileged user may have: slower
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_OCTETS)
    return _Descriptor(reading, read_end), _Descriptor(writing, write_end)


class _Flow:
    """Content into one pipe, result out of the other, a chunk at a time between other business of the event loop."""

    def __init__(
        self,
        source: _Descriptor,
        result: _Descriptor,
        content: bytes,
        limit_octets: int,
        edit: Callable[[bytes], bytes] | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._source, self._result = source, result
        self._content, self._sent = memoryview(content), 0
        self._limit_octets = limit_octets
        self._edit = edit
        self._received = io.BytesIO()
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def done(self) -> bytes:
        """Everything that came, when no more will."""
        self._loop.add_reader(self._result.number, self._read)
        self._loop.add_writer(self._source.number, self._write)
        await self._done
        return self._received.getvalue()

    def stop(self) -> None:
        """Before the descriptors are closed."""
        self._loop.remove_reader(self._result.number)
        self._end_source()

    def _end_source(self) -> None:
        self._loop.remove_writer(self._source.number)
        self._source.close()

    def _write(self) -> None:
        try:
            self._sent += os.write(self._source.number, self._content[self._sent : self._sent + _CHUNK_OCTETS])
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # nobody reads on; the other pipe and the answer tell why
            self._end_source()
            return
        if self._sent == len(self._content):
            self._end_source()

    def _read(self) -> None:
        try:
            chunk = os.read(self._result.number, _CHUNK_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._finish(error)
            return
        if not chunk:
            self._finish(None)
        elif self._received.tell() + len(chunk) > self._limit_octets:
            self._finish(TooLarge("what came out is larger than mail may be"))
        else:
            self._received.write(chunk if self._edit is None else self._edit(chunk))

    def _finish(self, error: Exception | None) -> None:
        self._loop.remove_reader(self._result.number)
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    return {**ours, "RUST_BACKTRACE": "0", "RUST_LIB_BACKTRACE": "0"}
