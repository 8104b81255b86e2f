"""Bans at RCPT, at the end of a message and at delivery: every row of haltman-api.md sections 5.1 and 6.6."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from mailrelay.clients.resolver import Resolver
from mailrelay.core.bans import Ban, BanBook, BanId, BanScope, BanType
from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import Answer, Kind, Mx
from mailrelay.core.screen import RcptRequest
from mailrelay.endpoint import Endpoint
from mailrelay.flows.mxbans import HostBans, MxHosts
from mailrelay.servers.policy import DEFER, PolicySession
from mailrelay.wire.policy import PolicyRequest
from tests.api.addy.fakedns import FakeDns
from tests.unit.fakes import NOW
from tests.unit.office import OK, SENDER, UNKNOWN, Office, new_office
from tests.unit.test_examine import Desk
from tools.sandbox import ports
from tools.sandbox.dns import Answerer, parse_zone, serving

YES = "DUNNO"
A1, BOTH, NEW = "a1@alias.example", "both@alias.example", "new@own.example"
REAL, SECOND = "real@inbox.example", "second@inbox2.example"
NODELIVERY = "550 5.7.1 Mail to this address is not accepted"
BANNED = "554 5.7.1 Not accepted here (ref 1)"
Bans = Sequence[tuple[BanType, str, BanScope]]


@pytest.fixture
def office() -> Office:
    return new_office()


def bans(*found: tuple[BanType, str] | tuple[BanType, str, BanScope]) -> Bans:
    return [(kind, value, rest[0] if rest else "both") for kind, value, *rest in found]


# row: bans, recipient, sender, what is said to them
ROWS: dict[str, tuple[Bans, str, str, str]] = {
    "email": (bans(("email", REAL)), A1, SENDER, NODELIVERY),
    "email-other": (bans(("email", "another@inbox.example")), A1, SENDER, YES),
    "email-plus": (bans(("email", "real+x@inbox.example")), A1, SENDER, YES),
    "domain": (bans(("domain", "inbox.example")), A1, SENDER, NODELIVERY),
    "domain-parent": (bans(("domain", "deep.example")), "below@alias.example", SENDER, NODELIVERY),
    "domain-below": (bans(("domain", "sub.inbox.example")), A1, SENDER, YES),
    "domain-resembling": (bans(("domain", "box.example")), A1, SENDER, YES),
    "domain-one-label": (bans(("domain", "example")), A1, SENDER, YES),
    "destination-scope": (bans(("domain", "inbox.example", "destination")), A1, SENDER, NODELIVERY),
    "sender-scope": (bans(("domain", "inbox.example", "sender")), A1, SENDER, YES),
    "new-alias": (bans(("email", REAL)), NEW, SENDER, NODELIVERY),
    "handle": (bans(("email", REAL)), "shop@alias.example", SENDER, NODELIVERY),
    "one-is-left": (bans(("email", REAL)), BOTH, SENDER, YES),
    "none-is-left": (bans(("email", REAL), ("domain", "inbox2.example")), BOTH, SENDER, NODELIVERY),
    "reverse": (bans(("email", REAL, "destination")), "a1+x=y.example@alias.example", SENDER, YES),
    "name": (bans(("name", "a1")), A1, SENDER, UNKNOWN),
    "name-tagged": (bans(("name", "a1")), "A1+tag@alias.example", SENDER, UNKNOWN),
    "name-part": (bans(("name", "a")), A1, SENDER, YES),
    "name-handle": (bans(("name", "shop")), "shop@alias.example", SENDER, UNKNOWN),
    "alias-domain": (bans(("domain", "alias.example")), A1, SENDER, NODELIVERY),
    "alias-domain-parent": (bans(("domain", "alias.example")), "x@u1.alias.example", SENDER, NODELIVERY),
    "alias-domain-scope": (bans(("domain", "alias.example", "sender")), A1, SENDER, YES),
    "alias-domain-custom": (bans(("domain", "own.example")), NEW, SENDER, NODELIVERY),
    "alias-domain-operator": (bans(("domain", "alias.example")), "postmaster@alias.example", SENDER, YES),
    "alias-address": (bans(("email", A1)), A1, SENDER, YES),
    "client": (bans(("ip", "192.0.2.10")), A1, SENDER, BANNED),
    "client-network": (bans(("ip", "192.0.2.0/28")), A1, SENDER, BANNED),
    "client-another": (bans(("ip", "192.0.2.128/25")), A1, SENDER, YES),
    "from": (bans(("email", SENDER)), A1, SENDER, BANNED),
    "from-domain": (bans(("domain", "shop.example", "sender")), A1, "x@news.shop.example", BANNED),
}


def prepared(office: Office, chosen: Bans) -> None:
    office.store.insert("handle", account_id=1, local_part="shop")
    below = office.recipient(1, "deep@mail.deep.example")
    office.alias("below@alias.example", recipients=(below,))
    for ban in chosen:
        office.ban(*ban)


@pytest.mark.parametrize(("chosen", "rcpt", "sender", "answer"), ROWS.values(), ids=ROWS)
async def test_rcpt_hears(office: Office, chosen: Bans, rcpt: str, sender: str, answer: str) -> None:
    prepared(office, chosen)
    assert await office.ask(rcpt, sender) == answer
    assert await office.ask(rcpt, sender) == answer  # and again, where the cache may answer
    hits = [row["hits"] for row in office.store.rows("ban")]
    assert sum(hits) == (0 if answer == YES else 1)  # once per transaction


@pytest.mark.parametrize(("chosen", "rcpt", "sender", "answer"), ROWS.values(), ids=ROWS)
async def test_a_ban_hits_as_soon_as_it_is_known_and_no_longer_than_it_lasts(
    office: Office, chosen: Bans, rcpt: str, sender: str, answer: str
) -> None:
    prepared(office, ())
    assert await office.ask(rcpt, sender) == YES
    for ban in chosen:
        office.ban(*ban)
    assert await office.ask(rcpt, sender) == answer
    for row in office.store.rows("ban"):
        office.rules.around.bans.drop(BanId(row["id"]))
    assert await office.ask(rcpt, sender) == YES


@pytest.mark.parametrize(
    ("chosen", "rcpt", "sender", "answer"),
    [pytest.param(*row, id=name) for name, row in ROWS.items() if name != "reverse"],
)
async def test_a_ban_between_rcpt_and_delivery_holds(
    office: Office, chosen: Bans, rcpt: str, sender: str, answer: str
) -> None:
    """Whoever sent it was told that we take it: now nobody is told anything, and nothing goes out."""
    prepared(office, ())
    assert await office.ask(rcpt, sender) == YES
    for ban in chosen:
        office.ban(*ban)
    assert await office.deliver(rcpt, sender=sender) == [OK]
    outcomes = {(outcome, reason) for _, outcome, reason in office.outcomes()}
    said: dict[str, list[set[tuple[str, str | None]]]] = {
        YES: [{("delivered", None)}, {("delivered", None), ("failed", "destination_banned")}],
        NODELIVERY: [{("failed", "destination_banned")}, {("discarded", "name_banned")}],
        UNKNOWN: [{("discarded", "name_banned")}],
        BANNED: [{("discarded", "banned")}],
    }
    assert any(outcomes == one for one in said[answer])
    assert (office.outside.copies == []) is (answer != YES)
    if answer != YES:
        assert sum(row["hits"] for row in office.store.rows("ban")) == len(chosen)
        assert office.store.rows("alias", local_part="new") == [] or "email" in chosen[0]


async def test_mail_of_strangers_to_a_reverse_address_is_mail_to_the_alias(office: Office) -> None:
    """At RCPT nobody knows yet who writes, and to whom."""
    office.ban("email", REAL, "destination")
    rcpt = "a1+x=y.example@alias.example"
    assert await office.ask(rcpt) == YES
    assert await office.deliver(rcpt) == [OK]
    assert office.outcomes() == [(rcpt, "failed", "destination_banned")]


async def test_a_try_that_is_repeated_counts_once(office: Office) -> None:
    office.ban("email", REAL)
    for _ in range(2):
        await office.deliver(A1)
    assert [row["hits"] for row in office.store.rows("ban")] == [1]


async def test_a_banned_author_is_dropped_at_delivery_as_well(office: Office) -> None:
    office.ban("domain", "shop.example", "sender")
    assert await office.deliver(A1, sender="bounce@mailer.example") == [OK]
    assert office.outcomes() == [(A1, "discarded", "banned")]


async def test_what_is_dropped_for_a_ban_belongs_to_its_alias(office: Office) -> None:
    office.ban("name", "a1")
    await office.deliver(A1)
    [row] = office.entries()
    assert (row["account_id"], row["alias_id"]) == (1, 1)


async def test_an_expired_ban_lets_mail_through(office: Office) -> None:
    office.rules.around.bans.put(Ban(BanId(1), "email", REAL, "both", NOW + timedelta(seconds=1)))
    assert await office.ask(A1) == NODELIVERY
    office.now += timedelta(seconds=1)
    assert await office.ask(A1) == YES


@pytest.mark.parametrize("chosen", [bans(("email", REAL)), bans(("domain", "inbox.example"))], ids=["email", "domain"])
async def test_the_end_of_a_message_hears_of_a_banned_destination(chosen: Bans) -> None:
    """A ban since RCPT, while the sender is still there."""
    desk = Desk()
    for ban in chosen:
        desk.office.ban(*ban)
    assert await desk.said() == NODELIVERY
    assert desk.refused() == [(A1, "destination_banned")]
    assert [row["hits"] for row in desk.store.rows("ban")] == [1]


@pytest.mark.parametrize(
    ("ban", "said"),
    [
        (("name", "a1"), UNKNOWN),
        (("domain", "alias.example"), NODELIVERY),
        (("ip", "192.0.2.0/24"), BANNED),
        (("email", SENDER), BANNED),
    ],
)
async def test_the_end_of_a_message_hears_of_the_other_bans(ban: tuple[BanType, str], said: str) -> None:
    desk = Desk()
    desk.office.ban(*ban)
    assert await desk.said() == said


async def test_the_reply_says_nothing_of_the_reason(office: Office) -> None:
    """6.6: a fixed text. The book does not even hold reasons."""
    office.ban("domain", "inbox.example")
    assert not hasattr(Ban(BanId(1), "domain", "inbox.example", "both", None), "reason")
    assert await office.ask(A1) == NODELIVERY


async def test_a_target_at_our_own_domain_does_not_hide_that_the_other_is_banned(office: Office) -> None:
    moved = office.recipient(1, "moved@own.example")
    office.alias("mixed@alias.example", recipients=(1, moved))
    office.ban("email", REAL)
    assert await office.ask("mixed@alias.example") == NODELIVERY


# -- Trouble -------------------------------------------------------------------------------------------------------


class Broken(BanBook):
    """Cannot be asked about one mailbox."""

    def mailbox(self, address: str, scope: object, now: object) -> Ban | None:
        if address == REAL:
            raise RuntimeError("broken")
        return None


class Transport:
    """What was written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, octets: bytes) -> None:
        self.written.append(octets)

    def close(self) -> None: ...


async def test_d_16_trouble_with_bans_is_temporary_and_for_that_recipient_only(office: Office) -> None:
    """The original answered 451 to everybody."""
    office.alias("other@alias.example", recipients=(2,))
    office.rules.around = replace(office.rules.around, bans=Broken())
    session = PolicySession(lambda asked: office.admission.at_once(_asked(asked)), _later(office))
    transport = Transport()
    session.connection_made(transport)  # type: ignore[arg-type]
    for rcpt in (A1, "other@alias.example"):
        session.data_received(
            f"request=smtpd_access_policy\nprotocol_state=RCPT\nsender={SENDER}\nrecipient={rcpt}\n\n".encode()
        )
    while session._task is not None:
        await session._task
    assert transport.written == [DEFER, b"action=DUNNO\n\n"]


def _asked(request: PolicyRequest) -> RcptRequest:
    return RcptRequest(request.sender, request.recipient, "192.0.2.10", "", authenticated=False)


def _later(office: Office) -> Callable[[PolicyRequest], Awaitable[str]]:
    async def later(request: PolicyRequest) -> str:
        return await office.admission.by_database(_asked(request))

    return later


# -- MX hosts ------------------------------------------------------------------------------------------------------


@pytest.fixture
def dns() -> FakeDns:
    found = FakeDns()
    found.answers["inbox.example", "MX"] = Answer((Mx(10, "mx1.throwaway.example"), Mx(20, "mx.elsewhere.example")))
    return found


class Memory(FakeDns):
    """Remembers what was asked for once."""

    def peek(self, name: str, kind: Kind) -> Answer | None:
        return self.answers.get((name, kind)) if (name, kind) in self.asked else None


def with_hosts(office: Office, dns: FakeDns) -> MxHosts:
    hosts = MxHosts(dns.lookup, Memory(dns.answers, dns.asked).peek)
    office.admission.exchangers = hosts.known
    office.dispatcher.banned_hosts = HostBans(office.rules, hosts, office.clock)
    return hosts


async def settled(hosts: MxHosts) -> None:
    for task in list(hosts._asking.values()):
        await task


async def test_rcpt_never_waits_for_dns_and_knows_the_hosts_the_next_time(office: Office, dns: FakeDns) -> None:
    hosts = with_hosts(office, dns)
    office.ban("domain", "throwaway.example")
    assert await office.ask(A1) == YES
    await settled(hosts)
    assert await office.ask(A1) == NODELIVERY
    assert dns.asked == [("inbox.example", "MX")]
    assert [row["hits"] for row in office.store.rows("ban")] == [1]


async def test_delivery_waits_for_dns_and_sends_nothing_through_a_banned_host(office: Office, dns: FakeDns) -> None:
    with_hosts(office, dns)
    office.ban("domain", "throwaway.example")
    assert await office.deliver(A1, BOTH) == [OK, OK]
    assert office.outside.rcpts == [SECOND]
    assert (A1, "failed", "destination_banned") in office.outcomes()
    assert [row["hits"] for row in office.store.rows("ban")] == [2]


async def test_without_the_option_hosts_do_not_matter(office: Office) -> None:
    office.ban("domain", "throwaway.example")
    assert await office.ask(A1) == YES
    await office.deliver(A1)
    assert office.outside.rcpts == [REAL]


@pytest.mark.parametrize("scope", ["sender"])
async def test_a_ban_of_senders_says_nothing_of_hosts(office: Office, dns: FakeDns, scope: BanScope) -> None:
    with_hosts(office, dns)
    office.ban("domain", "throwaway.example", scope)
    await office.deliver(A1)
    assert office.outside.rcpts == [REAL]


@pytest.mark.parametrize("answer", [None, Answer(), Answer((Mx(0, ""),))], ids=["trouble", "no-mx", "null-mx"])
async def test_what_dns_does_not_tell_bans_nobody(office: Office, dns: FakeDns, answer: Answer | None) -> None:
    dns.answers["inbox.example", "MX"] = answer
    hosts = with_hosts(office, dns)
    office.ban("domain", "throwaway.example")
    for _ in range(2):
        assert await office.ask(A1) == YES
        await settled(hosts)
    await office.deliver(A1)
    assert office.outside.rcpts == [REAL]


async def test_the_operators_mail_is_not_stopped_by_hosts(office: Office, dns: FakeDns) -> None:
    with_hosts(office, dns)
    office.ban("domain", "throwaway.example")
    await office.deliver("postmaster@alias.example")
    assert office.outside.rcpts == ["admin@inbox.example"]


async def test_a_copy_that_postfix_has_is_not_said_to_be_banned(office: Office, dns: FakeDns) -> None:
    """The database went away before it could be recorded; meanwhile its host was banned."""
    with_hosts(office, dns)

    def away(moment: str, operation: str) -> None:
        if (moment, operation) == ("before", "close"):
            raise Unavailable("away")

    office.store.trouble = away
    assert (await office.deliver(A1))[0].startswith("451")
    office.store.trouble = lambda moment, operation: None
    office.ban("domain", "throwaway.example")
    assert await office.deliver(A1) == [OK]
    assert office.outcomes() == [(A1, "delivered", None)]


async def test_a_name_server_on_the_loopback_tells_the_hosts() -> None:
    zone = "$ORIGIN example.\n$TTL 60\n@ IN SOA ns.example. h.example. 7 3600 600 86400 30\n@ IN NS ns.example.\n"
    zone += "inbox IN MX 10 MX1.throwaway.example.\n"
    (port,) = ports.pick(1)
    async with serving(Answerer(parse_zone(zone)), port):
        resolver = Resolver([Endpoint("127.0.0.1", port)], 1.0)
        hosts = MxHosts(resolver.lookup, resolver.known)
        assert hosts.known("inbox.example") == ()
        await settled(hosts)
        assert hosts.known("inbox.example") == ("mx1.throwaway.example",)
        assert await hosts.ask("inbox.example") == ("mx1.throwaway.example",)
        assert await hosts.ask("nowhere.example") == ()
        await resolver.close()


async def test_a_name_server_that_keeps_silent_is_not_waited_for_long() -> None:
    (port,) = ports.pick(1)
    resolver = Resolver([Endpoint("127.0.0.1", port)], 5.0)
    assert await MxHosts(resolver.lookup, resolver.known, seconds=0.05).ask("inbox.example") == ()
    await resolver.close()
