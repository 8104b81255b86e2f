"""What becomes of accepted mail: spec section 12.1 as far as it is decided at delivery, the row in each test's id."""

import re

import pytest

from tests.system.scenario import (
    MINE,
    NEWS,
    R1,
    R2,
    SHARED,
    UNKNOWN,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tools.sandbox.show import Arrived

OPERATOR = "admin@inbox.example"


def header(copy: Arrived, name: str) -> list[str]:
    """The values of a field, unfolded."""
    text = re.sub(r"\r\n[ \t]", " ", copy.header.decode("latin-1"))
    return [
        line.partition(":")[2].strip() for line in text.split("\r\n") if line.lower().startswith(f"{name.lower()}:")
    ]


@pytest.mark.parametrize(
    ("rcpt", "shown"),
    [
        pytest.param("a1@alias.example", "a1@alias.example", id="12.1-1-plain"),
        pytest.param("A1@ALIAS.EXAMPLE", "a1@alias.example", id="12.1-2-capitals"),
        pytest.param("a1+promo@alias.example", "a1+promo@alias.example", id="12.1-3-tag"),
        pytest.param("a1+2@alias.example", "a1+2@alias.example", id="12.1-8-keys-of-an-existing-alias"),
        pytest.param('"a1"@alias.example', "a1@alias.example", id="12.1-25-needless-quotes"),
        pytest.param("a1+x=y.example@alias.example", "a1+x=y.example@alias.example", id="1.5-reverse-by-a-stranger"),
    ],
)
def test_an_alias_forwards_one_copy(scenario: Scenario, rcpt: str, shown: str) -> None:
    (before,) = scenario.of_alias("a1@alias.example", "emails_forwarded")
    sent = scenario.send(rcpt)
    (copy,) = scenario.copies(sent, R1)
    assert header(copy, "X-Mailrelay-Envelope-To") == [shown]
    assert header(copy, "X-Mailrelay-Envelope-From") == [NEWS]
    assert header(copy, "From") == [NEWS]
    scenario.becomes(sent.queue_id, [(shown, "delivered", "")])
    assert scenario.of_alias("a1@alias.example", "emails_forwarded, last_forwarded is not null") == (before + 1, True)
    assert scenario.value("select count(*) from alias where lower(local_part) = 'a1' and domain = %s", SHARED) == 1


@pytest.mark.parametrize(
    ("rcpt", "alias", "extension", "attached", "described", "destination"),
    [
        pytest.param(f"new4@{MINE}", f"new4@{MINE}", None, [], "catch-all", R1, id="12.1-4-catch-all"),
        pytest.param(f"new5+2@{MINE}", f"new5@{MINE}", "2", [R2], "catch-all", R2, id="12.1-5-second-recipient"),
        pytest.param(f"new6+2.3@{MINE}", f"new6@{MINE}", "2.3", [R2], "catch-all", R2, id="12.1-6-unverified-key"),
        pytest.param(f"new7+9@{MINE}", f"new7@{MINE}", "9", [], "catch-all", R1, id="12.1-7-no-such-recipient"),
        pytest.param(f"new8+news@{MINE}", f"new8@{MINE}", "news", [], "catch-all", R1, id="1.5-tag"),
        pytest.param(
            f"new8b+Bob=b.example@{MINE}", f"new8b@{MINE}", "Bob=b.example", [], "catch-all", R1, id="1.5-reverse"
        ),
        pytest.param("x@u1.alias.example", "x@u1.alias.example", None, [], "catch-all", R1, id="12.1-9-username"),
        pytest.param(
            "prefix-shop@rx.example", "prefix-shop@rx.example", None, [], "expression", R1, id="12.1-13-expression"
        ),
        pytest.param(
            "PREFIX9@rx.example", "prefix9@rx.example", None, [], "expression", R1, id="12.1-15-expression-in-capitals"
        ),
    ],
)
def test_the_first_mail_makes_the_alias(
    scenario: Scenario,
    rcpt: str,
    alias: str,
    extension: str | None,
    attached: list[str],
    described: str,
    destination: str,
) -> None:
    scenario.copies(scenario.send(rcpt), destination)
    state, stored, description, counted = scenario.of_alias(alias, "state, extension, description, emails_forwarded")
    assert (state, stored, counted) == ("active", extension, 1)
    assert described in description
    recipients = scenario.sql(
        "select r.address from alias_recipient ar join alias a on a.id = ar.alias_id join recipient r"
        " on r.id = ar.recipient_id where a.local_part || '@' || a.domain = %s order by ar.created_at",
        alias,
    )
    assert [row[0] for row in recipients] == attached
    scenario.copies(scenario.send(rcpt), destination)
    assert scenario.of_alias(alias, "extension, emails_forwarded") == (extension, 2)


def test_12_1_9_a_username_alias_knows_its_parent(scenario: Scenario) -> None:
    scenario.copies(scenario.send("parent@u1.alias.example"), R1)
    (name,) = scenario.of_alias("parent@u1.alias.example", "(select name from username where id = username_id)")
    assert name == "u1"


def test_12_1_18_an_inactive_alias_takes_mail_and_drops_it(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u, state="inactive")
    sent = scenario.send(address)
    scenario.becomes(sent.queue_id, [(address, "discarded", "alias_inactive")])
    scenario.copies(sent)
    assert scenario.of_alias(address, "emails_blocked, last_blocked is not null, emails_forwarded") == (1, True, 0)


def test_12_1_18_an_expired_alias_is_as_an_inactive_one(scenario: Scenario) -> None:
    by_date = scenario.alias(scenario.u, expires_at="2026-01-01")
    by_count = scenario.alias(scenario.u, max_forwards=1)
    scenario.copies(scenario.send(by_count), R1)
    sent = scenario.send(by_date, by_count)
    scenario.becomes(sent.queue_id, [(rcpt, "discarded", "alias_expired") for rcpt in (by_date, by_count)])
    scenario.copies(sent)


def test_12_1_21_one_inactive_recipient_does_not_discard_the_mail_of_others(scenario: Scenario) -> None:
    sent = scenario.send("off@alias.example", "a1@alias.example")
    scenario.copies(sent, R1)
    expected = [("a1@alias.example", "delivered", ""), ("off@alias.example", "discarded", "alias_inactive")]
    scenario.becomes(sent.queue_id, expected)


def test_12_1_22_a_domain_that_is_switched_off_takes_mail_and_drops_it(scenario: Scenario) -> None:
    domain = scenario.domain(scenario.u, catch_all=True, active=False)
    address = scenario.alias(scenario.u, domain=domain)
    sent = scenario.send(address, f"never@{domain}")
    scenario.becomes(
        sent.queue_id, [(address, "discarded", "parent_inactive"), (f"never@{domain}", "discarded", "parent_inactive")]
    )
    scenario.copies(sent)
    assert not scenario.alias_exists(f"never@{domain}")


def test_12_1_16_an_alias_deleted_after_it_was_asked_for_sends_nothing(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u)
    with scenario.world.without_role("lmtp"):
        sent = scenario.send(address)
        scenario.sql(
            "update alias set state = 'deleted', deleted_at = now() where local_part || '@' || domain = %s", address
        )
    scenario.becomes(sent.queue_id, [(address, "discarded", "alias_deleted")])
    scenario.copies(sent)
    assert scenario.of_alias(address, "emails_blocked") == (1,)


def test_12_1_36_and_38_every_recipient_is_counted_once_with_the_size_of_its_copies(scenario: Scenario) -> None:
    person = scenario.person()
    one = scenario.alias(person)
    three = scenario.alias(person, *(f"counted{n}@inbox.example" for n in range(3)))
    sent = scenario.send(one, three)
    scenario.copies(sent, person.mailbox, *(f"counted{n}@inbox.example" for n in range(3)))
    size = scenario.value("select max(size_octets) from ledger where queue_id = %s", sent.queue_id)
    assert size >= len(sent.dispatch.content)
    used = scenario.sql(
        "select kind, subject, sum(amount)::int from rate_window where account_id = %s group by 1, 2 order by 1, 2",
        person.account,
    )
    assert used == [
        ("bandwidth", "", 4 * size),
        ("bandwidth", "shop.example", 4 * size),
        ("day", "F", 2),
        ("message", "", 2),
        ("message", "shop.example", 2),
    ]
    assert [scenario.of_alias(rcpt, "emails_forwarded") for rcpt in (one, three)] == [(1,), (1,)]


def test_12_1_37_new_aliases_are_counted(scenario: Scenario) -> None:
    person = scenario.person(new_aliases_per_hour=2)
    domain = scenario.domain(person, catch_all=True)
    sent = scenario.send(f"first@{domain}", f"second@{domain}")
    scenario.copies(sent, person.mailbox, person.mailbox)
    assert scenario.answer(f"third@{domain}").startswith("450 4.2.1 Too many new addresses")
    scenario.copies(scenario.send(f"first@{domain}"), person.mailbox)


def test_12_1_39_at_91_percent_of_the_bandwidth_mail_goes_on(scenario: Scenario) -> None:
    person = scenario.person(bandwidth_octets_per_month=100_000)
    address = scenario.alias(person)
    scenario.sql(
        "insert into rate_window (account_id, kind, window_start, amount)"
        " values (%s, 'bandwidth', date_trunc('month', now() at time zone 'utc') at time zone 'utc', 91000)",
        person.account,
    )
    scenario.copies(scenario.send(address), person.mailbox)


def test_12_1_41_an_unverified_default_of_a_domain_gives_way_to_the_accounts(scenario: Scenario) -> None:
    person = scenario.person()
    unverified = scenario.recipient(person, "hasty@inbox3.example", verified=False)
    domain = scenario.domain(person, catch_all=True, default_recipient_id=unverified)
    scenario.copies(scenario.send(f"x@{domain}"), person.mailbox)
    scenario.sql("update recipient set verified_at = now() where id = %s", unverified)
    scenario.copies(scenario.send(f"x@{domain}"), "hasty@inbox3.example")


def test_3_1_10_attached_recipients_go_before_defaults_and_failing_ones_last(scenario: Scenario) -> None:
    person = scenario.person()
    address = scenario.alias(person, "works@inbox.example", "fails@inbox.example")
    scenario.sql("update recipient set failing_since = now() where address = 'fails@inbox.example'")
    scenario.copies(scenario.send(address), "works@inbox.example")


def test_12_1_42_a_blocked_author_hears_what_strangers_hear_and_is_counted(scenario: Scenario) -> None:
    person = scenario.person()
    address = scenario.alias(person)
    scenario.sql(
        "insert into blocked_sender (account_id, type, value) values (%s, 'domain', 'shop.example')", person.account
    )
    mail = scenario.signed(scenario.world.message(sender="x@news.shop.example"))
    assert scenario.refused("bulk@plain.example", address, mail=mail) == UNKNOWN
    scenario.eventually(lambda: scenario.refusals(address) == ["blocked_sender"], "the record")
    assert scenario.of_alias(address, "emails_blocked, emails_forwarded") == (1, 0)
    assert scenario.value("select blocked from blocked_sender where account_id = %s", person.account) == 1


def test_12_1_43_a_block_list_is_its_owners_alone(scenario: Scenario) -> None:
    blocker, other = scenario.person(), scenario.person()
    blocked, open_one = scenario.alias(blocker), scenario.alias(other)
    scenario.sql("insert into blocked_sender (account_id, type, value) values (%s, 'email', %s)", blocker.account, NEWS)
    assert scenario.ask(NEWS, blocked, open_one) == [UNKNOWN, "250"]
    mail = scenario.signed(scenario.world.message())
    sent = scenario.send(blocked, open_one, sender="bulk@plain.example", mail=mail)
    scenario.copies(sent, other.mailbox)
    scenario.becomes(sent.queue_id, [(blocked, "discarded", "blocked_sender"), (open_one, "delivered", "")])
    # Once at RCPT, once at delivery.
    assert scenario.of_alias(blocked, "emails_blocked") == (2,)
    assert scenario.value("select blocked from blocked_sender where account_id = %s", blocker.account) == 2


def test_an_allow_list_lets_its_senders_in_and_refuses_the_rest(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u, sender_allow_list=["shop.example"])
    scenario.copies(scenario.send(address), R1)
    stranger = scenario.world.message(sender="a@plain.example")
    assert scenario.refused("a@plain.example", address, mail=stranger) == UNKNOWN
    scenario.eventually(lambda: scenario.refusals(address) == ["not_on_allow_list"], "the record")
    sent = scenario.send(address, "a1@alias.example", sender="a@plain.example", mail=stranger)
    scenario.copies(sent, R1)
    expected = [(address, "discarded", "not_on_allow_list"), ("a1@alias.example", "delivered", "")]
    scenario.becomes(sent.queue_id, expected)


def test_12_1_44_the_operator_is_reached_though_an_account_is_over_its_limit(scenario: Scenario) -> None:
    person = scenario.person(messages_per_hour=1)
    used = scenario.alias(person)
    scenario.copies(scenario.send(used), person.mailbox)
    scenario.answers("450 4.2.1", used)
    sent = scenario.send("postmaster@alias.example", "ABUSE+case7@relay.example")
    first, second = scenario.copies(sent, OPERATOR, OPERATOR)
    assert {*header(first, "X-Mailrelay-Envelope-To"), *header(second, "X-Mailrelay-Envelope-To")} == {
        "postmaster@alias.example",
        "abuse+case7@relay.example",
    }


def test_12_1_44_noreply_takes_mail_and_drops_it(scenario: Scenario) -> None:
    sent = scenario.send("noreply@alias.example")
    scenario.becomes(sent.queue_id, [("noreply@alias.example", "discarded", "noreply")])
    scenario.copies(sent)


def test_12_1_44_postmaster_of_a_custom_domain_is_its_owner(scenario: Scenario) -> None:
    scenario.copies(scenario.send("postmaster@rx.example"), R1)


def test_12_1_44a_a_plain_forward_leaves_the_message_alone(scenario: Scenario) -> None:
    scenario.world.cli("alias", "add", f"pf@{SHARED}", "--to", "dest@inbox.example")
    sent = scenario.send(f"pf@{SHARED}")
    (copy,) = scenario.copies(sent, "dest@inbox.example")
    assert header(copy, "From") == [NEWS]
    assert copy.content.endswith(sent.dispatch.content)
    assert scenario.world.signatures(copy)["shop.example/sandbox"] == "valid"
    assert header(copy, "X-Mailrelay-Mode") == ["transparent"]


def test_12_1_44c_nothing_goes_to_a_banned_destination(scenario: Scenario) -> None:
    person = scenario.person("banned@target2.example")
    address = scenario.alias(person)
    mixed = scenario.alias(person, "banned@target2.example", "spared@inbox.example")
    scenario.sql("insert into ban (type, value, scope) values ('domain', 'target2.example', 'destination')")
    # The policy role hears of the ban a moment later, and the LMTP role.
    refused = "550 5.7.1 Mail to this address is not accepted"
    scenario.answers(refused, address)

    def banned() -> bool:
        probe = scenario.send(mixed)
        scenario.world.settle()
        outcomes = scenario.world.outcomes(probe.queue_id)
        return sorted(outcomes) == [(mixed, "delivered", ""), (mixed, "failed", "destination_banned")]

    scenario.eventually(banned, "the ban to be known at delivery")
    assert scenario.answer("a1@alias.example", "x@target2.example") == "250"
    scenario.sql("update ban set revoked_at = now() where value = 'target2.example'")


def test_12_1_45_a_handle_forwards_and_its_alias_appears(scenario: Scenario) -> None:
    scenario.world.cli("handle", "add", "store", "--account", "u1")
    sent = scenario.send(f"store+tag@{SHARED}")
    (copy,) = scenario.copies(sent, R1)
    assert header(copy, "X-Mailrelay-Envelope-To") == [f"store+tag@{SHARED}"]
    assert scenario.of_alias(f"store@{SHARED}", "handle_id is not null, emails_forwarded") == (True, 1)
    scenario.world.cli("handle", "disable", "store", SHARED)
    scenario.answers(UNKNOWN, f"store@{SHARED}")
