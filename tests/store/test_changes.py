"""What an edit is and what is not, and what other processes are told."""

import pytest
from psycopg import AsyncConnection

from tests.store.world import JOHN, Connection, alias, attach, handle, insert, value

_COUNTERS = """
    update alias set emails_forwarded = emails_forwarded + 1, last_forwarded = now(), emails_blocked = 1,
        last_blocked = now(), emails_replied = 1, last_replied = now(), emails_sent = 1, last_sent = now();
    update recipient set last_success_at = now(), hard_failures = 0, failing_since = null;
    update ban set hits = hits + 1, last_hit_at = now();
    update blocked_sender set blocked = blocked + 1, last_blocked = now();
    update rule set applied = applied + 1, last_applied = now();
    update account set last_login_at = now();
"""


async def furnish(conn: Connection) -> None:
    """One row of everything that counts."""
    await alias(conn, "shop@alias.example")
    await insert(conn, "ban", type="name", value="spam")
    await insert(conn, "blocked_sender", account_id=JOHN, type="domain", value="bad.example")
    await insert(
        conn, "rule", account_id=JOHN, name="r", conditions='[{"type": "sender"}]', actions='[{"type": "block"}]'
    )


async def told(conn: Connection, dsn: str, statements: str) -> set[str]:
    """What a listener hears of these statements."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as listener:
        await listener.execute("listen mailrelay")
        await conn.execute(statements.encode())
        await conn.execute("notify mailrelay, 'end'")
        heard = set()
        async for notice in listener.notifies():
            if notice.payload == "end":
                break
            heard.add(notice.payload)
        return heard


async def test_counters_tell_nobody_and_are_no_edit(conn: Connection, dsn: str) -> None:
    await furnish(conn)
    tables = ("alias", "recipient", "blocked_sender", "rule", "account")
    before = [await value(conn, f"select max(updated_at) from {table}") for table in tables]
    assert await told(conn, dsn, _COUNTERS) == set()
    assert [await value(conn, f"select max(updated_at) from {table}") for table in tables] == before
    assert await value(conn, "select emails_forwarded from alias") == 1


async def test_an_edit_moves_updated_at(conn: Connection) -> None:
    await furnish(conn)
    edits = {
        "account": "from_name = 'J'",
        "recipient": "can_reply_send = false",
        "username": "description = 'd'",
        "domain": "description = 'd'",
        "alias": "pinned = true",
        "blocked_sender": "value = 'worse.example'",
        "rule": "active = false",
    }
    for table, edit in edits.items():
        before = await value(conn, f"select max(updated_at) from {table}")
        await conn.execute(f"update {table} set {edit}".encode())
        assert await value(conn, f"select min(updated_at) from {table}") > before, table


@pytest.mark.parametrize(
    ("statement", "heard"),
    [
        ("update alias set state = 'inactive'", {"alias:shop@alias.example"}),
        ("update alias set description = 'd'", {"alias:shop@alias.example"}),
        ("insert into alias_recipient (alias_id, recipient_id) values (1, 1)", {"alias:shop@alias.example"}),
        ("insert into alias (account_id, local_part, domain) values (1, 'a', 'own.example')", {"alias:a@own.example"}),
        ("update recipient set failing_since = now() where id = 1", {"account:1"}),
        ("update recipient set verified_at = null where id = 2", {"account:2"}),
        ("insert into recipient (account_id, address) values (1, 'new@inbox.example')", {"account:1"}),
        ("update account set state = 'suspended' where id = 2", {"account:2"}),
        ("update account set messages_per_hour = 5 where id = 1", {"account:1"}),
        ("update domain set active = false where id = 2", {"domain:2"}),
        ("update username set catch_all = false", {"username:1"}),
        ("insert into handle (account_id, local_part) values (1, 'jd')", {"handle:1"}),
        ("insert into ban (type, value) values ('name', 'x')", {"ban:2"}),
        ("update ban set revoked_at = now()", {"ban:1"}),
        ("delete from blocked_sender", {"account:1"}),
        ("update rule set active = false", {"account:1"}),
        ("update account set from_name = 'J'", set()),
        ("insert into token (account_id, kind, hash) values (1, 'addy', decode(repeat('00', 32), 'hex'))", set()),
    ],
)
async def test_a_change_of_state_is_told(conn: Connection, dsn: str, statement: str, heard: set[str]) -> None:
    await furnish(conn)
    assert await told(conn, dsn, statement) == heard


async def test_a_handles_switch_and_the_end_of_an_alias_are_told(conn: Connection, dsn: str) -> None:
    jd = await handle(conn, "jd")
    below = await alias(conn, "jd@alias.example", handle_id=jd)
    await attach(conn, below, JOHN)
    off = f"insert into handle_domain_off (handle_id, domain) values ({jd}, 'second.example')"
    assert await told(conn, dsn, off) == {f"handle:{jd}"}
    assert await told(conn, dsn, f"delete from alias where id = {below}") == {"alias:jd@alias.example"}


async def test_counter_updates_touch_no_index(conn: Connection) -> None:
    """HOT: the busiest updates stay on their page. An index on a counter or an outcome would end that."""
    await furnish(conn)
    await insert(conn, "ledger", ingress_key=b"0" * 16, rcpt="shop@alias.example", outcome="queued", outbound_id=1)
    async with conn.transaction():
        await conn.execute("update ledger set outcome = 'delivered', finished_at = now()")
        await conn.execute("update alias set emails_forwarded = emails_forwarded + 1, last_forwarded = now()")
        for table in ("ledger", "alias"):
            assert await value(conn, "select pg_stat_get_xact_tuples_updated(%s::regclass)", table) == 1
            assert await value(conn, "select pg_stat_get_xact_tuples_hot_updated(%s::regclass)", table) == 1
