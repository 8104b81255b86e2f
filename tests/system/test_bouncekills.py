"""Bounces and notices while the roles that deal with them are killed: one record and one notice for each, whatever."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from tests.system.returning import (
    nobody_outside_is_told,  # noqa: F401  # a fixture
    record,
    with_another,
)
from tests.system.scenario import (
    Person,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.visitors import idle
from tools.sandbox.process import wait_until

OWNERS, KILLS = 30, 10
FULL = "552 5.2.2 mailbox full"  # which makes no mailbox fail
_COPY = "from outbound where account_id = %s and email_type = 'F'"


def check_the_books(scenario: Scenario, person: Person, alias: str, sent: Sent) -> None:
    """One message, one copy, one record, one notice."""
    scenario.becomes(sent.queue_id, [(alias, "failed", "bounce")])
    assert scenario.value(f"select count(*) {_COPY}", person.account) == 1
    assert scenario.value("select count(*) from failed_delivery where account_id = %s", person.account) == 1
    assert scenario.value("select count(*) from stored_message where account_id = %s", person.account) == 1
    assert scenario.of_alias(alias, "emails_forwarded") == (0,)
    jobs = "select count(*), count(finished_at) from job where payload->>'account_id' = %s"
    assert scenario.sql(jobs, str(person.account)) == [(1, 1)]


def one_notice(scenario: Scenario, person: Person, alias: str) -> int:
    """How often the one notice came."""
    found = scenario.notices(person.mailbox, "FDN", alias)
    assert len({str(notice["Message-ID"]) for notice in found}) == 1
    return len(found)


@contextmanager
def locked(scenario: Scenario, table: str) -> Iterator[None]:
    """Nobody else reads or writes a table within the block."""
    with psycopg.connect(scenario.world.sandbox.dsn) as connection:
        connection.execute(f"lock table {table} in access exclusive mode".encode())
        yield


def waits_for(scenario: Scenario, table: str) -> bool:
    """Whether somebody waits for the lock of a table."""
    waiting = "select count(*) from pg_locks where not granted and relation = %s::regclass"
    return bool(scenario.value(waiting, table))


def killed(scenario: Scenario, role: str) -> None:
    """Kill a role; returns when there is a new one."""
    before = scenario.world.sandbox.supervised.pid(role)
    scenario.world.kill(role)
    wait_until(lambda: scenario.world.sandbox.supervised.pid(role) not in (None, before), f"a new {role}")


def test_the_lmtp_role_is_killed_while_it_records(scenario: Scenario) -> None:
    person, mailbox, alias = with_another(scenario)
    with scenario.answering(FULL, mailbox):
        with locked(scenario, "stored_message"):
            sent = scenario.send(alias)
            scenario.eventually(lambda: waits_for(scenario, "stored_message"), "the record to be written")
            killed(scenario, "lmtp")
        scenario.world.sandbox.wait_healthy("lmtp")
        record(scenario, person)
        scenario.world.settle()
    idle(scenario)
    assert scenario.value(f"select bounce_count {_COPY}", person.account) >= 1
    check_the_books(scenario, person, alias, sent)
    assert one_notice(scenario, person, alias) == 1


def test_the_lmtp_role_is_killed_between_the_record_and_the_answer(scenario: Scenario) -> None:
    person, mailbox, alias = with_another(scenario)
    unanswered = "alter table ledger add constraint ledger_test check (reason <> 'bounce_report') not valid"
    scenario.sql(unanswered)
    try:
        with scenario.answering(FULL, mailbox):
            sent = scenario.send(alias)
            reported = f"select bounce_count > 1 {_COPY}"
            scenario.eventually(lambda: scenario.sql(reported, person.account) == [(True,)], "the report to come again")
        killed(scenario, "lmtp")
    finally:
        scenario.sql("alter table ledger drop constraint ledger_test")
    scenario.world.sandbox.wait_healthy("lmtp")
    scenario.world.settle()
    idle(scenario)
    check_the_books(scenario, person, alias, sent)
    assert one_notice(scenario, person, alias) == 1


def test_the_worker_is_killed_in_the_middle_of_a_notice(scenario: Scenario) -> None:
    person, mailbox, alias = with_another(scenario)
    supervised = scenario.world.sandbox.supervised
    supervised.hold("worker")
    with scenario.answering(FULL, mailbox):
        sent = scenario.send(alias)
        record(scenario, person)
        scenario.world.settle()
    with locked(scenario, "outbound"):
        supervised.release("worker")
        taken = "select count(*) from job where leased_by is not null and payload->>'account_id' = %s"
        scenario.eventually(lambda: scenario.value(taken, str(person.account)) == 1, "the worker to take the job")
        scenario.eventually(lambda: waits_for(scenario, "outbound"), "the notice to be registered")
        killed(scenario, "worker")
    expire_leases(scenario)
    scenario.world.sandbox.wait_healthy("worker")
    scenario.notice(person.mailbox, "FDN", alias)
    idle(scenario)
    check_the_books(scenario, person, alias, sent)
    assert one_notice(scenario, person, alias) == 1


def expire_leases(scenario: Scenario) -> None:
    """What the dead had begun is free, as if five minutes had passed."""
    scenario.sql("update job set leased_until = now() where leased_until is not null and finished_at is null")


def test_kills_at_any_moment(scenario: Scenario) -> None:
    owners = [with_another(scenario) for _ in range(OWNERS)]
    accepted: list[Sent] = []

    def send(alias: str) -> Sent:
        sent = scenario.send(alias)
        accepted.append(sent)
        return sent

    with scenario.answering(FULL, *(mailbox for _, mailbox, _ in owners)):
        with ThreadPoolExecutor(3) as pool:
            hands = [pool.submit(send, alias) for _, _, alias in owners]
            for number in range(KILLS):
                enough = (number + 1) * OWNERS // (KILLS + 1)
                wait_until(lambda enough=enough: len(accepted) >= enough, f"{enough} messages")  # type: ignore[misc]
                scenario.world.kill(("lmtp", "worker")[number % 2])
                threading.Event().wait(0.2)
            all_sent = [hand.result() for hand in hands]
        scenario.world.repair()
        scenario.world.settle()
        expire_leases(scenario)
        idle(scenario)
    times: Counter[int] = Counter()
    for (person, _, alias), sent in zip(owners, all_sent, strict=True):
        check_the_books(scenario, person, alias, sent)
        times[one_notice(scenario, person, alias)] += 1
    print(f"notices by how often they came: {dict(times)}")
    assert sum((count - 1) * owners for count, owners in times.items()) <= KILLS // 2
