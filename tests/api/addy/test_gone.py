"""Requests for what goes away while they are answered: the account, or what they have just made."""

from dataclasses import replace
from typing import Any

import pytest

from mailrelay.api.addy.gate import Gate, Passed
from mailrelay.core.facts import AccountId
from mailrelay.store.own_aliases import OwnAliases
from tests.api.addy.conftest import Desk

RULE = {
    "name": "x",
    "conditions": [{"type": "subject", "values": ["x"]}],
    "actions": [{"type": "subject", "value": "x"}],
}


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("GET", "account-details", None),
        ("GET", "domain-options", None),
        ("POST", "aliases", {"domain": "alias.example"}),
        ("POST", "usernames", {"username": "other"}),
        ("POST", "domains", {"domain": "other.example"}),
        ("POST", "blocklist", {"type": "domain", "value": "spam.example"}),
        ("POST", "blocklist/store/bulk", {"type": "domain", "values": ["spam.example"]}),
        ("POST", "rules", RULE),
        (
            "POST",
            "rules",
            {**RULE, "actions": [{"type": "forwardTo", "value": "b1b1b1b1-0000-4000-8000-000000000000"}]},
        ),
    ],
)
async def test_who_is_deleted_in_this_moment_is_not_known(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, method: str, path: str, document: Any
) -> None:
    known = Gate.__call__

    async def passed(*given: Any) -> Passed:
        found = await known(*given)
        return replace(found, caller=replace(found.caller, account=AccountId(999)))

    monkeypatch.setattr(Gate, "__call__", passed)
    answer = await desk.ask(method, path, document)
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthenticated."})


async def test_what_goes_before_it_can_be_shown_is_not_found(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its recipients are read once the alias is there for all, so that its owner can erase it."""
    mailbox = await desk.recipient("other@inbox.example")
    shown = OwnAliases.one

    async def too_late(*given: Any) -> Any:
        await desk.sql("delete from alias")
        return await shown(*given)

    monkeypatch.setattr(OwnAliases, "one", too_late)
    wanted = {"domain": "johndoe.alias.example", "recipient_ids": [str(mailbox)]}
    assert (await desk.post("aliases", wanted)).status_code == 404
