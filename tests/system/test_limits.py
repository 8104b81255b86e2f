"""What RCPT says about accounts that have used up something, or have nobody to deliver to (spec section 12.1)."""

from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.judge import QUOTA_SOON, next_month
from tests.system.scenario import (
    ACCEPTED,
    NEWS,
    UNKNOWN,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)

NOTREADY = "450 4.2.1 Address is not ready to receive mail"
NEVERREADY = "550 5.2.1 Address is not ready to receive mail"
RATE = "450 4.2.1 Recipient is receiving mail too fast, try later"
NEWALIAS = "450 4.2.1 Too many new addresses, try later"


def _used(scenario: Scenario, account: int, kind: str, amount: int, minutes_ago: int = 0, subject: str = "") -> None:
    statement = (
        "insert into rate_window (account_id, kind, subject, window_start, amount)"
        " values (%s, %s, %s, now() - %s * interval '1 minute', %s)"
    )
    scenario.sql(statement, account, kind, subject, minutes_ago, amount)


def test_12_1_36_the_201st_message_within_the_hour_waits(scenario: Scenario) -> None:
    person = scenario.person(messages_per_hour=200)
    address = scenario.alias(person)
    _used(scenario, person.account, "message", 120, minutes_ago=59)
    _used(scenario, person.account, "message", 79)
    assert scenario.answer(address) == ACCEPTED
    _used(scenario, person.account, "message", 1, minutes_ago=30)
    scenario.set_alias(address, "description", "changed")  # else the policy role may answer from memory
    scenario.answers(RATE, address)
    assert scenario.answer(address.replace("@", "+x=y.example@")) == ACCEPTED  # replies have limits of their own
    scenario.sql(
        "update rate_window set window_start = window_start - interval '1 minute 1 second' where account_id = %s",
        person.account,
    )
    assert scenario.answer(address) == ACCEPTED


def test_12_1_36_one_sender_gets_half_of_it(scenario: Scenario) -> None:
    person = scenario.person(messages_per_hour=200)
    address = scenario.alias(person)
    _used(scenario, person.account, "message", 100)
    _used(scenario, person.account, "message", 100, subject="shop.example")
    assert scenario.answer(address, "x@mail.shop.example") == RATE
    assert scenario.answer(address, "x@plain.example") == ACCEPTED


def test_12_1_37_the_101st_new_alias_within_the_hour_waits(scenario: Scenario) -> None:
    person = scenario.person(new_aliases_per_hour=100)
    domain = scenario.domain(person, catch_all=True)
    existing = scenario.alias(person, domain=domain)
    _used(scenario, person.account, "new_alias", 99, minutes_ago=59)
    assert scenario.answer(f"new@{domain}") == ACCEPTED
    _used(scenario, person.account, "new_alias", 1)
    assert scenario.ask(NEWS, f"new@{domain}", existing) == [NEWALIAS, ACCEPTED]
    scenario.sql(
        "update rate_window set window_start = window_start - interval '1 minute 1 second' where account_id = %s",
        person.account,
    )
    assert scenario.answer(f"new@{domain}") == ACCEPTED


def _over_quota() -> str:
    """Rows 38: the reply depends on how far the next month is."""
    now = datetime.now(UTC)
    late = next_month(now) - now <= QUOTA_SOON
    return f"{'452 4.2.2' if late else '552 5.2.2'} Recipient is over quota"


def test_12_1_38_used_up_bandwidth(scenario: Scenario) -> None:
    person = scenario.person(bandwidth_octets_per_month=1000)
    address = scenario.alias(person)
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    statement = "insert into rate_window (account_id, kind, window_start, amount) values (%s, 'bandwidth', %s, %s)"
    scenario.sql(statement, person.account, month - timedelta(days=1), 5000)  # another month's
    scenario.sql(statement, person.account, month, 910)
    assert scenario.answer(address) == ACCEPTED  # row 39: 91 %
    scenario.sql("update rate_window set amount = 1000 where account_id = %s", person.account)
    scenario.set_alias(address, "description", "changed")
    expected = _over_quota()
    scenario.answers(expected[:3], address)
    assert scenario.answer(address) in (expected, _over_quota())


# --- recipients ----------------------------------------------------------------------------------------------------


def test_12_1_40_an_unverified_recipient_keeps_mail_waiting_for_three_days(scenario: Scenario) -> None:
    person = scenario.person(verified=False)
    address = scenario.alias(person)
    moved = "update recipient set unverified_since = now() - %s::interval where account_id = %s"
    scenario.sql(moved, "10 minutes", person.account)
    assert scenario.answer(address) == NOTREADY
    scenario.sql(moved, "71 hours 59 minutes", person.account)
    assert scenario.answer(address) == NOTREADY
    scenario.sql(moved, "72 hours", person.account)
    assert scenario.answer(address) == NEVERREADY
    scenario.sql("update recipient set verified_at = now() where account_id = %s", person.account)
    assert scenario.answer(address) == ACCEPTED


def test_2_2_19_failing_recipients_keep_mail_waiting_for_five_days(scenario: Scenario) -> None:
    person = scenario.person()
    address = scenario.alias(person)
    moved = "update recipient set failing_since = now() - %s::interval, probed_at = now() where account_id = %s"
    scenario.sql(moved, "4 days 23 hours", person.account)
    assert scenario.answer(address) == NOTREADY
    scenario.sql(moved, "5 days", person.account)
    assert scenario.answer(address) == NEVERREADY
    scenario.sql("update recipient set probed_at = now() - interval '1 day' where account_id = %s", person.account)
    assert scenario.answer(address) == ACCEPTED  # to see whether it works again


@pytest.mark.parametrize(
    ("state", "expected"),
    [("suspended", "550 5.2.1 Account is suspended"), ("deleting", UNKNOWN)],
    ids=["2.2-17-suspended", "1.10-deletion-pending"],
)
def test_an_account_that_is_closed(scenario: Scenario, state: str, expected: str) -> None:
    person = scenario.person()
    address = scenario.alias(person)
    assert scenario.answer(address) == ACCEPTED
    scenario.sql("update account set state = %s where id = %s", state, person.account)
    scenario.answers(expected, address)
