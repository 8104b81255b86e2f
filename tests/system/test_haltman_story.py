"""Somebody without an account gets an alias, and what becomes of it, on a real Postfix (haltman-api.md 3 to 6)."""

import itertools

from tests.system.haltman import Browser
from tests.system.scenario import (
    ACCEPTED,
    UNKNOWN,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)

_numbers = itertools.count(1)


def visitor(scenario: Scenario) -> tuple[Browser, str, str]:
    """Their browser, mailbox, and the name that they would like."""
    number = next(_numbers)
    return Browser(scenario, f"198.51.100.{number}"), f"visitor{number}@inbox.example", f"tea{number}"


def test_an_alias_from_the_wish_to_its_end(scenario: Scenario) -> None:
    somebody, mailbox, name = visitor(scenario)
    address = f"{name}@alias.example"
    scenario.answers(UNKNOWN, address)

    asked = somebody.get("forward/subscribe", name=name, domain="alias.example", to=mailbox)
    assert asked["alias_candidate"] == address and asked["confirmation"]["sent"] is True
    assert scenario.answer(address) == UNKNOWN  # nothing before the code
    done = somebody.get("forward/confirm", token=somebody.code(mailbox))
    assert (done["intent"], done["created"], done["goto"]) == ("subscribe", True, mailbox)
    scenario.answers(ACCEPTED, address)
    scenario.copies(scenario.send(address), mailbox)

    admin = Browser(scenario, "198.51.100.250")
    admin.sign_in()
    made = admin.ask("POST", "admin/bans", {"ban_type": "name", "ban_value": name, "reason": "a story"})
    assert made.status == 201
    scenario.eventually(lambda: not scenario.answer(address).startswith("250"), "the ban at RCPT")
    assert "a story" not in scenario.answer(address)
    revoked = admin.ask("PATCH", f"admin/bans/{made.body['item']['id']}", {"revoked": 1})
    assert revoked.status == 200 and revoked.body["item"]["active"] is False
    scenario.answers(ACCEPTED, address)
    scenario.copies(scenario.send(address), mailbox)

    (listed,) = admin.get("admin/aliases", address=address)["items"]
    assert admin.ask("PATCH", f"admin/aliases/{listed['id']}", {"active": 0}).body["item"]["active"] == 0
    scenario.eventually(lambda: scenario.answer(address) == UNKNOWN, "the alias that is switched off")
    assert admin.ask("PATCH", f"admin/aliases/{listed['id']}", {"active": 1}).status == 200
    scenario.answers(ACCEPTED, address)

    assert somebody.get("forward/unsubscribe", alias=address)["sent"] is True
    removed = somebody.get("forward/confirm", token=somebody.code(mailbox, 2))
    assert (removed["intent"], removed["removed"]) == ("unsubscribe", True)
    scenario.answers(UNKNOWN, address)
    again = somebody.ask("GET", "forward/subscribe", name=name, domain="alias.example", to="other@inbox.example")
    assert (again.status, again.error) == (409, "alias_taken")


def test_a_handle_from_the_wish_to_its_end(scenario: Scenario) -> None:
    somebody, mailbox, name = visitor(scenario)
    address = f"{name}@alias.example"
    assert somebody.get("handle/subscribe", handle=name, to=mailbox)["confirmation"]["sent"] is True
    assert somebody.get("handle/confirm", token=somebody.code(mailbox))["created"] is True
    scenario.answers(ACCEPTED, address)
    scenario.copies(scenario.send(address), mailbox)

    somebody.get("handle/domain/disable", handle=name, domain="alias.example")
    assert somebody.get("handle/domain/disable/confirm", token=somebody.code(mailbox, 2))["disabled"] is True
    scenario.eventually(lambda: scenario.answer(address) == UNKNOWN, "the rule at RCPT")  # D-19
    somebody.get("handle/domain/enable", handle=name, domain="alias.example")
    assert somebody.get("handle/domain/enable/confirm", token=somebody.code(mailbox, 3))["disabled"] is False
    scenario.answers(ACCEPTED, address)

    somebody.get("handle/unsubscribe", handle=name)
    assert somebody.get("handle/unsubscribe/confirm", token=somebody.code(mailbox, 4))["active"] is False
    scenario.answers(UNKNOWN, address)
    assert somebody.ask("GET", "handle/subscribe", handle=name, to=mailbox).error == "alias_taken"


def test_an_api_key_from_the_wish_to_its_end(scenario: Scenario) -> None:
    somebody, mailbox, name = visitor(scenario)
    wish = somebody.ask("POST", "credentials/create", {"email": mailbox, "days": 30})
    assert wish.status == 200 and wish.body["confirmation"]["sent"] is True
    key = somebody.ask("POST", "credentials/confirm", {"token": somebody.code(mailbox)}).body["token"]
    made = somebody.ask("POST", "alias/create", {"alias_handle": name, "alias_domain": "alias.example"})
    assert (made.status, made.error) == (401, "missing_api_key")
    keyed = Browser(scenario, somebody.client, key=key)
    assert keyed.ask("POST", "alias/create", {"alias_handle": name, "alias_domain": "alias.example"}).status == 200
    scenario.answers(ACCEPTED, f"{name}@alias.example")
    scenario.copies(scenario.send(f"{name}@alias.example"), mailbox)
    assert [one["address"] for one in keyed.get("alias/list")["items"]] == [f"{name}@alias.example"]
    assert keyed.ask("POST", "alias/pause", {"alias": f"{name}@alias.example"}).body["active"] is False
    scenario.answers(UNKNOWN, f"{name}@alias.example")
    assert keyed.ask("POST", "alias/resume", {"alias": f"{name}@alias.example"}).body["active"] is True
    scenario.answers(ACCEPTED, f"{name}@alias.example")
    assert keyed.ask("POST", "alias/delete", {"alias": f"{name}@alias.example"}).body["deleted"] is True
    scenario.answers(UNKNOWN, f"{name}@alias.example")
    assert somebody.ask("POST", "credentials/destroy", {"api_key": key}).body["destroyed"] is True
    assert keyed.ask("GET", "alias/list").error == "invalid_or_expired_api_key"
