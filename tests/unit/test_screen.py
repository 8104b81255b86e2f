"""The checks at RCPT that need no database, by the rows of spec section 2.2."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core import srs, verp
from mailrelay.core.address import Address, parse_address
from mailrelay.core.bans import Ban, BanBook, BanId, BanType
from mailrelay.core.facts import Reason
from mailrelay.core.judge import Question
from mailrelay.core.realm import Realm
from mailrelay.core.screen import (
    Accept,
    AskAlias,
    AskOutbound,
    AskReverse,
    Keys,
    RcptRequest,
    Refusal,
    Screened,
    Surroundings,
    day_number,
    screen,
)

NOW = datetime(2026, 1, 6, 12, tzinfo=UTC)
TODAY = day_number(NOW)
KEY, OLD_KEY = bytes(range(32)), bytes(range(1, 33))
SRS = srs.Scheme("srs.relay.example", (KEY,))
OUTSIDE = "192.0.2.10"


def around(*bans: tuple[BanType, str]) -> Surroundings:
    return Surroundings(
        Realm(
            frozenset({"relay.example", "bounces.relay.example", "srs.relay.example"}),
            "srs.relay.example",
            "bounces.relay.example",
            shared=frozenset({"alias.example"}),
            custom=frozenset({"own.example"}),
        ),
        BanBook.of(Ban(BanId(n), kind, text, "both", None) for n, (kind, text) in enumerate(bans, 1)),
        Keys((KEY, OLD_KEY), (KEY,), SRS),
        (ip_network("127.0.0.0/8"), ip_network("::1/128")),
        lambda domain: domain,
    )


def result(
    rcpt: str,
    sender: str = "news@shop.example",
    client: str = OUTSIDE,
    *bans: tuple[BanType, str],
    authenticated: bool = False,
) -> Screened:
    return screen(RcptRequest(sender, rcpt, client, "i.1", authenticated), around(*bans), NOW)


def path(domain: str = "bounces.relay.example", age: int = 0, key: bytes = KEY) -> str:
    return f"{verp.encode(verp.VerpId(verp.EmailType.FORWARD, 77, TODAY - age), domain, key)}@{domain}"


def srs_address(sender: str = "x@elsewhere.example", age: int = 0) -> str:
    local, _, domain = sender.partition("@")
    address = srs.forward(Address(local, domain), SRS, TODAY - age)
    assert isinstance(address, Address)
    return str(address)


REFUSALS = {
    "2.2-1-empty": ("", "SYNTAX", Reason.SYNTAX),
    "2.2-1-no-local": ("@alias.example", "SYNTAX", Reason.SYNTAX),
    "2.2-1-no-domain": ("a1@", "SYNTAX", Reason.SYNTAX),
    "2.2-1-dots": ("a..1@alias.example", "SYNTAX", Reason.SYNTAX),
    "12.1-25-quoted": ('"a 1"@alias.example', "QUOTED", Reason.SYNTAX),
    "12.1-23": ("x" * 241 + "@alias.example", "LONG", Reason.SYNTAX),
    "12.1-24": ("ñ@own.example", "NONASCII", Reason.SYNTAX),
    "12.1-11": ("x@a.u1.alias.example", "UNKNOWN", Reason.UNKNOWN),
    "2.2-9-forged": ("b-" + "a" * 34 + "@bounces.relay.example", "UNKNOWN", Reason.RETURN_PATH_INVALID),
    "12.1-26": ("b-" + "a" * 34 + "@own.example", "UNKNOWN", Reason.RETURN_PATH_INVALID),
    "2.2-9-expired": (path(age=11), "UNKNOWN", Reason.RETURN_PATH_INVALID),
    "2.2-9-other-domain": (
        path().replace("bounces.relay.example", "own.example"),
        "UNKNOWN",
        Reason.RETURN_PATH_INVALID,
    ),
    "2.2-9-forgotten-key": (path(key=b"x" * 32), "UNKNOWN", Reason.RETURN_PATH_INVALID),
    "2.2-10-forged": ("SRS0=aaaaaaaa=2W=x.example=y@srs.relay.example", "UNKNOWN", Reason.RETURN_PATH_INVALID),
    "12.7-189": (srs_address(age=22), "UNKNOWN", Reason.RETURN_PATH_INVALID),
    "service-domain": ("somebody@relay.example", "UNKNOWN", Reason.UNKNOWN),
    "bounce-domain": ("somebody@bounces.relay.example", "UNKNOWN", Reason.UNKNOWN),
}


@pytest.mark.parametrize(("rcpt", "reply", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_a_recipient_is_refused(rcpt: str, reply: str, reason: Reason) -> None:
    assert result(rcpt) == Refusal(reply, reason)


@pytest.mark.parametrize(
    "rcpt",
    [
        pytest.param("x@elsewhere.example", id="2.2-4"),
        pytest.param("x@sub.own.example", id="2.2-4-below-a-custom-domain"),
        pytest.param("a b@elsewhere.example", id="2.2-4-bad"),
        pytest.param("ñ@elsewhere.example", id="2.2-4-non-ascii"),
        pytest.param("postmaster", id="2.2-4-no-domain"),
        pytest.param("a1@[192.0.2.1]", id="2.2-4-literal"),
        pytest.param("postmaster@alias.example", id="12.1-44"),
        pytest.param("Abuse+ref77@relay.example", id="1.9-extension"),
        pytest.param("noreply@alias.example", id="1.9-noreply"),
    ],
)
def test_a_recipient_that_no_database_is_asked_about(rcpt: str) -> None:
    assert result(rcpt) == Accept()


@pytest.mark.parametrize(
    "rcpt", [srs_address(), srs_address().lower(), srs_address(age=21)], ids=["2.2-10-valid", "12.7-188", "21-days"]
)
def test_an_srs_address_takes_reports_only(rcpt: str) -> None:
    """12.7-190 and 12.7-191"""
    assert result(rcpt, sender="") == Accept()
    assert result(rcpt) == Refusal("REPORTSONLY", Reason.RETURN_PATH_MAIL)


@pytest.mark.parametrize(
    "rcpt",
    [path(), path().upper(), path(age=10), path(age=-1), path(key=OLD_KEY), path("alias.example"), path("own.example")],
    ids=["2.2-8", "upper", "10-days", "tomorrow", "previous-key", "shared-domain", "custom-domain"],
)
def test_a_genuine_return_path_is_asked_for_by_its_copy(rcpt: str) -> None:
    assert result(rcpt, sender="") == AskOutbound(77)


@pytest.mark.parametrize(
    ("rcpt", "question"),
    [
        pytest.param("a1@alias.example", Question("a1", False), id="12.1-1"),
        pytest.param("A1@ALIAS.EXAMPLE", Question("a1", False), id="12.1-2"),
        pytest.param("a1+promo@alias.example", Question("a1", False), id="12.1-3"),
        pytest.param('"a1"@alias.example', Question("a1", False), id="12.1-25"),
        pytest.param("a1+x=y.example@alias.example", Question("a1", False, reverse=True), id="2.2-16-reverse"),
        pytest.param("new@own.example", Question("new", True), id="12.1-4"),
        pytest.param("postmaster@own.example", Question("postmaster", True), id="1.9-custom"),
        pytest.param("postmaster@u1.alias.example", Question("postmaster", False), id="1.9-username"),
        pytest.param(
            "SRS0=aaaa=2W=x.example=y@own.example", Question("srs0=aaaa=2w=x.example=y", True), id="srs-shape"
        ),
    ],
)
def test_the_database_is_asked_about_the_rest(rcpt: str, question: Question) -> None:
    screened = result(rcpt)
    assert isinstance(screened, AskAlias)
    assert screened.question == question
    assert screened.inquiry.base == question.base


# -- Bans ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bans", "rcpt", "sender", "reply", "reason"),
    [
        pytest.param([("ip", "192.0.2.0/24")], "a1@alias.example", "", "BANNED", Reason.BANNED, id="12.1-28"),
        pytest.param(
            [("domain", "bad.example")], "a1@alias.example", "x@sub.bad.example", "BANNED", Reason.BANNED, id="12.1-29"
        ),
        pytest.param(
            [("email", "x@bad.example")], "a1@alias.example", "X@BAD.example", "BANNED", Reason.BANNED, id="2.2-6"
        ),
        pytest.param(
            [("name", "admin")], "admin@own.example", "x@shop.example", "UNKNOWN", Reason.NAME_BANNED, id="12.1-30"
        ),
        pytest.param(
            [("name", "admin")], "Admin+x@alias.example", "x@shop.example", "UNKNOWN", Reason.NAME_BANNED, id="2.2-7"
        ),
    ],
)
def test_a_ban_refuses(bans: Sequence[tuple[BanType, str]], rcpt: str, sender: str, reply: str, reason: Reason) -> None:
    refusal = result(rcpt, sender, OUTSIDE, *bans)
    assert isinstance(refusal, Refusal)
    assert (refusal.reply, refusal.reason) == (reply, reason)
    assert refusal.ban is not None
    assert refusal.ban.id == 1


def test_a_ban_says_nothing_about_other_domains() -> None:
    assert result("x@elsewhere.example", "", OUTSIDE, ("ip", "192.0.2.0/24")) == Accept()


def test_the_null_sender_is_on_no_list() -> None:
    assert isinstance(result("a1@alias.example", "", OUTSIDE, ("email", "a1@alias.example")), AskAlias)


def test_a_client_ban_comes_before_a_name_ban() -> None:
    refusal = result("admin@own.example", "", OUTSIDE, ("name", "admin"), ("ip", OUTSIDE))
    assert isinstance(refusal, Refusal)
    assert refusal.reply == "BANNED"


# -- Senders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "reply"),
    [
        pytest.param("SRS0=aaaa=2W=x.example=y@srs.relay.example", "SRSFORGED", id="12.1-31"),
        pytest.param(srs_address(age=22), "SRSFORGED", id="2.2-12-expired"),
        pytest.param("SRS0=aaaa=2W=x.example=y@own.example", "SRSFORGED", id="2.2-12-custom-domain"),
        pytest.param("z@alias.example", "LOCALSPOOF", id="12.1-33"),
        pytest.param("z@u1.alias.example", "LOCALSPOOF", id="2.2-13-username"),
        pytest.param("z@Relay.Example.", "LOCALSPOOF", id="2.2-13-spelling"),
        pytest.param(path(age=11), "LOCALSPOOF", id="2.2-13-old-path"),
    ],
)
def test_a_forged_sender_is_refused(sender: str, reply: str) -> None:
    refusal = result("a1@alias.example", sender)
    assert isinstance(refusal, Refusal)
    assert refusal.reply == reply


@pytest.mark.parametrize(
    "sender",
    [
        pytest.param("SRS0=abcd=2W=x.example=y@otherforwarder.example", id="12.1-32"),
        pytest.param("info@own.example", id="12.1-34"),
        pytest.param(srs_address(), id="2.2-12-genuine"),
        pytest.param(path(), id="2.2-13-path"),
        pytest.param(path().upper(), id="2.2-13-path-upper"),
        pytest.param("", id="null"),
        pytest.param("postmaster", id="no-domain"),
        pytest.param("x@sub.own.example", id="not-ours"),
    ],
)
def test_other_senders_pass(sender: str) -> None:
    assert isinstance(result("a1@alias.example", sender), AskAlias)


@pytest.mark.parametrize("client", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_trusted_clients_may_send_as_us(client: str) -> None:
    assert isinstance(result("a1@alias.example", "z@alias.example", client), AskAlias)


def test_who_signed_in_may_send_as_us() -> None:
    assert isinstance(result("a1@alias.example", "z@alias.example", authenticated=True), AskAlias)


def test_nobody_may_forge_srs() -> None:
    forged = "SRS0=aaaa=2W=x.example=y@srs.relay.example"
    assert isinstance(result("a1@alias.example", forged, "127.0.0.1", authenticated=True), Refusal)


# -- Any text ------------------------------------------------------------------------------------------------------

_LOCALS = st.text(max_size=40) | st.sampled_from(["a1", "b-" + "a" * 34, "SRS0=a=aa=x=y", "r-" + "a" * 16, "a+b=c.d"])
_DOMAINS = st.text(max_size=20) | st.sampled_from(
    ["alias.example", "OWN.example.", "srs.relay.example", "u.alias.example"]
)
_TEXTS = st.builds("{}@{}".format, _LOCALS, _DOMAINS) | st.text()


@given(_TEXTS, _TEXTS, st.text(max_size=20))
def test_any_request_gets_an_answer(rcpt: str, sender: str, client: str) -> None:
    bans: list[tuple[BanType, str]] = [("ip", "192.0.2.0/24"), ("domain", "bad.example"), ("name", "admin")]
    screen(RcptRequest(sender, rcpt, client, "", False), around(*bans), NOW)


def test_a_day_begins_at_midnight_utc() -> None:
    midnight = datetime(2026, 1, 1, tzinfo=UTC)
    assert day_number(midnight) == 20454  # the day of the vectors in spec section 7.1
    assert day_number(midnight - timedelta(microseconds=1)) == 20453


def test_1_7_an_opaque_reverse_address_is_looked_up() -> None:
    rcpt = "R-" + "A" * 16 + "@own.example"
    assert result(rcpt) == AskReverse(parse_address(rcpt))


UNSUBSCRIBE = "50c9e585-e7f5-41c4-9016-9014c15454bc@unsubscribe.alias.example"


@pytest.mark.parametrize("rcpt", [UNSUBSCRIBE, UNSUBSCRIBE.upper()])
@pytest.mark.parametrize("sender", ["news@shop.example", ""])
def test_row_185_aliases_can_be_deactivated_by_mail(rcpt: str, sender: str) -> None:
    assert result(rcpt, sender) == Accept()


@pytest.mark.parametrize(
    "rcpt", ["list@unsubscribe.alias.example", "x" + UNSUBSCRIBE, "postmaster@unsubscribe.alias.example"]
)
def test_nothing_else_is_at_the_domain_for_unsubscribing(rcpt: str) -> None:
    assert result(rcpt) == Refusal("UNKNOWN", Reason.UNKNOWN)


def test_only_shared_domains_have_such_addresses() -> None:
    assert result(UNSUBSCRIBE.replace("unsubscribe.", "u1.")) != Accept()
    assert result(UNSUBSCRIBE.replace("unsubscribe.", "bounces.").replace("alias", "relay")) != Accept()
