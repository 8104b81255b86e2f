"""Sealing anew with a new key of storage.key: all of it, from wherever it was stopped, and old keys go last."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from mailrelay.core import totp, webhooks
from mailrelay.core.held import place
from mailrelay.core.resealing import Resealed, Shelf
from mailrelay.core.sealed import Vault, seal, unseal, vault
from mailrelay.flows.resealing import Resealing, reseal
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.resealing import Resealer
from tests.store.test_manage_cli import Command, mailrelay, said, settings
from tests.store.world import JOHN, WORLD, Connection, insert, value
from tests.unit.fakes import NOW

__all__ = ["mailrelay", "said", "settings"]  # fixtures

OLD, NEW, LOST = b"o" * 32, b"n" * 32, b"l" * 32
BEFORE, AFTER = vault([OLD]), vault([NEW, OLD])
MESSAGE = b"Subject: kept\r\n\r\n" + bytes(range(256)) * 1200


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = Database(dsn, 3, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


def sealed(keys: Vault, bound: bytes, clear: bytes | None) -> bytes | None:
    return None if clear is None else seal(keys, os.urandom(12), bound, clear)


async def record(
    conn: Connection, keys: Vault = BEFORE, subject: bytes | None = b"kept", message: bytes | None = MESSAGE
) -> int:
    """A failed delivery, with its message unless that is None."""
    uuid = uuid4()
    columns = {"sender": (b"author", b"news@shop.example"), "destination": (b"destination", b"me@inbox.example")}
    values = {name: sealed(keys, bound + b"\0" + uuid.bytes, clear) for name, (bound, clear) in columns.items()}
    values["subject"] = sealed(keys, place("subject", uuid), subject)
    number = await insert(
        conn, "failed_delivery", uuid=uuid, account_id=JOHN, email_type="F", key_id=keys.key_id, **values
    )
    if message is not None:
        await insert(
            conn,
            "stored_message",
            account_id=JOHN,
            failed_delivery_id=number,
            kind="failed",
            content=sealed(keys, place("content", uuid), message),
            evidence=sealed(keys, place("evidence", uuid), b"proof"),
            key_id=keys.key_id,
            size_octets=len(message),
            expires_at="2100-01-01",
        )
    return number


async def hook(conn: Connection, keys: Vault = BEFORE) -> int:
    uuid = uuid4()
    secret = sealed(keys, webhooks.place(uuid), b"whsec_x")
    return await insert(
        conn, "webhook", uuid=uuid, url="https://hook.example/", events=[], secret=secret, key_id=keys.key_id
    )


async def opened(conn: Connection, number: int, keys: Vault) -> list[bytes | None]:
    """All that is sealed of a failed delivery."""
    row = await (
        await conn.execute(
            "select f.uuid, f.sender, f.destination, f.subject, s.content, s.evidence from failed_delivery f"
            " left join stored_message s on s.failed_delivery_id = f.id where f.id = %s",
            (number,),
        )
    ).fetchone()
    assert row is not None
    uuid: UUID = row[0]
    names = ("author", "destination", "subject", "content", "evidence")
    return [
        None if one is None else unseal(keys, place(name, uuid), one) for name, one in zip(names, row[1:], strict=True)
    ]


def resealer(database: Database, keys: Vault = AFTER) -> Resealer:
    return Resealer(database, keys, os.urandom)


def silent(rows: int) -> None:
    pass


async def test_all_that_was_sealed_opens_with_the_new_key_alone(conn: Connection, database: Database) -> None:
    full, bare, own = await record(conn), await record(conn, subject=None, message=None), await hook(conn)
    steps: list[int] = []
    assert await reseal(resealer(database), steps.append) == Resealed(4, 0, True)
    assert sum(steps) == 4
    alone = vault([NEW])
    people = [b"news@shop.example", b"me@inbox.example"]
    assert await opened(conn, full, alone) == [*people, b"kept", MESSAGE, b"proof"]
    assert await opened(conn, bare, alone) == [*people, None, None, None]
    uuid = await value(conn, "select uuid from webhook where id = %s", own)
    secret = await value(conn, "select secret from webhook where id = %s", own)
    assert unseal(alone, webhooks.place(uuid), secret) == b"whsec_x"
    assert await resealer(database).keys_used() == {alone.key_id: 4}


async def test_second_factors_are_sealed_anew_as_well(conn: Connection, database: Database) -> None:
    uuid: UUID = await value(conn, "select uuid from account where id = %s", JOHN)
    changed = await value(conn, "select updated_at from account where id = %s", JOHN)
    secret = sealed(BEFORE, totp.place(uuid), b"twenty octets of it.")
    await conn.execute("update account set totp_secret = %s where id = %s", (secret, JOHN))
    assert await resealer(database).keys_used() == {BEFORE.key_id: 1}
    assert await reseal(resealer(database), silent) == Resealed(1, 0, True)
    anew = await value(conn, "select totp_secret from account where id = %s", JOHN)
    assert unseal(vault([NEW]), totp.place(uuid), anew) == b"twenty octets of it."
    assert await resealer(database).keys_used() == {AFTER.key_id: 1}
    assert await value(conn, "select updated_at from account where id = %s", JOHN) == changed


async def test_what_is_done_is_not_done_again(conn: Connection, database: Database) -> None:
    number = await record(conn)
    await reseal(resealer(database), silent)
    before = await value(conn, "select (f.*)::text || (s.*)::text from failed_delivery f, stored_message s")
    assert await reseal(resealer(database), silent) == Resealed(0, 0, True)
    assert await value(conn, "select (f.*)::text || (s.*)::text from failed_delivery f, stored_message s") == before
    assert number


class _Dies(Resealer):
    """Its process ends after so many batches."""

    batches = 2

    async def reseal(self, shelf: Shelf, ids: Sequence[int]) -> tuple[int, int]:
        if not _Dies.batches:
            raise KeyboardInterrupt
        _Dies.batches -= 1
        return await super().reseal(shelf, ids)


async def test_after_a_crash_the_rest_is_found(conn: Connection, database: Database) -> None:
    numbers = [await record(conn) for _ in range(5)]
    with pytest.raises(KeyboardInterrupt):
        await reseal(_Dies(database, AFTER, os.urandom), silent)
    used = await resealer(database).keys_used()
    assert used == {AFTER.key_id: 6, BEFORE.key_id: 4}  # five records and a message; four messages are left
    for number in numbers:
        assert (await opened(conn, number, AFTER))[3] == MESSAGE
    assert await reseal(resealer(database), silent) == Resealed(4, 0, True)


async def test_what_no_key_opens_stays_as_it_is_and_is_counted(conn: Connection, database: Database) -> None:
    lost = await record(conn, vault([LOST]))
    kept = await record(conn)
    assert await reseal(resealer(database), silent) == Resealed(2, 2, True)
    assert (await opened(conn, lost, vault([LOST])))[3] == MESSAGE
    assert (await opened(conn, kept, vault([NEW])))[3] == MESSAGE


async def test_more_than_a_page_is_walked_through(conn: Connection, database: Database) -> None:
    await conn.execute(
        "insert into failed_delivery (account_id, email_type, key_id) select 1, 'F', %s from generate_series(1, 4500)",
        (BEFORE.key_id,),
    )
    assert await reseal(resealer(database), silent) == Resealed(4500, 0, True)


async def test_a_worker_takes_a_minute_at_a_time(conn: Connection, database: Database) -> None:
    for _ in range(3):
        await record(conn)
    none = Resealing(resealer(database), True, seconds=0.0)
    assert await none(NOW) == 0
    assert await Resealing(resealer(database), False)(NOW) == 0
    assert await resealer(database).keys_used() == {BEFORE.key_id: 6}
    assert await Resealing(resealer(database), True)(NOW) == 6


async def test_several_at_once_do_each_row_once(conn: Connection, database: Database) -> None:
    numbers = [await record(conn) for _ in range(8)]
    results = await asyncio.gather(*(reseal(resealer(database), silent) for _ in range(3)))
    assert sum(result.rows for result in results) == 16
    for number in numbers:
        assert (await opened(conn, number, vault([NEW])))[3] == MESSAGE


# -- the commands -------------------------------------------------------------------------------------------------


Said = Callable[..., tuple[int, str, str]]


def keys(settings: Path) -> tuple[bytes, ...]:
    return read_secret(settings.parent / "secrets", "storage.key")


def test_a_rotation_from_the_first_key_to_the_last_of_the_old(
    mailrelay: Command, said: Said, settings: Path, dsn: str
) -> None:
    mailrelay("secrets", "init")
    [old] = keys(settings)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(WORLD.encode())
    asyncio.run(_keep(dsn, vault([old])))
    path = settings.parent / "secrets" / "storage.key"
    path.chmod(0o400)
    assert mailrelay("secrets", "rotate", "storage") == {"file": str(path), "keys": 2}
    new, second = keys(settings)
    assert second == old and new != old and len(new) == 32
    assert path.stat().st_mode & 0o777 == 0o400

    assert mailrelay("secrets", "reseal") == {"resealed": 2, "lost": 0, "keys_in_use": 1, "keys_dropped": 0}
    assert keys(settings) == (new, old)
    assert mailrelay("secrets", "reseal", "--prune") == {"resealed": 0, "lost": 0, "keys_in_use": 1, "keys_dropped": 1}
    assert keys(settings) == (new,)


def test_a_key_that_something_still_needs_is_not_dropped(
    mailrelay: Command, said: Said, settings: Path, dsn: str
) -> None:
    mailrelay("secrets", "init")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(WORLD.encode())
    old = keys(settings)[0]
    asyncio.run(_keep(dsn, vault([old])))
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("update stored_message set content = content || '\\x00'::bytea")
    mailrelay("secrets", "rotate", "storage")
    code, printed, words = said("--json", "secrets", "reseal", "--prune")
    assert code == 0
    assert json.loads(printed) == {"resealed": 1, "lost": 1, "keys_in_use": 2, "keys_dropped": 0}
    assert "note: 1 rows were sealed with keys" in words
    assert keys(settings)[1:] == (old,)


def test_only_a_file_without_mistakes_is_rotated(said: Said, settings: Path) -> None:
    code, _, words = said("secrets", "rotate", "storage")
    assert (code, "storage.key: is missing" in words) == (1, True)
    path = settings.parent / "secrets" / "storage.key"
    path.parent.mkdir()
    path.write_text("nonsense\n")
    code, _, words = said("secrets", "rotate", "storage")
    assert (code, "is not hexadecimal" in words) == (1, True)
    assert path.read_text() == "nonsense\n"
    assert said("secrets", "rotate", "url")[0] == 2


async def _keep(dsn: str, keys: Vault) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        await record(conn, keys)
