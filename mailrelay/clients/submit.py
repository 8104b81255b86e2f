"""Hands copies to Postfix' loopback listener over kept, pipelined SMTP connections (RFC 5321, RFC 2920).

aiosmtplib neither pipelines nor keeps a pool; both together halve the cost of a copy.
"""

import asyncio
import re
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from mailrelay.core.errors import Unavailable
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.endpoint import Endpoint

# Postfix' listener closes a connection that was idle for smtpd_timeout (300 s); we are earlier.
_IDLE_SECONDS = 60.0
_KEPT_SECONDS = 60.0
# RFC 5321 section 4.5.3.2.6: whoever gives up waiting for the last answer too early makes duplicates.
_LAST_ANSWER_SECONDS = 600.0
_PROBE_SECONDS = 5.0
_QUEUED_AS = re.compile(rb"queued as ([A-Za-z0-9]+)")
_LINE_LIMIT = 8192


@dataclass(frozen=True, slots=True)
class _Answer:
    code: int
    lines: tuple[bytes, ...]

    @property
    def text(self) -> str:
        return b" ".join(self.lines).decode("ascii", "replace")[:500]


class _Broken(Exception):
    """The connection cannot be used any more."""


@dataclass(slots=True)
class _Connection:
    """One SMTP session. Every method raises _Broken or OSError when the session is over."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    extensions: frozenset[bytes] = frozenset()
    opened_at: float = 0.0
    idle_since: float = 0.0
    content_sent: bool = False  # in the transaction that is under way: whether it was queued is then open

    @classmethod
    async def open(cls, endpoint: Endpoint, hostname: str) -> "_Connection":
        if endpoint.path:
            reader, writer = await asyncio.open_unix_connection(endpoint.path, limit=_LINE_LIMIT)
        else:
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, limit=_LINE_LIMIT)
        connection = cls(reader, writer, opened_at=asyncio.get_running_loop().time())
        try:
            await connection._greet(hostname)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _greet(self, hostname: str) -> None:
        greeting = await self._answer()
        if greeting.code != 220:
            raise _Broken(f"greeted with {greeting.code} {greeting.text}")
        self.writer.write(b"EHLO " + hostname.encode("ascii") + b"\r\n")
        hello = await self._answer()
        if hello.code != 250:
            raise _Broken(f"EHLO was answered {hello.code} {hello.text}")
        self.extensions = frozenset(line.split(b" ")[0].upper() for line in hello.lines[1:])

    async def _answer(self) -> _Answer:
        lines = []
        while True:
            try:
                line = await self.reader.readuntil(b"\n")
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                raise _Broken("the listener closed the connection") from error
            if not line[:3].isdigit():
                raise _Broken("the listener does not speak SMTP")
            lines.append(line[4:].strip())
            if line[3:4] != b"-":
                return _Answer(int(line[:3]), tuple(lines))

    async def send(self, copy: Copy, deadline: asyncio.Timeout) -> Handed | Refused:
        """One mail transaction. The envelope goes out in one write, so that it costs one round trip.

        deadline: moved when the content goes out.
        """
        self.content_sent = False
        self.writer.write(self._envelope(copy))
        sender, rcpt, data = [await self._answer() for _ in range(3)]
        failed = next((answer for answer in (sender, rcpt) if answer.code // 100 != 2), None)
        if failed is not None or data.code != 354:
            if data.code == 354:
                # RFC 2920 section 3.1: DATA was accepted although nobody is left; end it empty.
                self.writer.write(b".\r\n")
                await self._answer()
            await self._reset()
            answer = failed or data
            return Refused(answer.code, answer.text)
        self.content_sent = True
        deadline.reschedule(asyncio.get_running_loop().time() + _LAST_ANSWER_SECONDS)
        self.writer.writelines([*map(_stuffed, copy.content), b".\r\n"])
        await self.writer.drain()
        final = await self._answer()
        if final.code != 250:
            return Refused(final.code, final.text)
        queued = _QUEUED_AS.search(final.lines[-1])
        return Handed(queued[1].decode("ascii") if queued else "")

    def _envelope(self, copy: Copy) -> bytes:
        size = sum(map(len, copy.content))
        mail = [b"MAIL FROM:<%s>" % copy.sender.encode("utf-8")]
        if b"SIZE" in self.extensions:
            mail.append(b"SIZE=%d" % size)
        if copy.eight_bit and b"8BITMIME" in self.extensions:
            mail.append(b"BODY=8BITMIME")
        if copy.smtputf8 and b"SMTPUTF8" in self.extensions:
            mail.append(b"SMTPUTF8")
        rcpt = [b"RCPT TO:<%s>" % copy.rcpt.encode("utf-8")]
        if b"DSN" in self.extensions:
            mail += [b"RET=FULL" if copy.return_full else b"RET=HDRS", b"ENVID=" + copy.envelope_id.encode("ascii")]
            rcpt.append(b"NOTIFY=FAILURE")
        return b" ".join(mail) + b"\r\n" + b" ".join(rcpt) + b"\r\nDATA\r\n"

    async def _reset(self) -> None:
        self.writer.write(b"RSET\r\n")
        answer = await self._answer()
        if answer.code != 250:
            raise _Broken(f"RSET was answered {answer.code}")

    def close(self) -> None:
        with suppress(OSError, RuntimeError):
            self.writer.write(b"QUIT\r\n")
        self.writer.close()

    def abort(self) -> None:
        """Let go at once, also of content that the listener does not read."""
        self.writer.transport.abort()


def _stuffed(chunk: bytes) -> bytes:
    """RFC 5321 section 4.5.2. A chunk begins where a line begins."""
    if b"\r\n." in chunk:
        chunk = chunk.replace(b"\r\n.", b"\r\n..")
    return b"." + chunk if chunk.startswith(b".") else chunk


@dataclass(slots=True)
class Submitter:
    """A pool of connections; when all are busy, callers wait: that is the back-pressure.

    timeout_seconds: for everything up to the content, the wait for a free connection included.
    """

    endpoint: Endpoint
    hostname: str
    connections: int
    timeout_seconds: float
    trouble: str = ""  # why the last hand-over failed; "" once one succeeds or the listener greets again
    _slots: asyncio.Semaphore = field(init=False)
    _idle: deque[_Connection] = field(default_factory=deque)
    _probe: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.connections)

    async def submit(self, copy: Copy) -> Handed | Refused:
        """Queue one copy. Raises Unavailable when the listener is away, breaks off or takes too long.

        After Unavailable the copy may have been queued all the same: nobody can know.
        """
        try:
            async with asyncio.timeout(self.timeout_seconds) as deadline, self._slots:
                outcome = await self._submit(copy, deadline)
        except (OSError, TimeoutError, _Broken) as error:
            self.trouble = f"{self.endpoint}: {str(error) or type(error).__name__}"
            if self._probe is None or self._probe.done():
                self._probe = asyncio.create_task(self._look_again())
            raise Unavailable(f"re-injection at {self.trouble}") from error
        self.trouble = ""
        return outcome

    async def _submit(self, copy: Copy, deadline: asyncio.Timeout) -> Handed | Refused:
        while (kept := self._kept()) is not None:
            try:
                return await self._send(kept, copy, deadline)
            except (OSError, _Broken):
                # The listener gave it up while it was idle, perhaps in this moment: no trouble, as nothing was queued.
                if kept.content_sent:
                    raise
        return await self._send(await _Connection.open(self.endpoint, self.hostname), copy, deadline)

    async def _send(self, connection: _Connection, copy: Copy, deadline: asyncio.Timeout) -> Handed | Refused:
        try:
            outcome = await connection.send(copy, deadline)
        except BaseException:
            connection.abort()
            raise
        now = asyncio.get_running_loop().time()
        # One that was reloaded lives on with its old settings as long as we hold it.
        spent = now - connection.opened_at > _KEPT_SECONDS or (isinstance(outcome, Refused) and outcome.code == 421)
        if spent:
            connection.close()
        else:
            connection.idle_since = now
            self._idle.append(connection)
        return outcome

    def _kept(self) -> _Connection | None:
        """The connection used last; those that idle too long or were closed by the listener go."""
        now = asyncio.get_running_loop().time()
        while self._idle and (now - self._idle[0].idle_since > _IDLE_SECONDS or self._idle[0].reader.at_eof()):
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.close()
        return None

    async def _look_again(self) -> None:
        """Until there is no trouble any more: the next mail, which would show it, may come in hours."""
        while self.trouble:
            await asyncio.sleep(_PROBE_SECONDS)
            with suppress(OSError, TimeoutError, _Broken):
                async with asyncio.timeout(self.timeout_seconds):
                    (await _Connection.open(self.endpoint, self.hostname)).close()
                self.trouble = ""

    def close(self) -> None:
        """Say QUIT on what is kept."""
        if self._probe is not None:
            self._probe.cancel()
        while self._idle:
            self._idle.pop().close()
