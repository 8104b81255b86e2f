"""Token, account, announcements, version (addy-api.md sections 2.6 to 2.10, 3.2 and 6)."""

import re
from typing import Any
from uuid import UUID

import pytest

from mailrelay.api.addy.account import Account, AccountEndpoints, Manner
from mailrelay.api.addy.call import Call
from mailrelay.api.addy.problems import Text
from mailrelay.core.requests import NOBODY
from tests.api.addy.conftest import TOKEN, Desk
from tests.unit.fakes import NOW

STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


async def test_t_ac_1_the_account_is_one_object(desk: Desk) -> None:
    response = await desk.get("account-details")
    assert response.status_code == 200
    account = response.json()["data"]
    assert account["username"] == "johndoe"
    assert set(account) == set(Account.__annotations__)


async def test_t_td_1_the_token_is_found_in_its_long_form(desk: Desk) -> None:
    await desk.sql("update token set name = 'New', created_at = '2026-01-02 03:04:05.9+00', expires_at = '2099-01-01'")
    desk.token = f"{await desk.one('select uuid::text from token')}|{TOKEN}"
    response = await desk.get("api-token-details")
    assert response.status_code == 200
    expected = {"name": "New", "created_at": "2026-01-02 03:04:05", "expires_at": "2099-01-01 00:00:00"}
    assert response.json() == expected


async def test_t_td_2_a_token_without_end(desk: Desk) -> None:
    await desk.sql("update token set name = 'Firefox'")
    told = (await desk.get("api-token-details")).json()
    assert (told["name"], told["expires_at"]) == ("Firefox", None)
    assert STAMP.fullmatch(told["created_at"])


async def test_t_td_3_there_may_be_no_token_at_all() -> None:
    endpoints = AccountEndpoints(None, Manner("", False, 0))  # type: ignore[arg-type]
    with pytest.raises(Text) as caught:
        await endpoints.token(Call(NOBODY, {}, (), "", "", "", NOW))
    assert (caught.value.status, caught.value.body) == (404, b"Current token could not be found")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, {"version": "1.6.2", "major": 1, "minor": 6, "patch": 2}),
        ({"addy": {"version": "2.10"}}, {"version": "2.10", "major": 2, "minor": 10, "patch": 0}),
        ({"addy": {"version": ""}}, {"version": "", "major": 0, "minor": 0, "patch": 0}),
    ],
)
async def test_t_ve_1_the_version_is_a_setting(desk: Desk, expected: dict[str, Any]) -> None:
    response = await desk.get("app-version")
    assert (response.status_code, response.json()) == (200, expected)


async def test_d10_limits_may_be_null_as_there_is_no_subscription(desk: Desk) -> None:
    account = (await desk.get("account-details")).json()["data"]
    for name in ("subscription", "subscription_type", "subscription_ends_at", "recipient_limit", "active_domain_limit"):
        assert account[name] is None
    assert (account["username_count"], account["username_limit"]) == (1, 10)
    assert (account["bandwidth"], account["bandwidth_limit"]) == (0, 104857600)
    assert account["default_alias_domain"] == "alias.example"
    assert account["default_username_id"] == await desk.one("select uuid::text from username where id = 1")
    assert account["default_recipient_id"] == await desk.one("select uuid::text from recipient where id = 1")


async def test_7_3_what_ios_cannot_do_without_is_there(desk: Desk) -> None:
    account = (await desk.get("account-details")).json()["data"]
    needed = """id username banner_location bandwidth username_count username_limit default_username_id
        default_recipient_id default_alias_domain default_alias_format bandwidth_limit recipient_count
        active_domain_count active_shared_domain_alias_count active_rule_count total_emails_forwarded
        total_emails_blocked total_emails_replied total_emails_sent total_aliases total_active_aliases
        total_inactive_aliases total_deleted_aliases total_pinned_aliases created_at updated_at"""
    assert [name for name in needed.split() if account[name] is None] == []


async def test_counts_follow_what_is_done(desk: Desk) -> None:
    await desk.alias("one@alias.example", emails_forwarded=2)
    await desk.alias("two@johndoe.alias.example", state="inactive")
    account = (await desk.get("account-details")).json()["data"]
    counts = ("total_aliases", "total_active_aliases", "total_inactive_aliases", "active_shared_domain_alias_count")
    assert [account[name] for name in counts] == [2, 1, 1, 1]
    assert account["total_emails_forwarded"] == 2


@pytest.mark.parametrize("chosen", [{"addy": {"account_details_as_list": True}}])
async def test_d1_the_shape_of_the_page_can_be_had(desk: Desk) -> None:
    (account,) = (await desk.get("account-details")).json()["data"]
    assert account["username"] == "johndoe"


async def test_d2_announcements_are_a_list_with_the_newest_first(desk: Desk) -> None:
    assert (await desk.get("account-notifications")).json() == {"data": []}
    await desk.sql(
        """insert into account_notification (account_id, category, title, text, link, created_at) values
           (null, 'Announcement', 'Old', 'Something', null, '2026-01-01'),
           (1, 'Warning', 'New', '<b>Bold</b>', 'https://relay.example/', '2026-01-02'),
           (2, 'Warning', 'Foreign', 'x', null, '2026-01-03')"""
    )
    new, old = (await desk.get("account-notifications")).json()["data"]
    assert UUID(new.pop("id"))
    assert new == {
        "category": "Warning",
        "title": "New",
        "text": "<b>Bold</b>",
        "link": "https://relay.example/",
        "link_text": None,
        "created_at": "2026-01-02 00:00:00",
    }
    assert old["title"] == "Old"
