"""What rules do to mail at once (addy-api.md section 6)."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from mailrelay.core.facts import AccountId
from mailrelay.core.header import split
from mailrelay.core.rules import stored
from mailrelay.core.rules.model import Book
from mailrelay.flows.rulebook import Rulebooks
from mailrelay.store.changes import Follower
from mailrelay.store.database import Database
from mailrelay.store.rules import RuleReader
from tests.api.addy.conftest import Desk
from tests.api.addy.rulesets import RULE, WHOLE, action, condition, made
from tests.unit.office import OK, Office, new_office

PATIENCE_SECONDS = 30
A1 = "a1@alias.example"  # the office's mail to it: From `Example Shop <News@Shop.example>`, Subject `Your order 77`
JOHN = AccountId(1)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = Database(dsn, 2, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def office() -> Office:
    office = new_office()
    office.store.update("alias", 1, forward_mode="rewrite")
    return office


async def book(database: Database) -> Book:
    """The rules as mail has them."""
    return stored.book((await RuleReader(database).active([JOHN])).get(JOHN, ()))


async def forwarded(office: Office, database: Database, desk: Desk) -> list[bytes]:
    """Subjects of the copies of a message to A1 under the account's rules, whose matches are counted."""
    office.book = await book(database)
    assert await office.deliver(A1) == [OK]
    await RuleReader(database).count([[*office.store.counted]])
    return [split(b"".join(copy.content)).first(b"subject") or b"" for copy in office.outside.copies]


async def test_t_ru_10_a_rule_that_matches_replaces_the_subject(desk: Desk, database: Database, office: Office) -> None:
    conditions = [
        condition("subject", "is exactly", "Your order 77"),
        condition("sender", "starts with", "news", "bill"),
        condition("alias", "is exactly", A1),
    ]
    await desk.post("rules", {**WHOLE, "conditions": conditions})
    assert await forwarded(office, database, desk) == [b"New Subject!"]
    [rule] = (await desk.get("rules")).json()["data"]
    assert rule["applied"] == 1
    assert rule["last_applied"] is not None


async def test_t_ru_11_a_rule_blocks_and_does_not_quarantine(desk: Desk, database: Database, office: Office) -> None:
    await desk.post("rules", {**RULE, "conditions": [condition("alias", "is exactly", A1)], "forwards": True})
    assert await forwarded(office, database, desk) == []
    assert office.outcomes() == [(A1, "discarded", "rule")]


async def test_t_ru_12_a_rule_quarantines_and_does_not_block(desk: Desk, database: Database, office: Office) -> None:
    conditions = [condition("alias", "is exactly", A1)]
    await desk.post(
        "rules", {"name": "q", "conditions": conditions, "actions": [action("quarantine")], "forwards": True}
    )
    assert await forwarded(office, database, desk) == []
    assert office.outcomes() == [(A1, "held", "rule_quarantine")]


async def test_t_ru_13_rules_for_replies_and_sends_leave_forwards_alone(
    desk: Desk, database: Database, office: Office
) -> None:
    await desk.post("rules", {**RULE, "replies": True, "sends": True})
    assert await forwarded(office, database, desk) == [b"Your order 77"]
    assert (await desk.get("rules")).json()["data"][0]["applied"] == 0


async def test_t_ru_14_the_later_rule_overwrites_and_unknown_words_never_match(
    desk: Desk, database: Database, office: Office
) -> None:
    """The word `is` is one of ours, so that another one stands for those that nobody knows."""
    unknown = [{"type": "alias", "match": "rhymes with", "values": [A1]}]
    subject = [action("subject", "Applied before")]
    await made(desk, "unknown", conditions=json.dumps(unknown), actions=json.dumps(subject))
    after = {"conditions": [condition("alias", "is not", "woot@alias.example")], "forwards": True}
    await desk.post("rules", {"name": "after", **after, "actions": [action("subject", "Applied after")]})
    await desk.sql("update rule set position = 1 where name = 'after'")
    assert await forwarded(office, database, desk) == [b"Applied after"]
    assert [(rule["name"], rule["applied"]) for rule in (await desk.get("rules")).json()["data"]] == [
        ("unknown", 0),
        ("after", 1),
    ]


async def test_changes_reach_the_process_that_delivers(desk: Desk, database: Database, dsn: str) -> None:
    books = Rulebooks(RuleReader(database).active, 1_000_000)
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def restored() -> None:
        books.clear()
        books.trusted = True

    async def changed(kind: str, value: str) -> None:
        if kind == "account":
            books.forget_account(AccountId(int(value)))
            heard.put_nowait(value)

    follower = Follower(dsn, restored, changed, lambda: None)
    task = asyncio.create_task(follower.run())
    try:
        await asyncio.wait_for(follower.connected.wait(), PATIENCE_SECONDS)
        rule = {**RULE, "forwards": True}
        number = ""
        for method, path, document, expected in (
            ("POST", "rules", rule, ["no shops"]),
            ("PATCH", "rules/{}", {**rule, "name": "renamed"}, ["renamed"]),
            ("DELETE", "active-rules/{}", None, []),
            ("POST", "active-rules", {"id": "{}"}, ["renamed"]),
            ("DELETE", "rules/{}", None, []),
        ):
            await books.book(JOHN)
            sent = {"id": number} if path == "active-rules" else document
            response = await desk.ask(method, path.format(number), sent)
            number = number or response.json()["data"]["id"]
            assert await asyncio.wait_for(heard.get(), PATIENCE_SECONDS) == "1"
            assert [one.name for one in (await books.book(JOHN)).rules] == expected
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
