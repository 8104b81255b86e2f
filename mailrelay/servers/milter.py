"""The conversation with Postfix about each message, through libmilter: collect it, ask, carry out what was decided.

Nothing else imports pymilter, which is GPL and takes its process over: signals, threads, the listening socket.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import milter

from mailrelay import log, metrics
from mailrelay.core.header import MAX_FIELDS
from mailrelay.core.reply import Reply
from mailrelay.flows.examine import Changes, Examined
from mailrelay.flows.recipients import Arrival

# Blocks until there is an answer; raises when there will be none. Called in libmilter's threads.
Ask = Callable[[Arrival], Examined]

_NAME = "mailrelay"  # for libmilter's own words in the system log
_TEMPORARY = ("451", "4.3.0", "Temporary failure, try again")
_ACTIONS = milter.ADDHDRS | milter.CHGHDRS | milter.ADDRCPT | milter.DELRCPT
# Only DATA and the end of a message get a reply, all else comes in one go. Header values come as they are, with the
# space that signatures cover. The end of the header has to be announced: without it libmilter overhears the rest of a
# message that has no field at all, and Postfix waits for minutes.
_PROTOCOL = (
    *(milter.P_NR_CONN, milter.P_NR_HELO, milter.P_NR_MAIL, milter.P_NR_RCPT, milter.P_NR_HDR, milter.P_NR_EOH),
    *(milter.P_NR_BODY, milter.P_NOUNKNOWN, milter.P_HDR_LEADSPC),
)
_WANTED = sum(_PROTOCOL)
_QUIET = milter.NOREPLY
_BELOW_RECEIVED = 1
# What we look at, whatever milter_*_macros of the host say; a list cannot be empty.
_MACROS = (
    (milter.M_CONNECT, "{client_addr} {client_name} {client_port}"),
    (milter.M_HELO, "i"),
    (milter.M_ENVFROM, "{auth_authen} {mail_addr}"),
    (milter.M_ENVRCPT, "{rcpt_addr}"),
    (milter.M_DATA, "i"),
)


@dataclass(slots=True)
class _Transaction:
    """A message so far. commands: the recipients as the client wrote them. is_foreign: it is none of our business."""

    sender: str
    login: str
    rcpts: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    is_foreign: bool = False
    header: list[tuple[str, bytes]] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)
    octets: int = 2  # of the empty line


@dataclass(slots=True)
class _Session:
    """One SMTP connection. client: '' if unknown."""

    client: str = ""
    is_local: bool = False
    helo: str = ""
    transaction: _Transaction | None = None


def listen(address: str, backlog: int) -> None:
    """Open the socket, as libmilter writes addresses: `unix:/PATH`, `inet:PORT@ADDRESS`, `inet6:PORT@ADDRESS`.

    After register. Raises OSError; libmilter tells the reason to the system log only.
    """
    try:
        milter.setconn(address)
        milter.setbacklog(backlog)
        milter.opensocket(False)
    except milter.error as error:
        raise OSError(0, f"{error}; the system log has the reason") from error


class MilterServer:
    """What libmilter calls. There can be one in a process.

    is_ours: whether an address is at a domain served here; is_in_our_name: whether sender or header name one that only
    the owner of an alias may use. limit_octets: of one message, asked for each. spam_macro: where a filter leaves its
    score, '' if nowhere.
    """

    def __init__(
        self,
        ask: Ask,
        is_ours: Callable[[str], bool],
        is_in_our_name: Callable[[str, Sequence[tuple[str, bytes]]], bool],
        limit_octets: Callable[[], int],
        spam_macro: str = "",
    ) -> None:
        self._ask = ask
        self._is_ours = is_ours
        self._is_in_our_name = is_in_our_name
        self._limit_octets = limit_octets
        self._spam_macro = spam_macro
        self._asking: set[int] = set()

    @property
    def busy(self) -> bool:
        """True while the end of a message is under way. May be asked from any thread."""
        return bool(self._asking)

    def register(self) -> None:
        """Tell libmilter whom to call: before the socket is opened, and before any fork."""
        milter.set_connect_callback(self._connect)
        milter.set_helo_callback(self._helo)
        milter.set_envfrom_callback(self._mail)
        milter.set_envrcpt_callback(self._rcpt)
        milter.set_header_callback(self._header)
        milter.set_eoh_callback(self._end_of_header)
        milter.set_body_callback(self._body)
        milter.set_eom_callback(self._end)
        milter.set_abort_callback(self._abort)
        milter.set_close_callback(self._close)
        milter.set_flags(_ACTIONS | milter.SETSYMLIST)
        milter.register(_NAME, data=self._data, unknown=lambda ctx, command: milter.CONTINUE, negotiate=self._negotiate)

    def run(self) -> None:
        """Serve the socket that was opened, until a signal comes. To be called in the main thread."""
        milter.main()

    # --- callbacks: the same names as in the protocol --------------------------------------------------------------

    def _negotiate(self, ctx: "milter.milterContext", options: list[int]) -> int:
        actions, protocol, *_ = options
        if actions & _ACTIONS != _ACTIONS or protocol & _WANTED != _WANTED:
            # As with milter_protocol = 2 in main.cf; adopt says protocol=6 for us.
            log.logger().error("milter.old_protocol", actions=hex(actions), protocol=hex(protocol))
            return milter.REJECT
        ctx.setpriv(_Session())
        if actions & milter.SETSYMLIST:
            for stage, names in (*_MACROS, (milter.M_EOM, f"i {self._spam_macro}".strip())):
                ctx.setsymlist(stage, names)
        options[:] = [_ACTIONS | actions & milter.SETSYMLIST, _WANTED, 0, 0]
        return milter.CONTINUE

    def _connect(self, ctx: "milter.milterContext", name: str, family: int, address: object) -> int:
        session = _session(ctx)
        session.client = _macro(ctx, "{client_addr}")
        if session.client == "unknown":
            session.client = ""
        # The sendmail command: Postfix plays a client whose port no client can have.
        port = _macro(ctx, "{client_port}")
        session.is_local = name == "localhost" and session.client in ("127.0.0.1", "::1") and port == "0"
        return _QUIET

    def _helo(self, ctx: "milter.milterContext", name: str) -> int:
        # A name that is no UTF-8 does not come here: pymilter stumbles, and libmilter goes on.
        _session(ctx).helo = name
        return _QUIET

    def _mail(self, ctx: "milter.milterContext", sender: bytes, *parameters: bytes) -> int:
        name = _macro(ctx, "{mail_addr}") or _mailbox(sender)
        _session(ctx).transaction = _Transaction(name, _macro(ctx, "{auth_authen}"))
        return _QUIET

    def _rcpt(self, ctx: "milter.milterContext", rcpt: bytes, *parameters: bytes) -> int:
        transaction = _session(ctx).transaction
        if transaction is not None:
            # Who is meant by `a1%alias.example` or a source route, Postfix knows; delivery will see it, too.
            command = _mailbox(rcpt)
            transaction.rcpts.append(_macro(ctx, "{rcpt_addr}") or command)
            transaction.commands.append(command)
        return _QUIET

    def _data(self, ctx: "milter.milterContext") -> int:
        """The recipients are known: what is for others only is none of our business, if it is not in our name."""
        transaction = _session(ctx).transaction
        try:
            if transaction is not None and (transaction.login or any(map(self._is_ours, transaction.rcpts))):
                return milter.CONTINUE
        except Exception:
            log.logger().exception("message.failed")
            ctx.setreply(*_TEMPORARY)
            return milter.TEMPFAIL
        metrics.MILTER_FOREIGN.inc()
        _session(ctx).transaction = None
        return milter.ACCEPT

    def _header(self, ctx: "milter.milterContext", name: str, value: bytes) -> int:
        transaction = _session(ctx).transaction
        if transaction is not None:
            transaction.octets += len(name) + len(value) + value.count(b"\n") + 3
            if transaction.octets <= self._limit_octets() and len(transaction.header) <= MAX_FIELDS:
                transaction.header.append((name, value))  # one too many is enough to refuse it
        return _QUIET

    def _end_of_header(self, ctx: "milter.milterContext") -> int:
        """The author is known as well. There is no reply to this, but the body need not be kept."""
        transaction = _session(ctx).transaction
        try:
            if transaction is not None and transaction.login and not any(map(self._is_ours, transaction.rcpts)):
                transaction.is_foreign = not self._is_in_our_name(transaction.sender, transaction.header)
        except Exception:
            log.logger().exception("message.failed")  # whoever is asked at the end will stumble as well
        return _QUIET

    def _body(self, ctx: "milter.milterContext", chunk: bytes) -> int:
        transaction = _session(ctx).transaction
        if transaction is not None and not transaction.is_foreign:
            transaction.octets += len(chunk)
            if transaction.octets <= self._limit_octets():
                transaction.body.append(chunk)
            else:
                transaction.body.clear()  # it will be refused for its size
        return _QUIET

    def _end(self, ctx: "milter.milterContext") -> int:
        session = _session(ctx)
        transaction, session.transaction = session.transaction, None
        if transaction is not None and transaction.is_foreign:
            metrics.MILTER_FOREIGN.inc()
            return milter.ACCEPT
        self._asking.add(id(session))
        try:
            if transaction is None:
                raise RuntimeError("the end of a message that did not begin")
            return _carry_out(ctx, self._ask(self._arrival(ctx, session, transaction)))
        except TimeoutError:
            log.logger().warning("message.unavailable", problem="no answer in time")
        except Exception:
            # Our bug: the message comes again when we have mended it.
            log.logger().exception("message.failed")
        finally:
            self._asking.discard(id(session))
        ctx.setreply(*_TEMPORARY)
        return milter.TEMPFAIL

    def _arrival(self, ctx: "milter.milterContext", session: _Session, transaction: _Transaction) -> Arrival:
        return Arrival(
            queue_id=_macro(ctx, "i"),
            client=session.client,
            helo=session.helo,
            sender=transaction.sender,
            rcpts=tuple(transaction.rcpts),
            login=transaction.login,
            is_local=session.is_local,
            header=tuple(transaction.header),
            content=_content(transaction.header, transaction.body),
            size_octets=transaction.octets,
            spam_macro=_macro(ctx, self._spam_macro) if self._spam_macro else "",
            commands=tuple(transaction.commands),
        )

    def _abort(self, ctx: "milter.milterContext") -> int:
        _session(ctx).transaction = None
        return milter.CONTINUE

    def _close(self, ctx: "milter.milterContext") -> int:
        ctx.setpriv(None)
        return milter.CONTINUE


def _session(ctx: "milter.milterContext") -> _Session:
    session = ctx.getpriv()
    if session is None:  # closed, or never negotiated: the caller gets something to write to
        session = _Session()
    assert isinstance(session, _Session)
    return session


def _macro(ctx: "milter.milterContext", name: str) -> str:
    """The value of a macro, '' if there is none."""
    try:
        return ctx.getsymval(name) or ""
    except UnicodeDecodeError:
        return ""


def _mailbox(argument: bytes) -> str:
    """An address of the envelope without angle brackets; octets that are no UTF-8 become surrogates."""
    return argument.removeprefix(b"<").removesuffix(b">").decode("utf-8", "surrogateescape")


def _content(header: Sequence[tuple[str, bytes]], body: Sequence[bytes]) -> bytes:
    """The message as it came: Postfix hands header lines over with LF between them, the body with CRLF."""
    pieces: list[bytes] = []
    for name, value in header:
        pieces += (name.encode("ascii", "surrogateescape"), b":", value.replace(b"\n", b"\r\n"), b"\r\n")
    return b"".join((*pieces, b"\r\n", *body))


def _carry_out(ctx: "milter.milterContext", examined: Examined) -> int:
    match examined:
        case Reply():
            # libmilter takes the text for a format.
            ctx.setreply(str(examined.code), examined.enhanced, examined.text.replace("%", "%%"))
            return milter.TEMPFAIL if examined.temporary else milter.REJECT
        case Changes(remove, add, redirect):
            for name, number in remove:
                ctx.chgheader(name, number, None)
            for name, value in add:
                # Below Postfix' own Received field, which it does not show (spec section 11.2). Having asked for
                # leading space, we have to bring our own.
                ctx.addheader(name, " " + value.replace(b"\r\n", b"\n").decode("ascii"), _BELOW_RECEIVED)
            for old, new in redirect:
                ctx.delrcpt(f"<{old}>")
                ctx.addrcpt(f"<{new}>")
            return milter.CONTINUE
        case _:
            assert_never(examined)
