"""API keys on PostgreSQL: whom they act for, what their holders do with them, what administrators see and change."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailrelay.core.address import parse_address
from mailrelay.core.apikeys import ApiKey, KeyChange, KeyFilter
from mailrelay.core.errors import Unavailable
from mailrelay.core.notices import Code, Notice
from mailrelay.core.records import NewToken, TokenId
from mailrelay.store.admin_apikeys import AdminApiKeys
from mailrelay.store.apikeys import ApiKeys, destroy_keys, keys_of
from mailrelay.store.database import Database
from tests.store.world import JOHN, OTHER, Connection, insert, until_waiting, value

ME = "me@inbox.example"
ADMIN = "admin:1"
NOTICE = Notice(Code.AKD, None, data={"address": ME})
SOON = datetime.now(UTC) + timedelta(days=30)


@pytest.fixture
async def keys(conn: Connection, database: Database) -> ApiKeys:
    return ApiKeys(database)


@pytest.fixture
async def admin(conn: Connection, database: Database) -> AdminApiKeys:
    return AdminApiKeys(database)


def sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def new(secret: str = "secret", mailbox: str = ME, expires_at: datetime | None = SOON, **more: Any) -> NewToken:
    return NewToken("api_key", "", sha256(secret), secret[:6], expires_at, mailbox, **more)


async def add(admin: AdminApiKeys, secret: str = "secret", mailbox: str = ME, **more: Any) -> ApiKey:
    return await admin.add(parse_address(mailbox), new(secret, mailbox, **more), ADMIN)


async def told(conn: Connection, action: str) -> list[tuple[Any, ...]]:
    query = b"select actor, account_id, object_id, detail from audit where action = %s order by id"
    return await (await conn.execute(query, (action,))).fetchall()


async def test_a_key_acts_for_the_only_account_that_has_its_mailbox(admin: AdminApiKeys) -> None:
    assert (await add(admin, mailbox="other@inbox.example")).account == OTHER


async def test_a_mailbox_that_nobody_has_gets_an_account(admin: AdminApiKeys, conn: Connection) -> None:
    made = await add(admin, "one")
    assert await value(conn, "select implicit_mailbox from account where id = %s", made.account) == ME
    assert (await add(admin, "two")).account == made.account
    await insert(conn, "recipient", account_id=JOHN, address=ME, verified_at="now")
    assert (await add(admin, "three")).account == made.account


async def test_of_several_accounts_with_a_mailbox_none_is_preferred(admin: AdminApiKeys, conn: Connection) -> None:
    for account in (JOHN, OTHER):
        await insert(conn, "recipient", account_id=account, address=ME, verified_at="now")
    made = await add(admin)
    assert await value(conn, "select implicit_mailbox from account where id = %s", made.account) == ME


async def test_no_key_is_made_for_an_account_that_goes(admin: AdminApiKeys, conn: Connection) -> None:
    await add(admin, "one")
    await conn.execute("update account set state = 'deleting' where implicit_mailbox is not null")
    with pytest.raises(Unavailable):
        await add(admin, "two")


async def test_a_key_is_found_by_its_hash_alone(admin: AdminApiKeys, keys: ApiKeys) -> None:
    made = await add(admin)
    assert await keys.by_hash(sha256("secret")) == made
    assert await keys.by_hash(sha256("secret2")) is None


@pytest.mark.parametrize(
    "change",
    [
        "update token set revoked_at = now()",
        "update token set expires_at = now()",
        "update account set state = 'deleting'",
        "update token set kind = 'addy', owner_email = null",
    ],
)
async def test_what_is_not_in_force_can_do_nothing(
    admin: AdminApiKeys, keys: ApiKeys, conn: Connection, change: str
) -> None:
    made = await add(admin)
    await conn.execute(change.encode())
    assert await keys.by_hash(sha256("secret")) is None
    assert await keys.renew(made.id, 1) is None
    assert await keys.set_renewal(made.id, True) is None
    assert not await keys.destroy(made.id, NOTICE)
    assert await keys_of(conn, parse_address(ME)) == []
    assert await value(conn, "select count(*) from job") == 0


async def test_renewing_adds_to_what_is_left(admin: AdminApiKeys, keys: ApiKeys, conn: Connection) -> None:
    made = await add(admin)
    await conn.execute("set time zone 'Europe/Berlin'")
    renewed = await keys.renew(made.id, 400)
    assert renewed is not None
    assert renewed.expires_at == SOON + timedelta(days=400)
    assert await told(conn, "token.renew") == [(f"key:{made.id}", made.account, made.id, {"days": 400})]


async def test_no_key_outlives_the_calendar(admin: AdminApiKeys, keys: ApiKeys) -> None:
    made = await add(admin, expires_at=datetime(9998, 12, 31, tzinfo=UTC))
    for _ in range(2):
        renewed = await keys.renew(made.id, 999)
        assert renewed is not None
        assert renewed.expires_at == datetime(9999, 12, 31, tzinfo=UTC)


async def test_a_key_for_ever_stays_so(admin: AdminApiKeys, keys: ApiKeys) -> None:
    made = await add(admin, expires_at=None)
    renewed = await keys.renew(made.id, 999)
    assert renewed is not None
    assert renewed.expires_at is None


async def test_renewal_by_itself_is_switched(admin: AdminApiKeys, keys: ApiKeys, conn: Connection) -> None:
    made = await add(admin)
    for on in (True, False):
        changed = await keys.set_renewal(made.id, on)
        assert changed is not None
        assert changed.automatic_renew is on
    assert [row[3] for row in await told(conn, "token.change")] == [{"automatic_renew": on} for on in (True, False)]


async def log(conn: Connection, key: int) -> None:
    await insert(conn, "api_log", token_id=key, owner_email=ME, route="/api/alias/list", body="{}")


async def test_d_12_used_keys_can_be_destroyed(admin: AdminApiKeys, keys: ApiKeys, conn: Connection) -> None:
    made = await add(admin)
    await log(conn, made.id)
    assert await keys.destroy(made.id, NOTICE)
    assert await value(conn, "select count(*) from token") == 0
    assert await value(conn, "select token_id is null and owner_email = %s from api_log", ME)
    assert await value(conn, "select payload ->> 'code' from job where kind = 'notice'") == "AKD"
    assert await told(conn, "token.remove") == [(f"key:{made.id}", made.account, made.id, {"kind": "api_key"})]


async def test_d_12_all_keys_of_a_mailbox_can_be_destroyed(admin: AdminApiKeys, conn: Connection) -> None:
    for secret in ("one", "two", "three"):
        await log(conn, (await add(admin, secret)).id)
    kept = await add(admin, "four", "other@inbox.example")
    await conn.execute("update token set revoked_at = now() where id = 1")
    await conn.execute("update token set expires_at = now() where id = 2")
    assert await destroy_keys(conn, parse_address("Me@Inbox.example"), "public") == 3
    assert await value(conn, "select array_agg(id) from token") == [kept.id]
    assert [row[0] for row in await told(conn, "token.remove")] == ["public"] * 3
    assert await destroy_keys(conn, parse_address(ME), "public") == 0


async def test_a_key_is_destroyed_once(admin: AdminApiKeys, keys: ApiKeys, conn: Connection) -> None:
    made = await add(admin)
    async with conn.transaction():
        await conn.execute("select from token for update")
        both = [asyncio.create_task(keys.destroy(made.id, NOTICE)) for _ in range(2)]
        await until_waiting(conn, 2)
    assert sorted(await asyncio.gather(*both)) == [False, True]
    assert await value(conn, "select count(*) from job") == 1


async def test_a_mailbox_sees_its_keys_in_force_newest_first(admin: AdminApiKeys, conn: Connection) -> None:
    made = [await add(admin, secret) for secret in ("one", "two", "three")]
    await add(admin, "four", "other@inbox.example")
    await conn.execute("update token set revoked_at = now() where id = %s", (made[1].id,))
    assert [one.id for one in await keys_of(conn, parse_address("ME@inbox.example"))] == [made[2].id, made[0].id]


# Administrators


async def crowd(admin: AdminApiKeys, conn: Connection) -> list[TokenId]:
    """Keys: in force, revoked, expired, revoked and expired, of somebody else, for ever."""
    ids = [(await add(admin, secret)).id for secret in ("one", "two", "three", "four")]
    ids.append((await add(admin, "five", "b_b@inbox.example")).id)
    ids.append((await add(admin, "six", expires_at=None)).id)
    await conn.execute("update token set revoked_at = now() where id = any (%s)", ([ids[1], ids[3]],))
    await conn.execute("update token set expires_at = now() where id = any (%s)", ([ids[2], ids[3]],))
    await insert(conn, "token", account_id=JOHN, kind="addy", hash=sha256("addy"))
    return ids


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (KeyFilter(), [5, 4, 3, 2, 1, 0]),
        (KeyFilter(active=True), [5, 4, 0]),
        (KeyFilter(active=False), [3, 2, 1]),
        (KeyFilter(status="active"), [5, 4, 0]),
        (KeyFilter(status="revoked"), [3, 1]),
        (KeyFilter(status="expired"), [2]),
        (KeyFilter(active=True, status="revoked"), []),
        (KeyFilter(owner_email="E@INBOX"), [5, 3, 2, 1, 0]),
        (KeyFilter(owner_email="_"), [4]),
        (KeyFilter(owner_email="%"), []),
        (KeyFilter(owner_email="\0"), []),
        (KeyFilter(active=True, owner_email="me@"), [5, 0]),
    ],
)
async def test_lists_are_filtered(
    admin: AdminApiKeys, conn: Connection, wanted: KeyFilter, expected: list[int]
) -> None:
    ids = await crowd(admin, conn)
    items, total = await admin.page(wanted, 50, 0)
    assert [ids.index(one.id) for one in items] == expected
    assert total == len(expected)


async def test_pages_tell_the_total_even_beyond_the_end(admin: AdminApiKeys, conn: Connection) -> None:
    ids = await crowd(admin, conn)
    items, total = await admin.page(KeyFilter(), 2, 2)
    assert ([one.id for one in items], total) == ([ids[3], ids[2]], 6)
    assert await admin.page(KeyFilter(), 2, 6) == ([], 6)
    assert [one.status for one in items] == ["revoked", "expired"]


async def test_one_key_is_read(admin: AdminApiKeys, conn: Connection) -> None:
    made = await add(admin, created_ip="192.0.2.7", user_agent="browser")
    assert await admin.get(made.id) == made
    assert (made.created_ip, made.user_agent, made.status) == ("192.0.2.7", "browser", "active")
    await conn.execute("update token set kind = 'addy', owner_email = null")
    assert await admin.get(made.id) is None
    assert await admin.change(made.id, KeyChange(status="revoked"), ADMIN) is None
    assert await admin.remove(made.id, ADMIN) is None


async def changed(admin: AdminApiKeys, key: ApiKey, **change: Any) -> ApiKey:
    found = await admin.change(key.id, KeyChange(**change), ADMIN)
    assert found is not None
    return found


async def test_revoking_and_taking_it_back(admin: AdminApiKeys, conn: Connection) -> None:
    made = await add(admin)
    revoked = await changed(admin, made, status="revoked", reason="lost")
    assert (revoked.status, revoked.active, revoked.revoked_reason) == ("revoked", False, "lost")
    again = await changed(admin, made, status="revoked")
    assert (again.revoked_at, again.revoked_reason) == (revoked.revoked_at, "lost")
    anew = await changed(admin, made, status="revoked", stamped=True, reason="")
    assert anew.revoked_at != revoked.revoked_at
    assert anew.revoked_reason is None
    assert await changed(admin, made, status="active") == made
    details = [row[3] for row in await told(conn, "token.change")]
    assert details[0] == {"kind": "api_key", "fields": ["reason"], "status": "revoked"}


async def test_a_reason_goes_with_the_revocation(admin: AdminApiKeys) -> None:
    made = await add(admin)
    await changed(admin, made, status="revoked", reason="lost")
    assert (await changed(admin, made, status="active")).revoked_reason is None
    assert (await changed(admin, made, status="active", reason="found again")).revoked_reason == "found again"
    assert (await changed(admin, made, expires_at=SOON)).revoked_reason == "found again"


async def test_expired_means_now(admin: AdminApiKeys) -> None:
    made = await add(admin)
    await changed(admin, made, status="revoked")
    expired = await changed(admin, made, status="expired", expires_at=SOON)
    assert (expired.status, expired.revoked_at) == ("expired", None)
    assert expired.expires_at is not None
    assert expired.expires_at < SOON
    before = await changed(admin, made, status="expired")
    assert before.expires_at == expired.expires_at
    assert (await changed(admin, made, expires_at=SOON)).status == "active"


async def test_a_key_for_ever_is_revoked_without_an_end(admin: AdminApiKeys) -> None:
    made = await add(admin, expires_at=None)
    assert (await changed(admin, made, status="revoked")).expires_at is None
    assert await changed(admin, made, status="active") == made
    assert (await changed(admin, made, status="expired")).expires_at is not None


async def test_of_another_mailbox_it_acts_for_another_account(admin: AdminApiKeys, conn: Connection) -> None:
    made = await add(admin)
    moved = await changed(admin, made, owner=parse_address("Other@inbox.example"))
    assert (moved.owner_email, moved.account) == ("other@inbox.example", OTHER)
    assert [row[1] for row in await told(conn, "token.change")] == [OTHER]
    nobodys = await changed(admin, made, owner=parse_address("fresh@inbox.example"))
    assert await value(conn, "select implicit_mailbox from account where id = %s", nobodys.account) == (
        "fresh@inbox.example"
    )


async def test_no_account_is_made_for_a_key_that_is_not_there(admin: AdminApiKeys, conn: Connection) -> None:
    assert await admin.change(TokenId(77), KeyChange(owner=parse_address(ME)), ADMIN) is None
    assert await value(conn, "select count(*) from account") == 2


async def test_d_12_administrators_remove_used_keys(admin: AdminApiKeys, conn: Connection) -> None:
    made = await add(admin)
    await log(conn, made.id)
    assert await admin.remove(made.id, ADMIN) == made
    assert await admin.remove(made.id, ADMIN) is None
    assert await value(conn, "select token_id is null from api_log")
    assert await told(conn, "token.remove") == [(ADMIN, made.account, made.id, {"kind": "api_key"})]
