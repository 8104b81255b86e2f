"""Mailboxes that are to be confirmed, and such that fail, by command: what is stored and who is asked."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.store.test_manage_cli import Command, mailrelay, peopled, said, settings

__all__ = ["mailrelay", "peopled", "said", "settings"]  # fixtures

URL = 'api: {url: "https://app.relay.example"}\n'
NOTICES = "select payload->>'code', (payload->>'recipient_id')::int, payload->>'about' from job where kind = 'notice'"


@pytest.fixture
def linked(peopled: Command, settings: Path) -> Command:
    """As peopled, where links can be made."""
    settings.write_text(settings.read_text() + URL)
    return peopled


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        cursor = conn.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def test_8_4_whoever_reads_a_new_mailbox_is_asked(linked: Command, dsn: str) -> None:
    added = linked("recipient", "add", "New@inbox.example", "--account", "johndoe")
    assert added["verified_at"] is None
    assert rows(dsn, NOTICES) == [("VR", added["id"], "new@inbox.example")]
    linked("recipient", "add", "known@inbox.example", "--account", "johndoe", "--verified")
    assert len(rows(dsn, NOTICES)) == 1


def test_without_an_address_for_links_nobody_is_asked(
    peopled: Command, said: Callable[..., tuple[int, str, str]], dsn: str
) -> None:
    code, _, remarks = said("recipient", "add", "new@inbox.example", "--account", "johndoe")
    assert (code, rows(dsn, NOTICES)) == (0, [])
    assert "mailrelay recipient verify new@inbox.example" in remarks
    code, _, words = said("recipient", "resend", "new@inbox.example")
    assert (code, words) == (1, "mailrelay: there are no links to send: api.url is not set\n")


def test_a_refused_mailbox_is_not_asked(linked: Command, said: Callable[..., tuple[int, str, str]], dsn: str) -> None:
    for mailbox in ("me@inbox.example", "somebody@alias.example"):
        assert said("recipient", "add", mailbox, "--account", "johndoe")[0] == 1
    assert rows(dsn, NOTICES) == []


def test_it_is_asked_again_but_not_more_than_three_times_an_hour(
    linked: Command, said: Callable[..., tuple[int, str, str]], dsn: str
) -> None:
    new = "new@inbox.example"
    linked("recipient", "add", new, "--account", "johndoe")
    assert linked("recipient", "resend", new)["address"] == new
    assert len(rows(dsn, NOTICES)) == 1  # one still waits, which will do
    rows(dsn, "update job set finished_at = now()")
    linked("recipient", "resend", new, "--account", "johndoe")
    assert len(rows(dsn, NOTICES)) == 2
    counted = "insert into notification_limit (account_id, kind, subject, window_start, sent)"
    rows(dsn, f"{counted} values (1, 'VR', '{new}', now() - interval '50 minutes', 3)")
    rows(dsn, "update job set finished_at = now()")
    code, _, words = said("recipient", "resend", new)
    assert code == 1
    assert re.search(rf"{new} was asked 3 times within an hour: once more from \d\d:\d\d UTC$", words)
    # Removed and added again it is the same mailbox, so that nobody can be asked without end.
    linked("recipient", "remove", new)
    assert said("recipient", "add", new, "--account", "johndoe")[0] == 1
    assert len(rows(dsn, NOTICES)) == 2
    rows(dsn, "update notification_limit set window_start = now() - interval '61 minutes'")
    linked("recipient", "add", new, "--account", "johndoe")
    assert len(rows(dsn, NOTICES)) == 3


def test_who_is_verified_is_not_asked(linked: Command, said: Callable[..., tuple[int, str, str]], dsn: str) -> None:
    assert said("recipient", "resend", "me@inbox.example")[2] == "mailrelay: me@inbox.example is verified already\n"
    assert said("recipient", "resend", "nobody@inbox.example")[0] == 1
    assert rows(dsn, NOTICES) == []


def test_7_5_a_failing_mailbox_is_believed_again_on_the_operators_word(peopled: Command, dsn: str) -> None:
    rows(
        dsn,
        "update recipient set failing_since = now(), first_hard_failure_at = now() - interval '1 day',"
        " hard_failures = 3, probed_at = now(), quarantines_tagged_at = now() where address = 'me@inbox.example'",
    )
    audit = "select actor ~ '^cli:', account_id, object_table, object_id, (detail->>'hard_failures')::int from audit"
    noted = f"{audit} where action = 'recipient.resume'"
    assert peopled("recipient", "list")[0]["failing_since"] is not None
    resumed = peopled("recipient", "resume", "me@inbox.example")
    assert resumed["failing_since"] is None
    columns = "failing_since, first_hard_failure_at, probed_at, quarantines_tagged_at, hard_failures"
    assert rows(dsn, f"select {columns} from recipient") == [(None, None, None, None, 0)]
    assert rows(dsn, noted) == [(True, 1, "recipient", resumed["id"], 3)]
    peopled("recipient", "resume", "me@inbox.example")  # nothing to do, nothing to note
    assert len(rows(dsn, noted)) == 1
