"""What the public smtpd answers to RCPT: spec section 12.1 as far as it is decided there, the row in each test's id."""

import time
from typing import Any

import psycopg
import pytest

from tests.system.scenario import (
    ACCEPTED,
    MINE,
    NEWS,
    RX,
    SHARED,
    TEMPORARY,
    UNKNOWN,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tools.sandbox.sandbox import ROLES

LONG = "550 5.1.3 Recipient address too long"
FORGED_PATH = "b-caasgrlhrgv4332p4zrlah3w2fka2ampsm"  # a vector of spec section 7.1: the key is not ours
ELSEWHERE = "192.0.2.7"


@pytest.mark.parametrize(
    ("rcpt", "expected"),
    [
        pytest.param("a1@alias.example", ACCEPTED, id="12.1-1-active-alias"),
        pytest.param("A1@ALIAS.EXAMPLE", ACCEPTED, id="12.1-2-capitals"),
        pytest.param("a1+promo@alias.example", ACCEPTED, id="12.1-3-tag"),
        pytest.param("new@mine.example", ACCEPTED, id="12.1-4-catch-all"),
        pytest.param("new+2.3@mine.example", ACCEPTED, id="12.1-6-recipient-keys"),
        pytest.param("x@u1.alias.example", ACCEPTED, id="12.1-9-username"),
        pytest.param("x@nobody.alias.example", UNKNOWN, id="12.1-10-unknown-username"),
        pytest.param("x@a.u1.alias.example", UNKNOWN, id="12.1-11-below-a-username"),
        pytest.param("unknown@alias.example", UNKNOWN, id="12.1-12-unknown-on-shared-domain"),
        pytest.param("prefix-shop@rx.example", ACCEPTED, id="12.1-13-expression-matches"),
        pytest.param("shop@rx.example", UNKNOWN, id="12.1-14-expression-does-not-match"),
        pytest.param("PREFIX9@rx.example", ACCEPTED, id="12.1-15-expression-without-case"),
        pytest.param("gone@alias.example", UNKNOWN, id="12.1-16-deleted-alias"),
        pytest.param("gone+tag@alias.example", UNKNOWN, id="12.1-16-deleted-alias-with-tag"),
        pytest.param("off@alias.example", ACCEPTED, id="12.1-18-inactive-alias"),
        pytest.param("off+a=b.example@alias.example", ACCEPTED, id="12.1-18-inactive-alias-reverse"),
        pytest.param("n" * (255 - len("@mine.example")) + "@mine.example", LONG, id="12.1-23-255-octets"),
        pytest.param(
            "ñ@mine.example",
            "553 5.6.7 Non-ASCII local part not available at this domain",
            id="12.1-24-non-ascii-local-part",
        ),
        pytest.param('"a1"@alias.example', ACCEPTED, id="12.1-25-needless-quotes"),
        pytest.param(
            '"a 1"@alias.example',
            "553 5.1.3 Quoted local part not available at this domain",
            id="12.1-25-needed-quotes",
        ),
        pytest.param(
            '"\\"a1\\""@alias.example',
            "553 5.1.3 Quoted local part not available at this domain",
            id="12.1-25-quotes-within-quotes",
        ),
        pytest.param(f"{FORGED_PATH}@mine.example", UNKNOWN, id="12.1-26-forged-return-path"),
        pytest.param(f"{FORGED_PATH.upper()}@mine.example", UNKNOWN, id="12.1-26-forged-return-path-in-capitals"),
        pytest.param("r-abcdefgh234567ab@mine.example", UNKNOWN, id="12.1-26-unknown-reverse-address"),
        pytest.param("postmaster@alias.example", ACCEPTED, id="12.1-44-operator"),
        pytest.param("abuse@relay.example", ACCEPTED, id="12.1-44-operator-of-the-service-domain"),
        pytest.param("anybody@relay.example", UNKNOWN, id="service-domain-has-no-aliases"),
        pytest.param("anybody@bounces.relay.example", UNKNOWN, id="bounce-domain-has-no-aliases"),
        pytest.param("a..b@mine.example", "501 5.1.3 Bad recipient address syntax", id="2.2-1-syntax"),
        pytest.param("postmaster@rx.example", ACCEPTED, id="1.9-postmaster-of-a-custom-domain"),
    ],
)
def test_a_stranger_asks_for(scenario: Scenario, rcpt: str, expected: str) -> None:
    assert scenario.answer(rcpt) == expected


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        pytest.param(
            "SRS0=aaaa=2W=x.example=y@srs.relay.example",
            "550 5.7.1 Forged or expired return path",
            id="12.1-31-forged-srs-sender",
        ),
        pytest.param("SRS0=abcd=2W=x.example=y@otherforwarder.example", ACCEPTED, id="12.1-32-foreign-srs-sender"),
        pytest.param(
            "z@alias.example",
            "550 5.7.1 Sender address may not be used from outside",
            id="12.1-33-sender-on-shared-domain",
        ),
        pytest.param(
            "z@u1.alias.example",
            "550 5.7.1 Sender address may not be used from outside",
            id="12.1-33-sender-on-username-domain",
        ),
        pytest.param("info@mine.example", ACCEPTED, id="12.1-34-sender-on-custom-domain"),
        pytest.param("müller@shop.example", ACCEPTED, id="1.4-non-ascii-sender"),
        pytest.param("", ACCEPTED, id="null-sender"),
    ],
)
def test_somebody_says_to_be(scenario: Scenario, sender: str, expected: str) -> None:
    assert scenario.answer("a1@alias.example", sender, client="198.51.100.9") == expected


def test_a_host_of_ours_may_send_as_a_shared_domain(scenario: Scenario) -> None:
    assert scenario.answer("a1@alias.example", "z@alias.example", client="127.0.0.2") == ACCEPTED


def test_asking_creates_nothing(scenario: Scenario) -> None:
    rcpts = ["asked@mine.example", "asked@u1.alias.example", "prefix-asked@rx.example", f"{FORGED_PATH}@mine.example"]
    scenario.ask(NEWS, *rcpts)
    assert [rcpt for rcpt in rcpts if scenario.alias_exists(rcpt)] == []


# --- refusals and their counters -----------------------------------------------------------------------------------


def test_12_1_16_a_refusal_for_a_deleted_alias_is_counted_and_recorded(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u, state="deleted", deleted_at="now")
    assert scenario.ask(NEWS, address, f"{address.upper()}") == [UNKNOWN, UNKNOWN]
    scenario.eventually(lambda: scenario.of_alias(address, "emails_blocked") == (1,), "one blocked message")
    assert scenario.of_alias(address, "last_blocked is not null") == (True,)
    rows = scenario.sql("select outcome, reason, queue_id, sender from ledger where rcpt = %s", address)
    assert rows == [("refused", "alias_deleted", "", NEWS)]


def test_12_1_17_a_deleted_alias_of_a_catch_all_domain_stays_deleted(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u, domain=MINE, state="deleted", deleted_at="now")
    assert scenario.answer(address) == UNKNOWN
    assert scenario.of_alias(address, "state") == ("deleted",)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        pytest.param("reject", UNKNOWN, id="12.1-19-reject"),
        pytest.param("defer", "450 4.2.1 Address is not accepting mail now", id="12.1-20-defer"),
        pytest.param("discard", ACCEPTED, id="12.1-18-discard"),
    ],
)
def test_an_inactive_alias_behaves_as_its_owner_wants(scenario: Scenario, behaviour: str, expected: str) -> None:
    by_account = scenario.alias(scenario.person(block_behaviour=behaviour), state="inactive")
    by_alias = scenario.alias(scenario.person(), state="inactive", block_behaviour=behaviour)
    assert scenario.ask(NEWS, by_account, by_alias) == [expected, expected]


def test_12_1_19_nobody_can_tell_an_inactive_alias_from_none(scenario: Scenario) -> None:
    inactive = scenario.alias(scenario.u, state="inactive", block_behaviour="reject")
    replies = [reply.replace(inactive, "X") for reply in scenario.ask(NEWS, inactive, "unknown@alias.example")]
    assert replies[0] == replies[1]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        pytest.param("discard", ACCEPTED, id="12.1-22-discard"),
        pytest.param("reject", UNKNOWN, id="12.1-22-reject"),
    ],
)
def test_a_domain_that_is_switched_off(scenario: Scenario, behaviour: str, expected: str) -> None:
    domain = scenario.domain(scenario.u, catch_all=True, block_behaviour=behaviour)
    address = scenario.alias(scenario.u, domain=domain)
    assert scenario.answer(address) == ACCEPTED
    scenario.sql("update domain set active = false where name = %s", domain)
    scenario.answers(expected, address)
    assert scenario.ask(NEWS, address, f"new@{domain}") == [expected, expected]


def test_a_domain_that_is_not_verified_is_not_ours(scenario: Scenario) -> None:
    scenario.sql("insert into domain (name, account_id) values ('unproven.example', %s)", scenario.u.account)
    scenario.answers(ACCEPTED, f"after@{scenario.domain(scenario.u, catch_all=True)}")  # so the news has come
    assert scenario.answer("x@unproven.example").startswith("454 4.7.1")


@pytest.mark.parametrize("domain", ["sub.mine.example", "a.relay.example", "xalias.example", "example"])
def test_a_domain_beside_ours_is_not_ours(scenario: Scenario, domain: str) -> None:
    assert scenario.answer(f"x@{domain}").startswith("454 4.7.1")


def test_a_domain_that_is_removed_is_no_longer_ours(scenario: Scenario) -> None:
    domain = scenario.domain(scenario.u, catch_all=True)
    assert scenario.answer(f"x@{domain}") == ACCEPTED
    scenario.world.cli("domain", "remove", domain, "--yes")
    # Each address is new, because smtpd remembers what it was told about one.
    names = (f"x{number}@{domain}" for number in range(1000))
    scenario.eventually(lambda: scenario.answer(next(names)).startswith("454 4.7.1"), "the domain to be forgotten")


def test_changes_made_while_nobody_listens_are_noticed(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u)
    scenario.remember(address)
    listening = (
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'mailrelay changes'"
    )
    scenario.sql(
        f"{listening}; update alias set state = 'inactive', block_behaviour = 'reject'"
        f" where local_part || '@' || domain = '{address}'"
    )
    scenario.answers(UNKNOWN, address)
    for role in ROLES:
        scenario.world.sandbox.wait_healthy(role)


# --- database down -------------------------------------------------------------------------------------------------


def test_12_1_27_without_the_database_known_aliases_are_accepted_and_nothing_is_refused_for_good(
    scenario: Scenario,
) -> None:
    known = scenario.alias(scenario.u)
    unknown = ["unknown@alias.example", "gone@alias.example", scenario.alias(scenario.u)]
    scenario.remember(known)
    with scenario.world.without_database():
        began = time.monotonic()
        assert scenario.ask(NEWS, known, known.upper(), known) == [ACCEPTED] * 3
        assert time.monotonic() - began < 3  # no smtpd waits long for what memory can answer
        assert scenario.ask(NEWS, *unknown) == [TEMPORARY] * 3
        assert scenario.answer("x@shop.example").startswith("454 4.7.1")
    scenario.answers(UNKNOWN, unknown[0])
    scenario.answers(ACCEPTED, unknown[2])


def test_a_database_that_hangs_delays_the_answer_for_a_few_seconds(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u)
    with psycopg.connect(scenario.world.sandbox.dsn) as connection:
        connection.execute("lock table alias in access exclusive mode")
        began = time.monotonic()
        assert scenario.answer(address) == TEMPORARY
        assert time.monotonic() - began < 5  # spec section 2.1
    scenario.answers(ACCEPTED, address)


# --- bans ----------------------------------------------------------------------------------------------------------

BANNED = "554 5.7.1 Not accepted here (ref {})"


def _ban(scenario: Scenario, kind: str, value: str, **columns: Any) -> int:
    names, marks = "".join(f", {name}" for name in columns), ", %s" * len(columns)
    statement = f"insert into ban (type, value{names}) values (%s, %s{marks}) returning id"
    return int(scenario.value(statement, kind, value, *columns.values()))


def _hits(scenario: Scenario, ban: int) -> int:
    return int(scenario.value("select hits from ban where id = %s", ban))


@pytest.mark.parametrize(
    ("kind", "value", "hit", "missed"),
    [
        pytest.param("ip", "203.0.113.0/24", (NEWS, "203.0.113.200"), (NEWS, "192.0.2.9"), id="12.1-28-network"),
        pytest.param(
            "ip", "2001:db8:bad::/48", (NEWS, "2001:db8:bad::7"), (NEWS, "2001:db8:bae::7"), id="12.1-28-ipv6-network"
        ),
        pytest.param("ip", "192.0.2.77", (NEWS, "192.0.2.77"), (NEWS, "192.0.2.78"), id="12.1-28-address"),
        pytest.param(
            "domain",
            "bad.example",
            ("x@sub.bad.example", ELSEWHERE),
            ("x@notbad.example", ELSEWHERE),
            id="12.1-29-parent-domain",
        ),
        pytest.param(
            "domain", "worse.example", ("x@Worse.Example", ELSEWHERE), ("x@example", ELSEWHERE), id="12.1-29-domain"
        ),
        pytest.param(
            "email",
            "pest@shop.example",
            ("PEST@shop.example", ELSEWHERE),
            ("guest@shop.example", ELSEWHERE),
            id="12.1-29-address",
        ),
    ],
)
def test_a_ban_hits(scenario: Scenario, kind: str, value: str, hit: tuple[str, str], missed: tuple[str, str]) -> None:
    ban = _ban(scenario, kind, value)
    expected = BANNED.format(ban)
    scenario.answers(expected, "a1@alias.example", *hit)
    assert scenario.answer("a1@alias.example", *missed) == ACCEPTED
    before = _hits(scenario, ban)
    assert scenario.ask(hit[0], "both@alias.example", "unknown@alias.example", client=hit[1]) == [expected] * 2
    scenario.eventually(lambda: _hits(scenario, ban) >= before + 2, "the hits of the ban")
    scenario.sql("update ban set revoked_at = now() where id = %s", ban)
    scenario.answers(ACCEPTED, "a1@alias.example", *hit)


def test_12_1_30_a_banned_name_is_unknown_everywhere(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u, local_part="nuisance")
    ban = _ban(scenario, "name", "nuisance")
    scenario.answers(UNKNOWN, address)
    assert scenario.answer("Nuisance+tag@mine.example") == UNKNOWN
    scenario.sql("update ban set revoked_at = now() where id = %s", ban)
    scenario.answers(ACCEPTED, address)


def test_12_1_29_an_expired_ban_and_one_for_destinations_stop_no_sender(scenario: Scenario) -> None:
    _ban(scenario, "domain", "forgiven.example", expires_at="2026-01-01")
    _ban(scenario, "domain", "target.example", scope="destination")
    marker = _ban(scenario, "domain", "marker.example")  # changes come in order
    scenario.answers(BANNED.format(marker), "a1@alias.example", "x@marker.example")
    assert scenario.answer("a1@alias.example", "x@forgiven.example") == ACCEPTED
    assert scenario.answer("a1@alias.example", "x@target.example") == ACCEPTED


# --- null sender ---------------------------------------------------------------------------------------------------


def test_12_1_35_the_null_sender_addresses_one_recipient_at_a_time(scenario: Scenario) -> None:
    several = "452 4.5.3 One recipient at a time for the null sender"
    assert scenario.ask("", "a1@alias.example", "both@alias.example", "new@mine.example") == [
        ACCEPTED,
        several,
        several,
    ]
    assert scenario.ask("", "a1@alias.example", "a1@alias.example") == [ACCEPTED, ACCEPTED]
    assert scenario.ask("", "both@alias.example") == [ACCEPTED]


# --- block lists ---------------------------------------------------------------------------------------------------


def test_12_1_42_a_blocked_sender_hears_that_there_is_nobody(scenario: Scenario) -> None:
    person = scenario.person()
    address, other = scenario.alias(person), scenario.alias(scenario.u)
    entry = scenario.value(
        "insert into blocked_sender (account_id, type, value) values (%s, 'domain', 'shop.example') returning id",
        person.account,
    )
    assert scenario.ask("x@news.shop.example", address, other) == [UNKNOWN, ACCEPTED]
    assert scenario.answer(address, "x@workshop.example") == ACCEPTED
    scenario.eventually(lambda: scenario.of_alias(address, "emails_blocked") == (1,), "the alias' counter")
    counted = "select blocked, last_blocked is not null from blocked_sender where id = %s"
    assert scenario.sql(counted, entry) == [(1, True)]


# --- handles -------------------------------------------------------------------------------------------------------


def test_12_1_44b_a_released_handle_is_nobodys_for_ever(scenario: Scenario) -> None:
    scenario.world.cli("handle", "add", "old", "--account", "u1")
    assert scenario.answer(f"old@{SHARED}") == ACCEPTED
    scenario.world.cli("handle", "release", "old")
    scenario.answers(UNKNOWN, f"old@{SHARED}")
    refused = scenario.world.cli_fails("alias", "add", f"old@{SHARED}", "--account", "u1")
    assert refused.code == 1
    assert not scenario.alias_exists(f"old@{SHARED}")


def test_12_1_45_a_handle_is_switched_off_for_one_domain(scenario: Scenario) -> None:
    scenario.world.cli("handle", "add", "boutique", "--account", "u1")
    assert scenario.answer(f"boutique@{SHARED}") == ACCEPTED
    scenario.world.cli("handle", "disable", "boutique", SHARED)
    scenario.answers(UNKNOWN, f"boutique@{SHARED}")
    assert scenario.answer(f"boutique@{RX}") == UNKNOWN  # no shared domain
    scenario.world.cli("handle", "enable", "boutique", SHARED)
    scenario.answers(ACCEPTED, f"boutique@{SHARED}")
