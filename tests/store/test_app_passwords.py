"""App passwords on PostgreSQL: made by the command, found by Dovecot's role, and by nobody else."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from argon2 import PasswordHasher, extract_parameters
from psycopg import AsyncConnection

from mailrelay.cli.root import run
from mailrelay.core.address import parse_address
from mailrelay.core.errors import Absent, Conflict, Malformed
from mailrelay.core.records import Named
from mailrelay.flows.manage import tokens
from mailrelay.flows.manage.tokens import IssuedAppPassword
from mailrelay.store.database import Database
from mailrelay.store.manage_tokens import Tokens
from mailrelay.store.migrate import folder
from tests.store.test_manage_cli import Command, mailrelay, said, settings
from tests.store.world import JOHN, OTHER, Connection, insert, value
from tests.unit.fakes import NOW

__all__ = ["mailrelay", "said", "settings"]  # fixtures

JOHNS = "johndoe@inbox.example"
TEAM = parse_address("team@inbox.example")


@pytest.fixture
async def store(conn: Connection, dsn: str) -> AsyncIterator[Tokens]:
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    yield Tokens(database)
    await database.close()


@pytest.fixture
async def dovecot(conn: Connection, dsn: str) -> AsyncIterator[Connection]:
    """A connection of Dovecot's role."""
    script = (folder() / "dovecot.sql").read_bytes()
    await conn.execute(script)
    await conn.execute(script)  # may be repeated
    async with await AsyncConnection.connect(dsn.replace("user=postgres", "user=dovecot"), autocommit=True) as role:
        yield role


async def issue(store: Tokens, owner: str = "johndoe", days: int | None = None) -> IssuedAppPassword:
    who = parse_address(owner) if "@" in owner else Named(owner)
    return await tokens.add_app_password(store, lambda: NOW, "cli:admin", who, None, "phone", days)


async def found(dovecot: Connection, login: str, password: str) -> tuple[str, str] | None:
    """As Dovecot asks: the login, and the hash without its scheme, if that is {ARGON2ID}."""
    cursor = await dovecot.execute("select * from app_password(%s, %s)", (login, password[:8]))
    assert [column.name for column in cursor.description or ()] == ["user", "password"]
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1].removeprefix("{ARGON2ID}"))


async def test_the_password_is_stored_as_argon2id_only(store: Tokens, conn: Connection) -> None:
    issued = await issue(store)
    assert re.fullmatch(r"([a-z2-7]{8}-){3}[a-z2-7]{8}", issued.password)
    stored = await value(conn, "select token::text from token")
    assert issued.password[9:] not in stored
    hashed = await value(conn, "select password_hash from token")
    assert hashed.startswith("$argon2id$")
    assert PasswordHasher().verify(hashed, issued.password)
    parameters = extract_parameters(hashed)
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19456, 2, 1)


async def test_dovecot_finds_each_of_several_passwords_under_every_login(
    store: Tokens, conn: Connection, dovecot: Connection
) -> None:
    await insert(conn, "recipient", account_id=JOHN, address="Work@inbox.example", verified_at="now")
    issued = [await issue(store) for _ in range(3)]
    assert issued[0].logins == (JOHNS, "work@inbox.example")
    for one in issued:
        for login in (JOHNS, "Work@Inbox.example"):
            answer = await found(dovecot, login, one.password)
            assert answer is not None
            assert answer[0] == login.lower()
            assert PasswordHasher().verify(answer[1], one.password)


async def test_dovecot_finds_nothing_for_others(store: Tokens, conn: Connection, dovecot: Connection) -> None:
    password = (await issue(store)).password
    for login in ("other@inbox.example", "johndoe", "", "' or true --"):
        assert await found(dovecot, login, password) is None
    assert await found(dovecot, JOHNS, "aaaaaaaa") is None
    await insert(conn, "token", account_id=JOHN, kind="addy", hash=bytes(32), display="bbbbbbbb")
    assert await found(dovecot, JOHNS, "bbbbbbbb") is None


@pytest.mark.parametrize(
    "change",
    [
        "update token set revoked_at = now()",
        "update token set expires_at = now() - interval '1 second'",
        "update account set state = 'suspended'",
        "update account set state = 'deleting'",
        "update recipient set verified_at = null",
        "update recipient set pending = true",
    ],
)
async def test_a_password_ends_at_once(store: Tokens, conn: Connection, dovecot: Connection, change: str) -> None:
    password = (await issue(store)).password
    assert await found(dovecot, JOHNS, password) is not None
    await conn.execute(change.encode())
    assert await found(dovecot, JOHNS, password) is None


async def test_dovecots_role_sees_nothing_else(store: Tokens, dovecot: Connection, dsn: str) -> None:
    for statement in ("select * from token", "select * from recipient", "update token set revoked_at = null"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await dovecot.execute(statement.encode())
    async with await AsyncConnection.connect(dsn, autocommit=True) as owner:
        await owner.execute("drop role if exists stranger")
        await owner.execute("create role stranger login")
        await owner.execute("set role stranger")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await owner.execute("select * from app_password('', '')")


async def test_a_mailbox_means_the_account_that_lets_it_reply(store: Tokens, conn: Connection) -> None:
    with pytest.raises(Absent, match="no verified recipient"):
        await issue(store, str(TEAM))
    await insert(conn, "recipient", account_id=JOHN, address=str(TEAM))
    with pytest.raises(Absent, match="no verified recipient"):
        await issue(store, str(TEAM))
    await insert(conn, "recipient", account_id=OTHER, address=str(TEAM), verified_at="now", can_reply_send=False)
    assert (await issue(store, str(TEAM))).record.account == "other"
    await conn.execute("update recipient set verified_at = now()")
    assert (await issue(store, "Team@Inbox.example")).record.account == "johndoe"
    await conn.execute("update recipient set can_reply_send = true")
    with pytest.raises(Conflict, match="several accounts"):
        await issue(store, str(TEAM))
    named = await tokens.add_app_password(store, lambda: NOW, "cli:admin", TEAM, Named("other"), "", None)
    assert named.record.account == "other"
    with pytest.raises(Absent):
        await tokens.add_app_password(store, lambda: NOW, "cli:admin", parse_address(JOHNS), Named("other"), "", None)


async def test_what_cannot_be_made_is_not_made(store: Tokens, conn: Connection) -> None:
    for name, days in (("x" * 51, None), ("", 0), ("", 10_000)):
        with pytest.raises(Malformed):
            await tokens.add_app_password(store, lambda: NOW, "cli:admin", Named("johndoe"), None, name, days)
    await conn.execute("update recipient set verified_at = null")
    with pytest.raises(Conflict, match="no verified recipient"):
        await issue(store)
    with pytest.raises(Absent):
        await issue(store, "nobody")
    assert await value(conn, "select count(*) from token") == 0


async def test_it_may_expire(store: Tokens) -> None:
    assert (await issue(store, days=3)).record.expires_at == NOW + timedelta(days=3)


def test_the_command_shows_the_secret_once(
    mailrelay: Command,
    said: Callable[..., tuple[int, str, str]],
) -> None:
    mailrelay("account", "add", "johndoe", "--recipient", "me@inbox.example", "--verified")
    code, printed, remarks = said("app-password", "add", "Me@inbox.example", "--name", "phone")
    assert code == 0
    secret = printed.removesuffix("\n")
    assert len(secret) == 35
    assert "log in as me@inbox.example\n" in remarks
    assert "not shown again" in remarks
    assert secret not in remarks
    made: dict[str, Any] = mailrelay("app-password", "add", "JohnDoe", "--name", "laptop", "--expires-days", "9")
    assert made["logins"] == ["me@inbox.example"]
    assert made["display"] == made["password"][:8]
    for owner in ((), ("johndoe",), ("ME@inbox.example",)):
        listed = mailrelay("app-password", "list", *owner)
        assert [(entry["name"], entry["kind"]) for entry in listed] == [
            ("phone", "app_password"),
            ("laptop", "app_password"),
        ]
        assert secret[9:] not in str(listed)
    assert mailrelay("app-password", "list", "you@inbox.example") == mailrelay("token", "list") == []
    assert mailrelay("app-password", "remove", str(made["id"]), "--reason", "lost")["revoked_at"] is not None
    assert [entry["name"] for entry in mailrelay("app-password", "list", "johndoe")] == ["phone"]
    assert said("app-password", "remove", str(made["id"]))[0] == 1
    assert said("app-password", "add", "nobody")[0] == 1
    assert said("app-password", "add", "a b@inbox.example")[0] == 65
    assert run(["app-password", "add"]) == 2
