"""Whether mail may be sent to a contact (spec section 4.2 f)."""

from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.address import Address, parse_address
from mailrelay.core.bans import Ban, BanBook, BanId
from mailrelay.core.facts import AccountId, AliasId, Reason, RecipientId
from mailrelay.core.lookup import ABSENT, Answer, Mx
from mailrelay.core.realm import Realm
from mailrelay.core.sending.contact import Objection, Reach, domain_to_ask, needs_addresses, objection, reach
from mailrelay.core.sending.facts import OwnMailbox, SendingFacts

NOW = datetime(2026, 1, 6, 12, tzinfo=UTC)
A1 = parse_address("a1@alias.example")
REALM = Realm(
    frozenset({"relay.example", "bounces.relay.example", "srs.relay.example"}),
    "srs.relay.example",
    "bounces.relay.example",
    shared=frozenset({"alias.example"}),
    custom=frozenset({"own.example"}),
)
FACTS = SendingFacts(
    AccountId(1),
    AliasId(1),
    A1,
    mailboxes=(
        OwnMailbox(RecipientId(1), parse_address("real@inbox.example"), verified=True),
        OwnMailbox(RecipientId(3), parse_address("third@inbox3.example"), verified=False),
    ),
)
BAD = Objection("BADCONTACT", Reason.BAD_CONTACT)
OWN = Objection("NOCONTACT", Reason.OWN_CONTACT)


def about(
    contact: Address | None, facts: SendingFacts = FACTS, reached: Reach = "yes", bans: BanBook | None = None
) -> object:
    return objection(contact, A1, facts, REALM, bans or BanBook(), reached, NOW)


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        pytest.param("contact@shop.example", None, id="a-contact"),
        pytest.param("third@inbox3.example", None, id="what-was-only-claimed-is-not-the-owners"),
        pytest.param("a1@alias.example", OWN, id="12.4-123"),
        pytest.param("A1@alias.example", OWN, id="12.4-123-upper-case"),
        pytest.param("a1+tag@alias.example", OWN, id="12.4-123-with-a-tag"),
        pytest.param("a1+x=shop.example@alias.example", OWN, id="9.5-a-reverse-address-of-the-same-alias"),
        pytest.param("a2+x=shop.example@own.example", OWN, id="9.5-a-reverse-address-of-another-alias"),
        pytest.param("R-aaaaaaaaaaaaaaaa@alias.example", OWN, id="9.5-an-opaque-one"),
        pytest.param("b-" + "a" * 34 + "@alias.example", OWN, id="a-return-path"),
        pytest.param("a2@alias.example", None, id="9.5-another-alias"),
        pytest.param("a2+tag@u1.alias.example", None, id="9.5-another-alias-with-a-tag"),
        pytest.param("postmaster@alias.example", None, id="the-operator"),
        pytest.param("abuse@relay.example", None, id="the-operator-at-the-service-domain"),
        pytest.param("SRS0=xxxx=yy=shop.example=bob@srs.relay.example", BAD, id="an-srs-address"),
        pytest.param("x@relay.example", BAD, id="nobody-lives-at-the-service-domain"),
        pytest.param("x@a.u1.alias.example", BAD, id="nobody-lives-below-usernames"),
        pytest.param("real@inbox.example", OWN, id="an-own-recipient"),
        pytest.param("REAL@inbox.example", OWN, id="an-own-recipient-upper-case"),
        pytest.param("x@localhost", BAD, id="one-label"),
    ],
)
def test_which_contacts_are_acceptable(contact: str, expected: object) -> None:
    assert about(parse_address(contact)) == expected


def test_what_cannot_be_read_is_no_contact() -> None:
    assert about(None) == BAD


@pytest.mark.parametrize(("type_", "value"), [("email", "contact@shop.example"), ("domain", "shop.example")])
def test_banned_destinations(type_: str, value: str) -> None:
    def book(scope: str) -> BanBook:
        return BanBook.of([Ban(BanId(7), type_, value, scope, None)])  # type: ignore[arg-type]

    contact = parse_address("contact@shop.example")
    assert about(contact, bans=book("destination")) == Objection("NOCONTACT", Reason.DESTINATION_BANNED, BanId(7))
    assert about(contact, bans=book("sender")) is None


@pytest.mark.parametrize(("reached", "expected"), [("yes", None), ("no", BAD), ("unknown", None)])
def test_a_domain_without_mail(reached: Reach, expected: object) -> None:
    assert about(parse_address("contact@shop.example"), reached=reached) == expected


def test_a_contact_that_refused_too_often_rests() -> None:
    contact = parse_address("contact@shop.example")
    for ends, expected in (
        (NOW + timedelta(seconds=1), Objection("NOCONTACT", Reason.CONTACT_SUPPRESSED, words="smtp; 550 no")),
        (NOW, None),
    ):
        facts = SendingFacts(AccountId(1), AliasId(1), A1, suppressed_until=ends, suppressed_reason="smtp; 550 no")
        assert about(contact, facts) == expected


MX, NULL, NOTHING, ADDRESS = (
    Answer((Mx(10, "mx.shop.example"),)),
    Answer((Mx(0, ""),)),
    Answer(),
    Answer(("192.0.2.1",)),
)


@pytest.mark.parametrize(
    ("mx", "addresses", "expected"),
    [
        (MX, (), "yes"),
        (NULL, (), "no"),
        (NULL, (ADDRESS, ADDRESS), "no"),
        (NOTHING, (ADDRESS, NOTHING), "yes"),
        (NOTHING, (NOTHING, ADDRESS), "yes"),
        (NOTHING, (None, ADDRESS), "yes"),
        (NOTHING, (NOTHING, None), "unknown"),
        (NOTHING, (NOTHING, NOTHING), "no"),
        (ABSENT, (), "no"),
        (None, (), "unknown"),
    ],
)
def test_which_domains_take_mail(mx: Answer | None, addresses: tuple[Answer | None, ...], expected: Reach) -> None:
    assert reach(mx, addresses) == expected


def test_addresses_are_asked_for_only_if_they_decide() -> None:
    assert [needs_addresses(one) for one in (NOTHING, MX, NULL, ABSENT, None)] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("contact", "domain"),
    [("x@shop.example", "shop.example"), ("x@own.example", None), ("x@u1.alias.example", None), ("x@localhost", None)],
)
def test_dns_is_asked_about_other_domains_only(contact: str, domain: str | None) -> None:
    assert domain_to_ask(parse_address(contact), REALM) == domain
    assert domain_to_ask(None, REALM) is None
