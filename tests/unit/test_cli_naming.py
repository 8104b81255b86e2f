"""Which names and mailboxes may be given away, and how values of bans are folded."""

import re
import zlib
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core import naming
from mailrelay.core.address import Address
from mailrelay.core.bans import Ban, BanId, BanScope, BanType
from mailrelay.core.errors import Absent, Conflict, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.naming import ServiceNames, Site
from mailrelay.core.records import Ground, KnownDomain
from mailrelay.flows.manage import tokens
from mailrelay.flows.manage.bans import ban_value

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SERVICE = ServiceNames("relay.example", "bounces.relay.example", "srs.relay.example", "mx.relay.example")
SHARED = KnownDomain("alias.example", None, True)
OWN = KnownDomain("own.example", AccountId(7), True)
UNVERIFIED = KnownDomain("unsure.example", AccountId(7), False)
NOTHING = Ground((), ())


def _ground(*domains: KnownDomain, bans: tuple[Ban, ...] = ()) -> Ground:
    return Ground(domains, bans)


def _ban(kind: BanType, value: str, scope: BanScope = "both", expires_at: datetime | None = None) -> Ban:
    return Ban(BanId(5), kind, value, scope, expires_at)


@pytest.mark.parametrize("name", ["a", "johndoe", "a.b_c-d", "0x", "a" * 64])
def test_account_names_are_folded(name: str) -> None:
    assert naming.account_name(f" {name.upper()} ") == name


@pytest.mark.parametrize("name", ["", "-a", "a.", "a b", "a@b", "ä", "a" * 65])
def test_other_account_names_are_malformed(name: str) -> None:
    with pytest.raises(Malformed):
        naming.account_name(name)


@pytest.mark.parametrize("name", ["a.b", "a_b", "-a", "a-", "a" * 64, ""])
def test_a_username_is_a_label(name: str) -> None:
    with pytest.raises(Malformed):
        naming.username(name)


@pytest.mark.parametrize("name", ["unsubscribe", "Bounces", "srs", "WWW", "mail", "postmaster", "mta-sts"])
def test_labels_with_a_meaning_are_no_usernames(name: str) -> None:
    with pytest.raises(Conflict, match="reserved"):
        naming.username(name)


@pytest.mark.parametrize(
    ("mailbox", "ground"),
    [
        (Address("a", "alias.example"), _ground(SHARED)),
        (Address("a", "u1.alias.example"), _ground(SHARED)),
        (Address("a", "x.y.alias.example"), _ground(SHARED)),
        (Address("a", "own.example"), _ground(OWN)),
        (Address("a", "relay.example"), NOTHING),
        (Address("a", "bounces.relay.example"), NOTHING),
    ],
)
def test_a_recipient_is_not_at_a_domain_of_ours(mailbox: Address, ground: Ground) -> None:
    with pytest.raises(Conflict, match="served here"):
        naming.check_mailbox(mailbox, ground, SERVICE, NOW)


@pytest.mark.parametrize(
    ("mailbox", "ground"),
    [
        (Address("a", "inbox.example"), _ground(SHARED, OWN)),
        (Address("a", "unsure.example"), _ground(UNVERIFIED)),  # anybody could claim it and lock its owner out
        (Address("a", "sub.own.example"), _ground(OWN)),  # only the domain itself is ours
        (Address("a", "inbox.example"), _ground(bans=(_ban("domain", "inbox.example", "sender"),))),
        (Address("a", "inbox.example"), _ground(bans=(_ban("domain", "inbox.example", "both", NOW),))),
    ],
)
def test_other_mailboxes_may_be_recipients(mailbox: Address, ground: Ground) -> None:
    naming.check_mailbox(mailbox, ground, SERVICE, NOW)


@pytest.mark.parametrize(
    "ban",
    [
        _ban("email", "me@sub.inbox.example"),
        _ban("domain", "inbox.example", "destination"),
        _ban("domain", "sub.inbox.example", "both", NOW + timedelta(seconds=1)),
    ],
)
def test_a_banned_mailbox_is_no_recipient(ban: Ban) -> None:
    with pytest.raises(Conflict, match="banned"):
        naming.check_mailbox(Address("Me", "sub.inbox.example"), _ground(bans=(ban,)), SERVICE, NOW)


@pytest.mark.parametrize("local", ["shop", "a.b", "x=y", "b-short", "o'neil", "0", "a" * 64])
def test_dot_atoms_are_names(local: str) -> None:
    naming.check_local(local, True, NOTHING, NOW)


@pytest.mark.parametrize("local", ["", "a+b", ".a", "a..b", "Shop", "ä", "a b", "a" * 65, '"a"'])
def test_other_names_are_malformed(local: str) -> None:
    with pytest.raises(Malformed):
        naming.check_local(local, True, NOTHING, NOW)


@pytest.mark.parametrize("local", ["b-" + "a" * 34, "r-" + "7" * 16, "srs0=x", "srs1-x", "srs0"[:4] + "=a=b=c"])
def test_technical_names_are_reserved_everywhere(local: str) -> None:
    for on_operators_domain in (True, False):
        with pytest.raises(Conflict, match="reserved"):
            naming.check_local(local, on_operators_domain, NOTHING, NOW)


def test_the_operators_names_are_free_on_custom_domains() -> None:
    naming.check_local("postmaster", False, NOTHING, NOW)
    with pytest.raises(Conflict, match="reserved"):
        naming.check_local("postmaster", True, NOTHING, NOW)


def test_a_banned_name_is_refused_while_the_ban_lasts() -> None:
    with pytest.raises(Conflict, match="ban 5"):
        naming.check_local("shop", False, _ground(bans=(_ban("name", "shop"),)), NOW)
    naming.check_local("shop", False, _ground(bans=(_ban("name", "shop", "both", NOW),)), NOW)


def test_an_alias_lives_on_shared_custom_and_username_domains() -> None:
    ground = _ground(SHARED, OWN, UNVERIFIED)
    assert naming.site_of("alias.example", ground, SERVICE, None) == Site(None, "", True)
    assert naming.site_of("own.example", ground, SERVICE, None) == Site(AccountId(7), "", False)
    assert naming.site_of("u1.alias.example", ground, SERVICE, AccountId(3)) == Site(AccountId(3), "u1", False)


@pytest.mark.parametrize(
    ("domain", "error", "words"),
    [
        ("u2.alias.example", Absent, "no username u2"),
        ("x.y.alias.example", Absent, "not a domain"),
        ("elsewhere.example", Absent, "not a domain"),
        ("unsure.example", Conflict, "not verified"),
        ("relay.example", Conflict, "service's own"),
        ("srs.relay.example", Conflict, "service's own"),
    ],
)
def test_on_other_domains_there_are_none(domain: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        naming.site_of(domain, _ground(SHARED, OWN, UNVERIFIED), SERVICE, None)


def test_a_pattern_is_re2_and_short() -> None:
    assert naming.auto_create_regex("^shop-[0-9]+$") == "^shop-[0-9]+$"
    assert naming.auto_create_regex("") is None
    for text in ("(", r"(?=a)", r"(a)\1", "a" * 101):
        with pytest.raises(Malformed):
            naming.auto_create_regex(text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("ip", "192.0.2.5", "192.0.2.5"),
        ("ip", "::ffff:192.0.2.5", "192.0.2.5"),
        ("ip", "::ffff:c000:205", "192.0.2.5"),
        ("ip", "::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("ip", "192.0.2.77/24", "192.0.2.0/24"),
        ("ip", "2001:DB8:0:0::1", "2001:db8::1"),
        ("ip", "2001:db8::1/64", "2001:db8::/64"),
        ("domain", "Bad.Example.", "bad.example"),
        ("domain", "bücher.example", "xn--bcher-kva.example"),
        ("email", " Foo@BAR.example", "foo@bar.example"),
        ("name", "Shop", "shop"),
    ],
)
def test_equal_values_of_bans_are_written_equally(kind: BanType, text: str, value: str) -> None:
    assert ban_value(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("ip", "unknown"),
        ("ip", "0.0.0.0/0"),
        ("ip", "::/0"),
        ("ip", "192.0.2.1/33"),
        ("domain", "example"),
        ("domain", "a b.example"),
        ("email", "nobody"),
        ("name", "a+b"),
        ("name", ""),
    ],
)
def test_other_values_are_malformed(kind: BanType, text: str) -> None:
    with pytest.raises(Malformed):
        ban_value(kind, text)


def test_a_bearer_token_is_what_clients_of_addy_accept() -> None:
    token = tokens.addy_token()
    assert re.fullmatch(r"[A-Za-z0-9]{40}[0-9a-f]{8}", token)
    assert token[40:] == f"{zlib.crc32(token[:40].encode()):08x}"
    assert tokens.addy_token() != token


def test_an_api_key_is_64_hex_characters() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", tokens.api_key())
