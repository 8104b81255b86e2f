"""What libmilter hears from us, with a context that behaves like its own."""

import ast
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import milter
import pytest

from mailrelay.core.reply import Reply
from mailrelay.flows.examine import Changes, Examined
from mailrelay.flows.recipients import Arrival
from mailrelay.servers.milter import MilterServer

ROOT = Path(__file__).resolve().parents[2]
# What Postfix 3.7 offers.
ACTIONS, PROTOCOL = 0x1FF, 0x1FFFFF
TEMPORARY = ("451", "4.3.0", "Temporary failure, try again")
LIMIT = 1000


class Context:
    """libmilter's side of one connection."""

    def __init__(self, **macros: str) -> None:
        self.macros: dict[str, str | bytes] = {"{client_addr}": "192.0.2.10", "{client_port}": "1025", "i": "4XyZ1k"}
        self.macros.update(macros)
        self.asked_for: dict[int, str] = {}
        self.reply: tuple[str, ...] | None = None
        self.rcpts: list[str] = []
        self.header: list[tuple[str, bytes]] = []
        self.body: list[bytes] = []
        self._mine: object = None

    def getpriv(self) -> object:
        return self._mine

    def setpriv(self, value: object) -> None:
        self._mine = value

    def getsymval(self, name: str) -> str | None:
        value = self.macros.get(name)
        return value.decode() if isinstance(value, bytes) else value

    def setsymlist(self, stage: int, names: str) -> None:
        assert names, "libmilter takes no empty list"
        self.asked_for[stage] = names

    def setreply(self, code: str, enhanced: str, text: str) -> None:
        assert "%" not in text.replace("%%", ""), "libmilter takes it for a format"
        self.reply = (code, enhanced, text)

    def chgheader(self, name: str, number: int, value: str | None) -> None:
        assert value is None
        places = [at for at, (found, _) in enumerate(self.header) if found.lower() == name.lower()]
        del self.header[places[number - 1]]

    def delrcpt(self, rcpt: str) -> None:
        self.rcpts.append(f"-{rcpt}")

    def addrcpt(self, rcpt: str, params: str | None = None) -> None:
        self.rcpts.append(f"+{rcpt}")

    def addheader(self, name: str, value: str, at: int = -1) -> None:
        # Postfix counts its own Received field, which it does not show.
        self.header.insert(at - 1, (name, value.encode()))


class Desk:
    """A server whose answers the test chooses. arrivals: what it asked about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spam_macro: str = "") -> None:
        self.arrivals: list[Arrival] = []
        self.answer: Callable[[Arrival], Examined] = lambda arrival: Changes((), ())
        self.busy: list[bool] = []
        self.named: list[tuple[str, Sequence[tuple[str, bytes]]]] = []
        self.hooks: dict[str, Callable[..., int]] = {}
        for name in ("connect", "helo", "envfrom", "envrcpt", "header", "eoh", "body", "eom", "abort", "close"):
            monkeypatch.setattr(milter, f"set_{name}_callback", lambda hook, name=name: self.hooks.update({name: hook}))
        monkeypatch.setattr(milter, "register", lambda name, **hooks: self.hooks.update(hooks))
        self.flags: list[int] = []
        monkeypatch.setattr(milter, "set_flags", self.flags.append)
        self.server = MilterServer(
            self._ask, lambda rcpt: rcpt.endswith("@alias.example"), self._in_our_name, lambda: LIMIT, spam_macro
        )
        self.server.register()

    def _ask(self, arrival: Arrival) -> Examined:
        self.arrivals.append(arrival)
        self.busy.append(self.server.busy)
        return self.answer(arrival)

    def _in_our_name(self, sender: str, header: Sequence[tuple[str, bytes]]) -> bool:
        self.named.append((sender, tuple(header)))
        return any(b"@alias.example" in value for _, value in (("", sender.encode()), *header))

    def connect(self, context: Context, name: str = "unknown", helo: str | None = "mail.shop.example") -> list[int]:
        options = [ACTIONS, PROTOCOL, 0, 0]
        assert self.hooks["negotiate"](context, options) == milter.CONTINUE
        quiet = [self.hooks["connect"](context, name, 2, ("192.0.2.10", 1025))]
        if helo is not None:
            quiet.append(self.hooks["helo"](context, helo))
        assert set(quiet) == {milter.NOREPLY}
        return options

    def begin(self, context: Context, *rcpts: bytes, sender: bytes = b"<news@shop.example>") -> int:
        """Up to DATA; its answer."""
        self.hooks["envfrom"](context, sender, b"SIZE=100")
        for rcpt in rcpts or (b"<a1@alias.example>",):
            assert self.hooks["envrcpt"](context, rcpt) == milter.NOREPLY
        return self.hooks["data"](context)

    def end(self, context: Context, header: Sequence[tuple[str, bytes]] = (), body: Sequence[bytes] = ()) -> int:
        context.header = list(header)
        for name, value in header:
            assert self.hooks["header"](context, name, value) == milter.NOREPLY
        assert self.hooks["eoh"](context) == milter.NOREPLY
        for chunk in body:
            assert self.hooks["body"](context, chunk) == milter.NOREPLY
        return self.hooks["eom"](context)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


HEADER = [("From", b" a\n\t<news@shop.example>"), ("Subject", b"tight"), ("X-Odd", b" gr\xfc\xdfe")]


def test_only_what_is_needed_is_negotiated(desk: Desk) -> None:
    context = Context()
    actions, protocol, *rest = desk.connect(context)
    changes = milter.ADDHDRS | milter.CHGHDRS | milter.ADDRCPT | milter.DELRCPT
    assert actions == changes | milter.SETSYMLIST == desk.flags[0]
    assert protocol & milter.P_HDR_LEADSPC
    # Silence is promised wherever silence is kept, else the two would wait for each other.
    assert protocol & milter.P_NR_HDR
    assert protocol & milter.P_NR_EOH
    assert protocol & milter.P_NR_BODY
    # libmilter takes no body right after DATA, unless it hears of the end of a header.
    assert not protocol & milter.P_NOEOH
    assert rest == [0, 0]
    assert context.asked_for[milter.M_CONNECT] == "{client_addr} {client_name} {client_port}"
    assert context.asked_for[milter.M_EOM] == "i"


@pytest.mark.parametrize("offer", [(ACTIONS, 0x3F), (milter.ADDHDRS, PROTOCOL)])
def test_who_cannot_do_what_we_need_is_not_served(desk: Desk, offer: tuple[int, int]) -> None:
    assert desk.hooks["negotiate"](Context(), [*offer, 0, 0]) == milter.REJECT


def test_addresses_are_those_that_postfix_found_in_the_commands(desk: Desk) -> None:
    context = Context(**{"{rcpt_addr}": "a1@alias.example", "{mail_addr}": "a@shop.example"})
    desk.connect(context)
    assert {"{rcpt_addr}", "{mail_addr}"} <= {*" ".join(context.asked_for.values()).split()}
    assert desk.begin(context, b"<a1%alias.example>", sender=b"<@shop.example:a@shop.example>") == milter.CONTINUE
    desk.end(context, HEADER)
    assert (desk.arrivals[0].sender, desk.arrivals[0].rcpts) == ("a@shop.example", ("a1@alias.example",))


def test_the_message_arrives_octet_by_octet(desk: Desk) -> None:
    context = Context()
    desk.connect(context)
    assert desk.begin(context, b"<a1@alias.example>", b"<x@elsewhere.example>") == milter.CONTINUE
    assert desk.end(context, HEADER, [b"Hi\r\n", b"\r\nthere\r\n"]) == milter.CONTINUE
    (arrival,) = desk.arrivals
    assert arrival.content == (
        b"From: a\r\n\t<news@shop.example>\r\nSubject:tight\r\nX-Odd: gr\xfc\xdfe\r\n\r\nHi\r\n\r\nthere\r\n"
    )
    assert arrival.size_octets == len(arrival.content)
    assert arrival.header == tuple(HEADER)
    assert (arrival.sender, arrival.rcpts) == ("news@shop.example", ("a1@alias.example", "x@elsewhere.example"))
    assert (arrival.queue_id, arrival.client, arrival.helo) == ("4XyZ1k", "192.0.2.10", "mail.shop.example")
    assert (arrival.route, arrival.spam_macro) == ("smtp", "")


def test_the_envelope_may_hold_any_octets(desk: Desk) -> None:
    context = Context()
    desk.connect(context)
    desk.begin(context, b"<gr\xfc\xdfe@alias.example>", sender=b"<>")
    desk.end(context)
    assert desk.arrivals[0].sender == ""
    assert desk.arrivals[0].rcpts[0].encode("utf-8", "surrogateescape") == b"gr\xfc\xdfe@alias.example"


def test_mail_to_others_is_let_go_before_its_header(desk: Desk) -> None:
    context = Context()
    desk.connect(context)
    assert desk.begin(context, b"<x@elsewhere.example>") == milter.ACCEPT
    assert desk.begin(context) == milter.CONTINUE  # the next one of the same connection
    assert desk.end(context) == milter.CONTINUE
    assert len(desk.arrivals) == 1


LOGIN = {"{auth_authen}": "real@inbox.example"}


def test_what_a_login_writes_elsewhere_in_its_own_name_is_let_go(desk: Desk) -> None:
    context = Context(**LOGIN)
    desk.connect(context)
    assert desk.begin(context, b"<x@elsewhere.example>", sender=b"<real@inbox.example>") == milter.CONTINUE
    assert desk.end(context, HEADER, [b"x" * 100]) == milter.ACCEPT
    assert desk.named == [("real@inbox.example", tuple(HEADER))]
    assert desk.arrivals == []
    assert not desk.server.busy


@pytest.mark.parametrize(
    ("sender", "author"),
    [(b"<a1@alias.example>", b" <a1@alias.example>"), (b"<real@inbox.example>", b" <a1@alias.example>")],
)
def test_what_it_writes_in_our_name_is_looked_at(desk: Desk, sender: bytes, author: bytes) -> None:
    context = Context(**LOGIN)
    desk.connect(context)
    assert desk.begin(context, b"<Friend@elsewhere.example>", sender=sender) == milter.CONTINUE
    desk.answer = lambda arrival: Changes((), (), ((arrival.commands[0], "a1+x=y.example@alias.example"),))
    assert desk.end(context, [("From", author)], [b"Hi\r\n"]) == milter.CONTINUE
    assert desk.arrivals[0].content.endswith(b"\r\n\r\nHi\r\n")
    assert context.rcpts == ["-<Friend@elsewhere.example>", "+<a1+x=y.example@alias.example>"]


def test_without_a_login_nobody_asks_whose_name_it_is(desk: Desk) -> None:
    context = Context()
    desk.connect(context)
    assert desk.begin(context, b"<x@elsewhere.example>", sender=b"<a1@alias.example>") == milter.ACCEPT
    assert desk.named == []


def test_trouble_with_the_name_is_temporary(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*named: object) -> bool:
        raise RuntimeError("bug")

    monkeypatch.setattr(desk.server, "_is_in_our_name", fail)
    desk.answer = fail  # type: ignore[assignment]
    context = Context(**LOGIN)
    desk.connect(context)
    desk.begin(context, b"<x@elsewhere.example>")
    assert desk.end(context, HEADER) == milter.TEMPFAIL


@pytest.mark.parametrize(
    ("name", "macros", "route"),
    [
        ("localhost", {"{client_addr}": "127.0.0.1", "{client_port}": "0"}, "local"),
        ("localhost", {"{client_addr}": "127.0.0.1", "{client_port}": "1025"}, "smtp"),
        ("unknown", {"{client_addr}": "198.51.100.1", "{client_port}": "0"}, "smtp"),
        ("x.example", {"{auth_authen}": "fred"}, "login:fred"),
    ],
)
def test_the_route_is_what_postfix_says(desk: Desk, name: str, macros: dict[str, str], route: str) -> None:
    context = Context(**macros)
    desk.connect(context, name)
    desk.begin(context)
    desk.end(context)
    assert desk.arrivals[0].route == route


def test_an_unknown_client_and_names_that_are_no_text_are_left_out(desk: Desk) -> None:
    context = Context(**{"{client_addr}": "unknown"})
    context.macros["{auth_authen}"] = b"gr\xfc\xdfe"
    desk.connect(context, helo=None)
    desk.begin(context)
    desk.end(context)
    assert (desk.arrivals[0].client, desk.arrivals[0].helo, desk.arrivals[0].login) == ("", "", "")


def test_a_filters_macro_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, "{spam_score}")
    context = Context(**{"{spam_score}": "7.5"})
    desk.connect(context)
    desk.begin(context)
    desk.end(context)
    assert context.asked_for[milter.M_EOM] == "i {spam_score}"
    assert desk.arrivals[0].spam_macro == "7.5"


def test_what_is_too_large_is_counted_and_not_kept(desk: Desk) -> None:
    context = Context()
    desk.connect(context)
    desk.begin(context)
    desk.end(context, HEADER, [b"x" * 600] * 5)
    assert desk.arrivals[0].size_octets > 3000
    assert len(desk.arrivals[0].content) < LIMIT


# --- what is decided -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(550, "5.7.26", "No"), milter.REJECT),
        (Reply(450, "4.2.1", "Later"), milter.TEMPFAIL),
        (Reply(550, "5.7.1", "100% no"), milter.REJECT),
    ],
)
def test_refusals_have_their_words(desk: Desk, reply: Reply, expected: int) -> None:
    context = Context()
    desk.connect(context)
    desk.begin(context)
    desk.answer = lambda arrival: reply
    assert desk.end(context) == expected
    assert context.reply == (str(reply.code), reply.enhanced, reply.text.replace("%", "%%"))


def test_fields_go_from_below_and_come_on_top(desk: Desk) -> None:
    context = Context()
    desk.connect(context)
    desk.begin(context)
    header = [("A", b" 1"), ("B", b" 1"), ("a", b" 2"), ("A", b" 3")]
    desk.answer = lambda arrival: Changes((("A", 3), ("A", 1)), (("X", b"one;\r\n\ttwo"), ("Y", b"three")))
    assert desk.end(context, header) == milter.CONTINUE
    assert context.header == [("Y", b" three"), ("X", b" one;\n\ttwo"), ("B", b" 1"), ("a", b" 2")]


@pytest.mark.parametrize("error", [RuntimeError("bug"), TimeoutError()])
def test_trouble_of_ours_is_temporary(desk: Desk, error: Exception) -> None:
    def fail(arrival: Arrival) -> Examined:
        raise error

    context = Context()
    desk.connect(context)
    desk.begin(context)
    desk.answer = fail
    assert desk.end(context) == milter.TEMPFAIL
    assert context.reply == TEMPORARY
    assert not desk.server.busy
    desk.answer = lambda arrival: Changes((), ())
    desk.begin(context)
    assert desk.end(context) == milter.CONTINUE


def test_trouble_at_data_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)

    def fail(rcpt: str) -> bool:
        raise RuntimeError("bug")

    monkeypatch.setattr(desk.server, "_is_ours", fail)
    context = Context()
    desk.connect(context)
    assert desk.begin(context) == milter.TEMPFAIL
    assert context.reply == TEMPORARY


def test_an_end_without_a_beginning_is_temporary(desk: Desk) -> None:
    context = Context()
    desk.connect(context)
    assert desk.end(context) == milter.TEMPFAIL


def test_messages_of_one_connection_share_nothing(desk: Desk) -> None:
    context = Context()
    desk.connect(context)
    desk.begin(context, b"<a1@alias.example>", sender=b"<one@shop.example>")
    desk.hooks["header"](context, "From", b" one")
    desk.hooks["abort"](context)
    desk.begin(context, b"<a2@alias.example>", sender=b"<two@shop.example>")
    desk.end(context, [("From", b" two")])
    (arrival,) = desk.arrivals
    assert (arrival.sender, arrival.rcpts) == ("two@shop.example", ("a2@alias.example",))
    assert arrival.content == b"From: two\r\n\r\n"


def test_it_is_busy_while_it_asks(desk: Desk) -> None:
    context = Context()
    desk.connect(context)
    desk.begin(context)
    desk.end(context)
    assert desk.busy == [True]
    assert not desk.server.busy
    desk.hooks["close"](context)
    assert context.getpriv() is None


def test_nothing_else_imports_pymilter() -> None:
    def imports(path: Path) -> set[str]:
        nodes = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names: set[Any] = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        return names | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}

    found = [path for path in (ROOT / "mailrelay").rglob("*.py") if {"milter", "Milter"} & imports(path)]
    assert found == [ROOT / "mailrelay" / "servers" / "milter.py"]
