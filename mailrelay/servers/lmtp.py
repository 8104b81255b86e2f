"""LMTP with one reply per recipient (RFC 2033), on aiosmtpd.

Its command loop is kept; reading DATA is ours, because its line reader costs more than the rest of the path and because
it answers its own troubles once instead of once per recipient. The paths of MAIL and RCPT are read by us as well: its
parser builds a syntax tree for each and raises on foreign input.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from aiosmtpd.lmtp import LMTP

from mailrelay import log
from mailrelay.core.plan import Mail
from mailrelay.core.reply import Reply
from mailrelay.endpoint import Endpoint
from mailrelay.servers.listen import listen

Deliver = Callable[[Mail], Awaitable[Sequence[Reply]]]

_PATH = re.compile(r"(FROM|TO):\s*<([^<>]*|\"(?:[^\"\\]|\\.)*\"@[^<>]*)>(?:\s+(.*))?", re.IGNORECASE)
_XTEXT = re.compile(r"\+([0-9A-F]{2})")  # RFC 3461 section 4
_END = b".\r\n"
_TEMPORARY = Reply(451, "4.3.0", "Temporary failure, try again")


class _Session(LMTP):
    """One connection of Postfix' LMTP client."""

    line_length_limit = 256 * 1024  # how much asyncio buffers; lines may be of any length
    command_size_limit = 4096

    def __init__(self, server: "LmtpServer") -> None:
        super().__init__(
            None,
            data_size_limit=None,
            enable_SMTPUTF8=True,
            hostname=server.hostname,
            ident="LMTP mailrelay",
            timeout=server.timeout_seconds,
            loop=asyncio.get_running_loop(),
        )
        # aiosmtpd allows every command 512 octets once the client has said LHLO; Postfix takes senders of 2000.
        self.command_size_limits = defaultdict(lambda: _Session.command_size_limit)
        self._server = server
        self._forwarded: dict[str, str] = {}
        self._sender: str | None = None
        self._rcpts: list[str] = []
        self._smtputf8 = False
        self._unsent: list[str] = []

    def _set_post_data_state(self) -> None:
        """aiosmtpd calls this for RSET and at the beginning, too. The envelope is ours, not its."""
        self._forwarded = {}
        self._sender = None
        self._rcpts = []
        self._smtputf8 = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.sessions.discard(self)
        super().connection_lost(error)

    async def push(self, status: str) -> None:  # type: ignore[override]  # bytes are for AUTH alone
        await super().push("\r\n".join([*self._unsent, status]))
        self._unsent.clear()

    def _push_soon(self, status: str) -> None:
        """A reply that goes out with the next one if Postfix has sent the next command already (RFC 2920)."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(status)

    def _flush(self) -> None:
        if self._unsent and self._writer is not None:
            self._writer.write("".join(f"{status}\r\n" for status in self._unsent).encode("ascii"))
        self._unsent.clear()

    async def smtp_LHLO(self, arg: str | None) -> None:
        if not arg:
            await self.push("501 5.5.4 Syntax: LHLO hostname")
            return
        assert self.session is not None
        self._set_post_data_state()
        self.session.extended_smtp = True
        self.session.host_name = arg
        extensions = ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "XFORWARD ADDR IDENT")
        lines = [f"250-{self.hostname}", *(f"250-{name}" for name in extensions[:-1]), f"250 {extensions[-1]}"]
        await self.push("\r\n".join(lines))

    async def smtp_XFORWARD(self, arg: str | None) -> None:
        """What Postfix knows of the message: its queue id and the client (postfix XFORWARD_README)."""
        for pair in (arg or "").split():
            name, _, value = pair.partition("=")
            text = _XTEXT.sub(lambda match: chr(int(match[1], 16)), value)
            self._forwarded[name.upper()] = "" if text == "[UNAVAILABLE]" else text
        self._push_soon("250 2.0.0 Ok")

    async def smtp_MAIL(self, arg: str | None) -> None:
        if await self.check_helo_needed("LHLO"):
            return
        match = _PATH.fullmatch(arg or "")
        if match is None or match[1].upper() != "FROM":
            await self.push("501 5.5.4 Syntax: MAIL FROM:<address>")
        elif self._sender is not None:
            await self.push("503 5.5.1 Nested MAIL command")
        else:
            self._sender = _without_route(match[2])
            self._smtputf8 = "SMTPUTF8" in (match[3] or "").upper().split()
            self._push_soon("250 2.1.0 Ok")

    async def smtp_RCPT(self, arg: str | None) -> None:
        match = _PATH.fullmatch(arg or "")
        if self._sender is None:
            await self.push("503 5.5.1 Need MAIL command")
        elif match is None or match[1].upper() != "TO" or not match[2]:
            await self.push("501 5.1.3 Syntax: RCPT TO:<address>")
        else:
            self._rcpts.append(_without_route(match[2]))
            self._push_soon("250 2.1.5 Ok")

    async def smtp_DATA(self, arg: str | None) -> None:
        if not self._rcpts:
            await self.push("503 5.5.1 Need RCPT command")
            return
        if self._server.stopping:
            await self._leave()
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        with self._server.busy():
            await self._take()

    async def _leave(self) -> None:
        """Hang up before there is a message; Postfix keeps it and comes back."""
        await self.push("421 4.3.2 Shutting down, try later")
        if self.transport is not None:
            self.transport.close()

    async def _take(self) -> None:
        mail = Mail(
            queue_id=self._forwarded.get("IDENT", ""),
            sender=self._sender or "",
            rcpts=tuple(self._rcpts),
            content=await self._read_data(),
            client=self._forwarded.get("ADDR", "").removeprefix("IPV6:"),
            smtputf8=self._smtputf8,
        )
        self._set_post_data_state()
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()  # the flow has time-outs of its own
        replies = await self._server.deliver(mail)
        self._reset_timeout()
        await self.push("\r\n".join(map(str, replies)))

    async def _read_data(self) -> bytes:
        """Everything up to the final dot, unstuffed. Of a message over the limit only its first octets are kept.

        Read in pieces that end with `.CRLF`: whether such a piece ends the message shows in its last five octets.
        """
        pieces: list[bytes] = []
        size_octets = 0
        before = b"\r\n"  # the two octets before the current piece
        ended = False
        while not ended:
            try:
                piece = await self._reader.readuntil(_END)
                ended = (before + piece[-5:]).endswith(b"\r\n" + _END)
            except asyncio.LimitOverrunError as error:
                piece = await self._reader.read(error.consumed)
            before = (before + piece[-2:])[-2:]
            # Stuffed dots add a third at most. What is still too large without them must be seen to be.
            if size_octets <= self._server.message_octets * 3 // 2:
                pieces.append(piece)
            size_octets += len(piece)
        content = b"".join(pieces).removesuffix(_END)
        if content.startswith(b"."):
            content = content[1:]
        return content.replace(b"\r\n.", b"\r\n") if b"\r\n." in content else content

    async def handle_exception(self, error: Exception) -> str:
        """Only reached by bugs outside of DATA; a bug never refuses mail for good."""
        log.logger().error("lmtp.failed", exc_info=error)
        return str(_TEMPORARY)


def _without_route(path: str) -> str:
    """RFC 5321 appendix C: a source route is accepted and ignored."""
    return path.partition(":")[2] if path.startswith("@") and ":" in path else path


class LmtpServer:
    """Listens and keeps what is under way until it is finished, even when the client goes away.

    deliver: answers every recipient of a mail, in order, and never raises for a reason of its own.
    """

    def __init__(
        self, deliver: Deliver, *, hostname: str, message_octets: int, sessions: int, timeout_seconds: float
    ) -> None:
        self.hostname = hostname
        self.message_octets = message_octets
        self.timeout_seconds = timeout_seconds
        self.sessions: set[_Session] = set()
        self.stopping = False
        self._deliver = deliver
        self._sessions_max = sessions
        self._under_way: set[asyncio.Future[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, endpoint: Endpoint) -> None:
        self._server = await listen(self._session, endpoint)

    def _session(self) -> asyncio.Protocol:
        return _Busy() if len(self.sessions) >= self._sessions_max else _Session(self)

    async def deliver(self, mail: Mail) -> Sequence[Reply]:
        """Deliver in a task of its own: if Postfix hangs up meanwhile, the outcome is recorded all the same."""
        task = asyncio.create_task(self._answers(mail))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _answers(self, mail: Mail) -> Sequence[Reply]:
        try:
            return await self._deliver(mail)
        except Exception:
            log.logger().exception("lmtp.failed", queue_id=mail.queue_id)
            return [_TEMPORARY] * len(mail.rcpts)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Within, a session owes Postfix an answer."""
        owed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._under_way.add(owed)
        try:
            yield
        finally:
            self._under_way.discard(owed)
            owed.set_result(None)

    async def stop(self, grace_seconds: float = 15.0) -> None:
        """Take no new sessions and messages, finish what is under way, hang up."""
        self.stopping = True
        if self._server is not None:
            self._server.close()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=grace_seconds)
        for session in tuple(self.sessions):
            if session.transport is not None:
                session.transport.close()


class _Busy(asyncio.Protocol):
    """Turns a session away; Postfix keeps the mail and comes back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writer = cast("asyncio.WriteTransport", transport)
        writer.write(b"421 4.3.2 Too many sessions, try later\r\n")
        writer.close()
