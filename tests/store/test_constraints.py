"""What must hold whatever the code does: grammar, reservations, tombstones, one account's things."""

import asyncio

import psycopg
import pytest
from psycopg import AsyncConnection

from tests.store.world import (
    ALIAS_EXAMPLE,
    JOHN,
    OTHER,
    OWN_EXAMPLE,
    SECOND_EXAMPLE,
    Connection,
    Violates,
    alias,
    attach,
    handle,
    insert,
    release,
    value,
)

# -- Addresses ---------------------------------------------------------------------------------------------------


async def test_an_address_exists_once(conn: Connection) -> None:
    await alias(conn, "shop@alias.example")
    with Violates("alias_address_unique"):
        await alias(conn, "shop@alias.example", account=OTHER)


async def test_one_local_part_may_be_an_alias_on_several_shared_domains(conn: Connection) -> None:
    await alias(conn, "shop@alias.example")
    await alias(conn, "shop@second.example", account=OTHER)
    assert await value(conn, "select count(*) from shared_local_part where local_part = 'shop'") == 1


async def test_the_domain_of_an_alias_is_found_by_its_name(conn: Connection) -> None:
    shared = await alias(conn, "shop@second.example")
    custom = await alias(conn, "shop@own.example")
    below = await alias(conn, "shop@johndoe.alias.example", username_id=1)
    query = "select (domain_id, reserved_as, shared)::text from alias where id = %s"
    assert await value(conn, query, shared) == f"({SECOND_EXAMPLE},alias,t)"
    assert await value(conn, query, custom) == f"({OWN_EXAMPLE},,f)"
    assert await value(conn, query, below) == "(,,f)"


async def test_a_handle_is_refused_where_an_alias_has_its_name(conn: Connection) -> None:
    await alias(conn, "shop@second.example")
    with Violates("handle_local_part_reserved"):
        await handle(conn, "shop")


async def test_an_alias_is_refused_where_a_handle_has_its_name(conn: Connection) -> None:
    await handle(conn, "jd")
    for domain in ("alias.example", "second.example"):
        with Violates("alias_local_part_reserved"):
            await alias(conn, f"jd@{domain}")


async def test_only_shared_domains_reserve(conn: Connection) -> None:
    await alias(conn, "jd@own.example")
    await alias(conn, "jd@johndoe.alias.example", username_id=1)
    await handle(conn, "jd")


async def test_aliases_below_a_handle_share_its_reservation(conn: Connection) -> None:
    jd = await handle(conn, "jd")
    await alias(conn, "jd@alias.example", handle_id=jd)
    await alias(conn, "jd@second.example", handle_id=jd)
    with Violates("alias_handle_fk"):
        await alias(conn, "other@alias.example", handle_id=jd)
    with Violates("alias_handle_owned"):
        await alias(conn, "jd@second.example", account=OTHER, handle_id=jd)


async def test_a_handles_name_is_unique_for_ever(conn: Connection) -> None:
    jd = await handle(conn, "jd", recipient_id=JOHN)
    await release(conn, jd)
    with Violates("handle_local_part_unique"):
        await handle(conn, "jd", account=OTHER)
    with Violates("alias_local_part_reserved"):
        await alias(conn, "jd@alias.example", account=OTHER)
    with Violates("handle_kept"):
        await conn.execute("delete from handle where id = %s", (jd,))


async def test_a_handle_with_aliases_can_be_released(conn: Connection) -> None:
    jd = await handle(conn, "jd")
    below = await alias(conn, "jd@alias.example", handle_id=jd)
    await conn.execute("update alias set state = 'deleted', deleted_at = now() where id = %s", (below,))
    await release(conn, jd)
    assert await value(conn, "select state from alias where id = %s", below) == "deleted"


@pytest.mark.parametrize("first", ["alias", "handle"])
async def test_of_two_that_race_for_a_name_one_wins(conn: Connection, dsn: str, first: str) -> None:
    """The second waits until the first has decided; only then it is refused."""

    async def claim(by: Connection, kind: str) -> int:
        return await (alias(by, "shop@alias.example") if kind == "alias" else handle(by, "shop", account=OTHER))

    second = "handle" if first == "alias" else "alias"
    async with await AsyncConnection.connect(dsn) as one, await AsyncConnection.connect(dsn) as two:
        await claim(one, first)
        loser = asyncio.create_task(claim(two, second))
        await until_blocked(conn, two)
        assert not loser.done()
        await one.commit()
        with Violates(f"{second}_local_part_reserved"):
            await loser
    assert await value(conn, "select holder from shared_local_part where local_part = 'shop'") == first


async def test_who_gives_up_leaves_the_name_to_the_other(conn: Connection, dsn: str) -> None:
    async with await AsyncConnection.connect(dsn) as one, await AsyncConnection.connect(dsn) as two:
        await handle(one, "shop")
        winner = asyncio.create_task(alias(two, "shop@alias.example"))
        await until_blocked(conn, two)
        await one.rollback()
        await winner
        await two.commit()
    assert await value(conn, "select holder from shared_local_part where local_part = 'shop'") == "alias"


async def until_blocked(watcher: Connection, other: Connection) -> None:
    """Returns when the other connection waits for a lock."""
    query = "select cardinality(pg_blocking_pids(%s)) > 0"
    async with asyncio.timeout(60):
        while not await value(watcher, query, other.info.backend_pid):
            continue


async def test_creation_by_many_at_once_makes_one_alias(conn: Connection, dsn: str) -> None:
    """`on conflict do nothing`, as creation on the fly does it: nobody fails, one row."""

    async def create() -> int:
        async with await AsyncConnection.connect(dsn, autocommit=True) as own:
            cursor = await own.execute(
                "insert into alias (account_id, local_part, domain) values (1, 'shop', 'alias.example')"
                " on conflict (local_part, domain) do nothing"
            )
            return cursor.rowcount

    assert sorted(await asyncio.gather(*(create() for _ in range(8)))) == [0, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "local_part",
    [
        "Shop",
        "a..b",
        ".a",
        "a.",
        "a b",
        "a+b",
        "a@b",
        '"a"',
        "ä",
        "",
        "a" * 65,
        "b-" + "a" * 34,
        "r-" + "a" * 16,
        "a\nb",
    ],
)
async def test_local_parts_outside_the_grammar_are_refused(conn: Connection, local_part: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        await insert(conn, "alias", account_id=JOHN, local_part=local_part, domain="alias.example")
    with pytest.raises(psycopg.errors.CheckViolation):
        await handle(conn, local_part)


@pytest.mark.parametrize("local_part", ["a", "a.b", "0", "o'brien", "a" * 64, "x!#$%&*/=?^_`{|}~-y", "b-short", "r-x"])
async def test_local_parts_of_the_grammar_are_taken(conn: Connection, local_part: str) -> None:
    await alias(conn, f"{local_part}@alias.example")


@pytest.mark.parametrize(
    "name", ["Own.example", "one", "own.example.", "-a.example", "a-.example", "ö.example", "a..b"]
)
async def test_domains_that_are_no_folded_host_names_are_refused(conn: Connection, name: str) -> None:
    with Violates("domain_name_grammar"):
        await insert(conn, "domain", name=name)
    with Violates("alias_domain_grammar"):
        await alias(conn, f"shop@{name}")


# -- What stays --------------------------------------------------------------------------------------------------


async def test_a_deleted_alias_keeps_its_address(conn: Connection) -> None:
    shop = await alias(conn, "shop@alias.example")
    await conn.execute("update alias set state = 'deleted', deleted_at = now() where id = %s", (shop,))
    with Violates("alias_address_unique"):
        await alias(conn, "shop@alias.example", account=OTHER)
    with Violates("handle_local_part_reserved"):
        await handle(conn, "shop", account=OTHER)
    with Violates("alias_kept"):
        await conn.execute("delete from alias where id = %s", (shop,))


async def test_a_forgotten_alias_has_no_owner_and_keeps_its_address(conn: Connection) -> None:
    shop = await alias(conn, "shop@alias.example", description="secret")
    forget = "update alias set state = 'forgotten', deleted_at = now(), account_id = null where id = %s"
    with Violates("alias_forgotten"):
        await conn.execute(forget, (shop,))
    await conn.execute("update alias set description = null where id = %s", (shop,))
    await conn.execute(forget, (shop,))
    with Violates("alias_address_unique"):
        await alias(conn, "shop@alias.example", account=OTHER)


async def test_an_alias_with_recipients_cannot_be_forgotten_before_them(conn: Connection) -> None:
    shop = await alias(conn, "shop@alias.example")
    await attach(conn, shop, JOHN)
    with Violates("alias_recipient_alias_fk"):
        await conn.execute(
            "update alias set state = 'forgotten', deleted_at = now(), account_id = null where id = %s", (shop,)
        )


async def test_state_and_time_of_deletion_agree(conn: Connection) -> None:
    shop = await alias(conn, "shop@alias.example")
    with Violates("alias_deleted_at"):
        await conn.execute("update alias set state = 'deleted' where id = %s", (shop,))
    with Violates("alias_owned"):
        await conn.execute("update alias set account_id = null where id = %s", (shop,))
    with Violates("alias_state_known"):
        await conn.execute("update alias set state = 'asleep' where id = %s", (shop,))


async def test_aliases_of_custom_domains_and_handles_can_be_deleted(conn: Connection) -> None:
    jd = await handle(conn, "jd")
    for own in (await alias(conn, "shop@own.example"), await alias(conn, "jd@alias.example", handle_id=jd)):
        await attach(conn, own, JOHN)
        await conn.execute("delete from alias where id = %s", (own,))
    assert await value(conn, "select count(*) from alias_recipient") == 0


async def test_a_username_is_never_given_out_again(conn: Connection) -> None:
    await conn.execute("delete from username where name = 'johndoe'")
    with Violates("username_name_used"):
        await insert(conn, "username", account_id=OTHER, name="johndoe")
    fresh = await insert(conn, "username", account_id=OTHER, name="fresh")
    with Violates("username_name_used"):
        await conn.execute("update username set name = 'johndoe' where id = %s", (fresh,))


async def test_a_domain_with_aliases_neither_goes_nor_changes_its_kind(conn: Connection) -> None:
    await alias(conn, "shop@own.example")
    with Violates("alias_domain_fk"):
        await conn.execute("delete from domain where id = %s", (OWN_EXAMPLE,))
    with Violates("alias_domain_fk"):
        await conn.execute("update domain set account_id = null where id = %s", (OWN_EXAMPLE,))
    await conn.execute("update alias set domain_id = null")
    await conn.execute("delete from domain where id = %s", (OWN_EXAMPLE,))


async def test_an_account_with_aliases_stays_and_a_bare_one_takes_all_along(conn: Connection) -> None:
    shop = await alias(conn, "shop@own.example")
    with Violates("alias_account_fk"):
        await conn.execute("delete from account where id = %s", (JOHN,))
    await conn.execute("delete from alias where id = %s", (shop,))
    await conn.execute("delete from account where id = %s", (JOHN,))
    for table in ("recipient", "username", "domain"):
        assert await value(conn, f"select count(*) from {table} where account_id = {JOHN}") == 0


# -- One account's things ----------------------------------------------------------------------------------------


async def test_recipients_attach_to_aliases_of_their_account_only(conn: Connection) -> None:
    shop = await alias(conn, "shop@alias.example")
    with Violates("alias_recipient_recipient_fk"):
        await attach(conn, shop, OTHER)
    await attach(conn, shop, JOHN)
    with Violates("alias_recipient_pkey"):
        await attach(conn, shop, JOHN)


async def test_an_alias_cannot_claim_the_account_of_a_foreign_recipient(conn: Connection) -> None:
    shop = await alias(conn, "shop@alias.example")
    with Violates("alias_recipient_alias_fk"):
        await conn.execute(
            "insert into alias_recipient (alias_id, recipient_id, account_id) values (%s, %s, %s)", (shop, OTHER, OTHER)
        )


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (f"update account set default_recipient_id = {OTHER} where id = {JOHN}", "account_default_recipient_fk"),
        (f"update username set default_recipient_id = {OTHER}", "username_default_recipient_fk"),
        (f"update domain set default_recipient_id = {OTHER} where id = {OWN_EXAMPLE}", "domain_default_recipient_fk"),
        (f"update account set default_username_id = 1 where id = {OTHER}", "account_default_username_fk"),
    ],
)
async def test_defaults_belong_to_the_account(conn: Connection, statement: str, constraint: str) -> None:
    with Violates(constraint):
        await conn.execute(statement.encode())


async def test_an_alias_below_a_username_or_custom_domain_belongs_to_its_account(conn: Connection) -> None:
    with Violates("alias_username_fk"):
        await alias(conn, "shop@johndoe.alias.example", account=OTHER, username_id=1)
    with Violates("alias_domain_owned"):
        await alias(conn, "shop@own.example", account=OTHER)


async def test_a_default_recipient_stays_and_others_leave_without_trace(conn: Connection) -> None:
    second = await insert(conn, "recipient", account_id=JOHN, address="second@inbox.example")
    await conn.execute("update username set default_recipient_id = %s", (second,))
    await conn.execute("update domain set default_recipient_id = %s where id = %s", (second, OWN_EXAMPLE))
    jd = await handle(conn, "jd", recipient_id=second)
    await conn.execute("delete from recipient where id = %s", (second,))
    assert await value(conn, "select default_recipient_id from username") is None
    assert await value(conn, "select recipient_id from handle where id = %s", jd) is None
    with Violates("account_default_recipient_fk"):
        await conn.execute("delete from recipient where id = %s", (JOHN,))


async def test_a_mailbox_is_listed_once_per_account_whatever_its_case(conn: Connection) -> None:
    with Violates("recipient_address_unique"):
        await insert(conn, "recipient", account_id=JOHN, address="JohnDoe@inbox.example")
    await insert(conn, "recipient", account_id=OTHER, address="JohnDoe@inbox.example")


async def test_a_mailbox_has_one_implicit_account(conn: Connection) -> None:
    await insert(conn, "account", implicit_mailbox="me@inbox.example")
    with Violates("account_implicit_mailbox_unique"):
        await insert(conn, "account", implicit_mailbox="me@inbox.example")


async def test_shared_domains_have_no_settings_of_an_owner(conn: Connection) -> None:
    for setting in ("catch_all = true", "auto_create_regex = '^a'", "from_name = 'x'", "forward_mode = 'auto'"):
        with Violates("domain_shared_is_plain"):
            await conn.execute(f"update domain set {setting} where id = {ALIAS_EXAMPLE}".encode())


async def test_encryption_needs_a_key(conn: Connection) -> None:
    with Violates("recipient_key_for_encryption"):
        await conn.execute("update recipient set should_encrypt = true where id = 1")


# -- Bans and block lists ----------------------------------------------------------------------------------------


async def test_a_ban_is_in_force_once_and_may_return_after_revocation(conn: Connection) -> None:
    first = await insert(conn, "ban", type="email", value="spam@bad.example")
    with Violates("ban_in_force_unique"):
        await insert(conn, "ban", type="email", value="spam@bad.example")
    await conn.execute("update ban set revoked_at = now() where id = %s", (first,))
    await insert(conn, "ban", type="email", value="spam@bad.example")


@pytest.mark.parametrize(
    ("given", "stored", "network"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.0/24", "192.0.2.0/24", "192.0.2.0/24"),
        ("2001:DB8:0::1", "2001:db8::1", "2001:db8::1/128"),
        ("2001:db8::/64", "2001:db8::/64", "2001:db8::/64"),
    ],
)
async def test_a_banned_network_has_one_spelling(conn: Connection, given: str, stored: str, network: str) -> None:
    ban = await insert(conn, "ban", type="ip", value=given)
    assert await value(conn, "select value from ban where id = %s", ban) == stored
    assert await value(conn, "select network::text from ban where id = %s", ban) == network
    with Violates("ban_in_force_unique"):
        await insert(conn, "ban", type="ip", value=stored)


async def test_mapped_addresses_and_networks_of_other_types_are_refused(conn: Connection) -> None:
    with Violates("ban_network_not_mapped"):
        await insert(conn, "ban", type="ip", value="::ffff:192.0.2.7")
    with Violates("ban_network_for_ip"):
        await insert(conn, "ban", type="name", value="shop", network="192.0.2.0/24")


async def test_a_blocked_sender_is_listed_once_per_account_and_once_per_alias(conn: Connection) -> None:
    shop = await alias(conn, "shop@alias.example")
    entry = {"account_id": JOHN, "type": "email", "value": "spam@bad.example"}
    await insert(conn, "blocked_sender", **entry)
    await insert(conn, "blocked_sender", **entry, alias_id=shop)
    for again in (entry, entry | {"alias_id": shop}):
        with Violates("blocked_sender_entry_unique"):
            await insert(conn, "blocked_sender", **again)
    with Violates("blocked_sender_alias_fk"):
        await insert(conn, "blocked_sender", **(entry | {"account_id": OTHER, "alias_id": shop}))


# -- Mail on its way ---------------------------------------------------------------------------------------------


async def test_the_ledger_takes_a_copy_once(conn: Connection) -> None:
    copy = {"ingress_key": b"0" * 16, "rcpt": "shop@alias.example", "outcome": "queued"}
    await insert(conn, "ledger", **copy, recipient_id=1)
    await insert(conn, "ledger", **copy, recipient_id=2)
    await insert(conn, "ledger", **copy | {"ingress_key": b"1" * 16}, recipient_id=1)
    with Violates("ledger_once"):
        await insert(conn, "ledger", **copy, recipient_id=1)


@pytest.mark.parametrize("outcome", ["refused", "failed", "discarded", "held"])
async def test_what_was_not_sent_has_a_reason(conn: Connection, outcome: str) -> None:
    with Violates("ledger_reason_given"):
        await insert(conn, "ledger", ingress_key=b"0" * 16, rcpt="shop@alias.example", outcome=outcome)


async def test_a_pending_confirmation_exists_once_and_a_used_one_is_in_nobodys_way(conn: Connection) -> None:
    async def ask(code: bytes, name: str) -> int:
        query = (
            "insert into confirmation (intent, email, alias_name, alias_domain, code_mac, expires_at)"
            " values ('subscribe', 'me@inbox.example', %s, 'alias.example', %s, now() + interval '10 minutes')"
            " returning id"
        )
        return int(await value(conn, query, name, code * 32))

    first = await ask(b"a", "shop")
    with Violates("confirmation_code_unique"):
        await ask(b"a", "news")
    with Violates("confirmation_pending_unique"):
        await ask(b"b", "shop")
    await ask(b"b", "news")
    await conn.execute("update confirmation set status = 'confirmed', confirmed_at = now() where id = %s", (first,))
    await ask(b"a", "shop")


async def test_a_token_is_stored_as_its_kind_asks(conn: Connection) -> None:
    await insert(conn, "token", account_id=JOHN, kind="addy", hash=b"0" * 32)
    await insert(conn, "token", account_id=JOHN, kind="app_password", password_hash="$argon2id$")
    with Violates("token_secret"):
        await insert(conn, "token", account_id=JOHN, kind="app_password", hash=b"1" * 32)
    with Violates("token_owner_email"):
        await insert(conn, "token", account_id=JOHN, kind="api_key", hash=b"1" * 32)
    with Violates("token_hash_unique"):
        await insert(conn, "token", account_id=OTHER, kind="addy", hash=b"0" * 32)
