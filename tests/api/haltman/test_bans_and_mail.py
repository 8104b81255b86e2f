"""What administrators ban over the API, mail hears at once (haltman-api.md section 6.6)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.addy.mailpath import MailPath, mail_path
from tests.api.haltman.conftest import Desk

SHOP, CLUB = "shop@alias.example", "club@alias2.example"
YES, NO, UNKNOWN = "DUNNO", "550 5.7.1 Mail to this address is not accepted", "550 5.1.1 Address does not exist"
BANNED = "554 5.7.1 Not accepted here (ref 1)"


@pytest.fixture
async def admin(desk: Desk) -> Desk:
    await desk.sql("insert into alias (account_id, local_part, domain) values (2, 'shop', 'alias.example')")
    await desk.sql("insert into handle (account_id, local_part) values (2, 'club')")
    return await desk.admin()


@pytest.fixture
async def mail(admin: Desk) -> AsyncIterator[MailPath]:
    async with mail_path(admin.config, admin) as path:
        yield path


async def ban(admin: Desk, kind: str, value: str, **more: Any) -> int:
    response = await admin.post("admin/bans", {"ban_type": kind, "ban_value": value, **more})
    assert response.status_code == 201
    number: int = response.json()["item"]["id"]
    return number


@pytest.mark.parametrize(
    ("kind", "value", "shop", "club"),
    [
        ("email", "me@inbox.example", NO, NO),
        ("domain", "inbox.example", NO, NO),
        ("domain", "alias.example", NO, YES),
        ("name", "club", YES, UNKNOWN),
        ("ip", "192.0.2.8/30", BANNED, BANNED),
        ("email", "news@shop.example", BANNED, BANNED),
        ("domain", "shop.example", BANNED, BANNED),
    ],
)
async def test_a_ban_holds_until_it_is_revoked_changed_or_deleted(
    admin: Desk, mail: MailPath, kind: str, value: str, shop: str, club: str
) -> None:
    assert [await mail.answer(SHOP), await mail.answer(CLUB)] == [YES, YES]
    number = await ban(admin, kind, value)
    banned = [shop, club]
    assert [await mail.answer(SHOP), await mail.answer(CLUB)] == banned
    for document in ({"revoked": 1}, {"expires_at": "2020-01-01"}, {"ban_type": "name", "ban_value": "elsewhere"}):
        before = (await admin.get(f"admin/bans/{number}")).json()["item"]
        assert (await admin.patch(f"admin/bans/{number}", document)).status_code == 200
        assert [await mail.answer(SHOP), await mail.answer(CLUB)] == [YES, YES]
        undone = {name: before[name] for name in ("ban_type", "ban_value", "expires_at")}
        await admin.patch(f"admin/bans/{number}", {**undone, "revoked": 0})
        assert [await mail.answer(SHOP), await mail.answer(CLUB)] == banned
    await admin.delete(f"admin/bans/{number}")
    assert [await mail.answer(SHOP), await mail.answer(CLUB)] == [YES, YES]


async def test_hits_are_counted_and_shown(admin: Desk, mail: MailPath) -> None:
    await ban(admin, "email", "me@inbox.example", reason="throw-away")
    answer = await mail.answer(SHOP)
    await mail.drain()
    assert await admin.one("select hits from ban") == 1
    assert "throw-away" not in answer
    assert await admin.sql("select outcome, reason from ledger") == [("refused", "destination_banned")]


async def test_what_a_ban_deactivated_stays_so(admin: Desk, mail: MailPath) -> None:
    number = await ban(admin, "email", "me@inbox.example", disable_matching_aliases=True)
    await admin.patch(f"admin/bans/{number}", {"revoked": 1})
    assert [await mail.fate(SHOP), await mail.fate(CLUB)] == ["Drop", "Drop"]
