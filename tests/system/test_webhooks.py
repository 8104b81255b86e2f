"""Events from the deed to the program that hears of it, with programs, workers and the database in trouble."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.system.receiver import Receiver, receiver
from tests.system.scenario import (
    ACCEPTED,
    UNKNOWN,
    Person,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_events import BLOCK, BROKEN
from tests.system.test_rejections import become, by_postfix, ir, refusing
from tests.system.test_rules import stored_rule

REFUSED = "smtp; 550 5.1.1 <refuse.{}@inbox.example>: no such user here"

Event = dict[str, Any]
PEST, BANNED = "pest@plain.example", "banned@plain.example"


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook. path: of its receiver; start: the number of the last event before it."""

    id: str
    path: str
    account: int | None
    start: int


@contextmanager
def hooked(scenario: Scenario, program: Receiver, *wanted: tuple[str, Person | None, str]) -> Iterator[list[Hook]]:
    """Webhooks while the block lasts: path, whose, and the one event that it hears of or '' for all."""
    hooks = []
    cli = scenario.world.cli
    # The ledger is read some time later: what others did before is none of theirs.
    read = (
        "select coalesce((select max(id) from ledger), 0) <= coalesce(max(cursor::bigint), 0) from log_position"
        " where source = 'ledger'"
    )
    scenario.eventually(lambda: scenario.value(read), "the chronicle to be up to date")
    try:
        for path, person, event in wanted:
            options = [*(("--account", person.name) if person else ()), *(("--event", event) if event else ())]
            start = scenario.value("select coalesce(max(id), 0) from outbox")
            made = cli("webhook", "add", f"{program.url}{path}", *options)
            program.secrets[path] = made["secret"]
            hooks.append(Hook(str(made["id"]), path, person.account if person else None, start))
        yield hooks
    finally:
        for hook in hooks:
            cli("webhook", "remove", hook.id)


def announced(scenario: Scenario, hook: Hook) -> list[str]:
    """The ids of what a webhook is to hear, in order."""
    rows = scenario.sql(
        "select o.uuid::text from outbox o, webhook w where w.id = %s and o.id > %s"
        " and (w.account_id is null or o.account_id = w.account_id) and (w.events = '{}' or o.event = any (w.events))"
        " order by o.xact, o.id",
        *(hook.id, hook.start),
    )
    return [uuid for (uuid,) in rows]


def eventually(scenario: Scenario, condition: Callable[[], bool], what: str) -> None:
    """Wait until it is so; what failed is tried again soon."""

    def hurried() -> bool:
        scenario.sql(
            "update webhook set next_try_at = now() where failures > 0 and next_try_at > now() + interval '1 s'"
        )
        return condition()

    scenario.eventually(hurried, what)


def hear(scenario: Scenario, program: Receiver, hook: Hook, events: int) -> list[Event]:
    """Wait until the program has heard of all, at least so many, in order, and of each at least once."""

    def all_heard() -> bool:
        return len(program.heard(hook.path)) >= max(events, len(announced(scenario, hook)))

    eventually(scenario, all_heard, f"{hook.path} to hear of {events} events")
    heard = program.heard(hook.path)
    assert [event["id"] for event in heard] == announced(scenario, hook)
    return heard


def names(heard: list[Event]) -> list[str]:
    return sorted(event["event"] for event in heard)


def killed(scenario: Scenario) -> None:
    """The worker dies at once, and another one takes over without waiting for its leases to end."""
    worker = scenario.world.sandbox.supervised
    before = worker.signal("worker", signal.SIGKILL)
    scenario.eventually(lambda: worker.pid("worker") not in (None, before), "another worker")
    scenario.world.sandbox.wait_healthy("worker")
    scenario.sql("update webhook set next_try_at = now()")


def busy_day(scenario: Scenario, person: Person) -> Iterator[tuple[str, ...]]:
    """Something of everything that can happen to somebody, in two halves. Gives what it announces."""
    cli = scenario.world.cli
    domain = scenario.domain(person)
    address, fails = scenario.alias(person), scenario.alias(person, f"refuse.{person.account}@inbox.example")
    cli("block", "add", person.name, "email", PEST)
    assert scenario.answer(address, PEST) == UNKNOWN
    scenario.copies(scenario.send(address), person.mailbox)
    yield ("alias.created", "alias.created", "mail.blocked", "mail.forwarded")
    scenario.becomes(scenario.send(fails).queue_id, [(fails, "failed", "bounce")])
    cli("alias", "pause", fails)
    scenario.sql("update domain set active = false where name = %s", domain)
    assert scenario.answer(address, BANNED).startswith("554 5.7.1")
    yield ("mail.failed", "alias.deactivated", "domain.state")


def test_each_program_hears_what_concerns_it_in_order_though_half_of_all_requests_fail(scenario: Scenario) -> None:
    people = one, other, _ = [scenario.person() for _ in range(3)]
    scenario.world.cli("ban", "add", "email", BANNED)
    began = datetime.now(UTC).isoformat()
    wanted = [(f"/{person.name}", person, "") for person in people]
    with (
        receiver(failing=0.5) as program,
        hooked(scenario, program, *wanted, ("/all", None, ""), ("/hits", None, "ban.hit")) as hooks,
    ):
        days = [busy_day(scenario, one), busy_day(scenario, other)]
        morning, _ = (next(day) for day in days)
        scenario.eventually(lambda: len(program.heard(hooks[0].path)) > 0, "the first event")
        killed(scenario)
        evening, _ = (next(day) for day in days)
        killed(scenario)
        own = [hear(scenario, program, hook, len(morning + evening)) for hook in hooks[:2]]
        assert [names(heard) for heard in own] == [sorted((*morning, *evening))] * 2
        assert program.taken(hooks[2].path) == []
        hits = hear(scenario, program, hooks[4], 2)
        assert [(hit["account_id"], hit["payload"]["sender"]) for hit in hits] == [(None, BANNED)] * 2
        of_all = hear(scenario, program, hooks[3], len(own[0] + own[1] + hits))
        for heard in (*own, hits):
            assert [event for event in of_all if event["account_id"] == heard[0]["account_id"]] == heard
        # What is told of a failure quotes the server that refused the mail, for those who know whose it is.
        silent = [str(event) for event in of_all if event["event"] != "mail.failed"]
        assert not [text for text in silent for box in scenario.mailboxes if box in text]
        before = len(program.taken(hooks[0].path))
        scenario.world.cli("webhook", "replay", hooks[0].id, "--since", began)
        again = own[0][-1]
        eventually(scenario, lambda: again in program.taken(hooks[0].path)[before:], "the replay")
        repeated = program.taken(hooks[0].path)[before:]
        assert [event for n, event in enumerate(repeated) if event not in repeated[:n]] == own[0]
        assert len(program.heard("/all")) == len(of_all)
    assert program.unsigned == []
    assert program.refused > 0
    scenario.world.cli("ban", "revoke", BANNED)


def test_what_waits_while_the_database_is_away_comes_once_when_it_is_back(scenario: Scenario) -> None:
    person = scenario.person()
    address, refused, fails = (
        scenario.alias(person),
        scenario.alias(person),
        scenario.alias(person, f"refuse.{person.account}@inbox.example"),
    )
    blocked = scenario.alias(person)
    scenario.world.cli("block", "add", person.name, "email", PEST)
    stored_rule(scenario, person, "no ads", BROKEN, BLOCK)
    with (
        refusing(scenario, {refused: "554 5.7.1 not here"}),
        receiver() as program,
        hooked(scenario, program, (f"/{person.name}", person, "")) as (hook,),
    ):
        scenario.copies(scenario.send(address), person.mailbox)
        assert scenario.answer(blocked, PEST) == UNKNOWN
        scenario.send(fails)
        scenario.eventually(lambda: scenario.refusals(blocked) != [], "the record")
        bounced = "select 1 from failed_delivery where account_id = %s and email_type = 'F'"
        scenario.eventually(lambda: scenario.sql(bounced, person.account) != [], "the bounce")
        scenario.world.settle()
        scenario.answer(address)  # what a bounce changes is out of the policy service's memory; now it knows again
        with scenario.world.without_database():
            assert scenario.answer(refused).startswith("554")
            waiting = scenario.send(address)
        scenario.copies(waiting, person.mailbox)
        become(
            scenario,
            person,
            {
                refused: [ir(by_postfix(refused, "not here"), "554")],
                blocked: [ir("sender is on your block list", client="127.0.0.12")],
                fails: [("F", "hard", "5.1.1", REFUSED.format(person.account), "127.0.0.1")],
            },
        )
        heard = hear(scenario, program, hook, 4)
        assert names(heard) == ["mail.blocked", "mail.failed", "mail.forwarded", "mail.forwarded"]
        scenario.notice(person.mailbox, "FDN", fails)
        scenario.notice(person.mailbox, "RUL", "no ads")


def test_notices_wait_for_the_submission_listener_and_hold_up_no_mail(scenario: Scenario) -> None:
    person = scenario.person()
    address = scenario.alias(person)
    stored_rule(scenario, person, "no ads", BROKEN, BLOCK)
    tried = "select attempts, last_error from job where kind = 'notice' and payload @> %s and finished_at is null"
    job = f'{{"account_id": {person.account}, "code": "RUL"}}'
    with scenario.world.without_submission():
        sent = scenario.send(address)
        scenario.eventually(lambda: [row for row in scenario.sql(tried, job) if row[1]] != [], "a try in vain")
        assert scenario.sql(tried, job) == [(1, "the notification cannot be handed to Postfix now")]
        assert scenario.answer(address) == ACCEPTED
    scenario.copies(sent, person.mailbox)
    # After half a minute, or now.
    scenario.sql("update job set run_at = now() where kind = 'notice' and payload @> %s", job)
    scenario.notice(person.mailbox, "RUL", "no ads")
