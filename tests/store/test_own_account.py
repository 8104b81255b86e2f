"""An account as its owner reads it, in PostgreSQL."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from mailrelay.core.facts import AccountId
from mailrelay.store import own_account
from mailrelay.store.database import Database
from mailrelay.store.own_account import OwnAccounts
from tests.store.world import JOHN, OTHER, OWN_EXAMPLE, Connection, alias, insert, value

ACCOUNT = AccountId(JOHN)


@pytest.fixture
async def own(dsn: str) -> AsyncIterator[OwnAccounts]:
    database = Database(dsn, 1, 20.0, "test")
    await database.open()
    yield OwnAccounts(database, 1000, "relay.example")
    await database.close()


async def test_what_is_chosen_and_what_the_installation_says_instead(own: OwnAccounts, conn: Connection) -> None:
    await conn.execute("update account set default_username_id = 1 where id = 1")
    details = await own.details(ACCOUNT)
    assert details is not None
    assert details.uuid == await value(conn, "select uuid from account where id = 1")
    assert (details.username, details.default_alias_domain) == ("johndoe", "alias.example")
    assert (details.default_alias_format, details.bandwidth_limit_octets) == ("random_characters", 1000)
    await conn.execute(
        "update account set default_alias_domain = 'own.example', default_alias_format = 'uuid',"
        " bandwidth_octets_per_month = 0"
    )
    details = await own.details(ACCOUNT)
    assert details is not None
    assert (details.default_alias_domain, details.default_alias_format) == ("own.example", "uuid")
    assert details.bandwidth_limit_octets == 0


async def test_without_shared_domains_the_default_is_below_the_username(own: OwnAccounts, conn: Connection) -> None:
    await conn.execute("update account set default_username_id = 1 where id = 1")
    below = await OwnAccounts(own.database, 0, "relay.example", direct=False).details(ACCOUNT)
    assert below is not None
    assert below.default_alias_domain == "johndoe.alias.example"
    await conn.execute("update account set is_admin = true where id = 1")
    admin = await OwnAccounts(own.database, 0, "relay.example", direct=False).details(ACCOUNT)
    assert admin is not None
    assert admin.default_alias_domain == "alias.example"
    await conn.execute("update domain set active = false where name = 'alias.example'")
    second = await own.details(ACCOUNT)
    assert second is not None
    assert second.default_alias_domain == "second.example"
    await conn.execute("delete from domain where shared")
    alone = await own.details(ACCOUNT)
    assert alone is not None
    assert alone.default_alias_domain == "relay.example"


async def test_aliases_are_counted_by_what_they_are(own: OwnAccounts, conn: Connection) -> None:
    await alias(conn, "one@alias.example", emails_forwarded=5, emails_blocked=1, pinned=True)
    await alias(conn, "two@alias.example", state="inactive", emails_replied=2)
    await alias(conn, "three@own.example", state="deleted", deleted_at="2026-01-01", pinned=True, emails_sent=3)
    await alias(conn, "four@own.example", emails_forwarded=7)
    await alias(conn, "five@alias.example", OTHER, emails_forwarded=100)
    gone = await alias(conn, "six@alias.example", emails_forwarded=1)
    await conn.execute(
        "update alias set state = 'forgotten', account_id = null, deleted_at = now() where id = %s", (gone,)
    )
    await conn.execute(
        "insert into rate_window (account_id, kind, window_start, amount) values"
        " (1, 'bandwidth', date_trunc('month', now() at time zone 'utc') at time zone 'utc', 77),"
        " (1, 'bandwidth', '2020-01-01', 1000000)"
    )
    details = await own.details(ACCOUNT)
    assert details is not None
    held = details.holding
    assert (held.aliases, held.active, held.inactive, held.deleted) == (4, 2, 1, 1)
    assert (held.pinned, held.shared) == (2, 1)
    assert (held.forwarded, held.blocked, held.replied, held.sent) == (12, 1, 2, 3)
    assert held.bandwidth_octets == 77


async def test_the_rest_is_counted_as_well(own: OwnAccounts, conn: Connection) -> None:
    await insert(conn, "recipient", account_id=JOHN, address="new@inbox.example")
    await insert(conn, "recipient", account_id=JOHN, address="hidden@inbox.example", pending=True)
    await insert(conn, "domain", account_id=JOHN, name="off.example", active=False)
    for active in (True, False):
        await insert(conn, "rule", account_id=JOHN, name="x", active=active, conditions="[{}]", actions="[{}]")
    details = await own.details(ACCOUNT)
    assert details is not None
    held = details.holding
    assert (held.recipients, held.usernames, held.active_domains, held.active_rules) == (2, 1, 1, 1)
    assert await own.details(AccountId(99)) is None


async def test_sums_of_many_are_remembered_for_a_while(
    own: OwnAccounts, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_account, "MANY_ALIASES", 2)

    async def forwarded() -> int:
        details = await own.details(ACCOUNT)
        assert details is not None
        return details.holding.forwarded

    for name in ("one", "two"):
        await alias(conn, f"{name}@own.example", domain_id=OWN_EXAMPLE, emails_forwarded=1)
    assert await forwarded() == 2
    assert await value(conn, "select count(*) from alias_sum") == 0
    await alias(conn, "three@own.example", emails_forwarded=1)
    assert await forwarded() == 3
    await conn.execute("update alias set emails_forwarded = 10")
    assert await forwarded() == 3
    await conn.execute("update alias_sum set summed_at = now() - interval '6 minutes'")
    assert await forwarded() == 30
    assert await value(conn, "select forwarded from alias_sum where account_id = 1") == 30


async def test_announcements_are_for_one_or_for_all(own: OwnAccounts, conn: Connection) -> None:
    for title, account, day in (("all", None, 1), ("john", JOHN, 2), ("other", OTHER, 3)):
        await insert(
            conn, "account_notification", account_id=account, category="Announcement", title=title, text="<b>x</b>",
            created_at=f"2026-01-0{day}",
        )  # fmt: skip
    found = await own.announcements(ACCOUNT)
    assert [one.title for one in found] == ["john", "all"]
    assert isinstance(found[0].uuid, UUID)
    assert (found[0].link, found[0].link_text) == (None, None)
