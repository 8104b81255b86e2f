"""OpenPGP keys of recipients on PostgreSQL: given, taken away, switched, refreshed, and looked at every day."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from mailrelay.core.address import Address, parse_address
from mailrelay.core.certificate import Certificate, KeyUnusable, Unusable
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.recipientkeys import InlineChosen, NoKey, OtherKey, SubjectHidden, Switch
from mailrelay.core.records import KEEP, Named
from mailrelay.flows.keycheck import KeyCheck
from mailrelay.flows.manage import keys
from mailrelay.store.database import Database
from mailrelay.store.keys import RecipientKeys
from tests.store.world import JOHN, OTHER, Connection, insert, value

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
JOHNS = parse_address("johndoe@inbox.example")
A, B = "A" * 40, "B" * 64
ACTOR = "cli:tester"


@dataclass
class Gate:
    """Knows certificates by their octets; they end when they end."""

    known: dict[bytes, Certificate] = field(default_factory=dict)

    def add(self, octets: bytes, fingerprint: str = A, expires: datetime | None = None) -> bytes:
        user_ids = ("John <johndoe@inbox.example>",)
        self.known[octets] = Certificate(fingerprint, 4, "Ed25519", user_ids, NOW, expires, 1, octets)
        return octets

    def __call__(self, octets: bytes, now: datetime) -> Certificate | Unusable:
        found = self.known.get(octets, Unusable.NOT_A_KEY)
        if isinstance(found, Certificate) and found.expires is not None and found.expires <= now:
            return Unusable.EXPIRED
        return found


@dataclass
class Published:
    """A directory that has one answer."""

    octets: bytes = b""
    asked: list[Address] = field(default_factory=list)

    async def fetch(self, mailbox: Address, /) -> bytes:
        self.asked.append(mailbox)
        if not self.octets:
            raise Absent("nothing is published")
        return self.octets


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def store(conn: Connection, dsn: str) -> AsyncIterator[RecipientKeys]:
    database = Database(dsn, 4, 20.0, "test")
    await database.open()
    yield RecipientKeys(database)
    await database.close()


def clock() -> datetime:
    return NOW


async def given(store: RecipientKeys, gate: Gate, octets: bytes, owner: keys.Owner = None) -> keys.KeySet:
    return await keys.set_key(store, gate, clock, owner, JOHNS, octets, ACTOR)


async def audit(conn: Connection) -> list[tuple[str, Any]]:
    cursor = await conn.execute(
        "select action, detail from audit where actor = 'cli:tester' and account_id = 1 and object_table = 'recipient'"
        " and object_id = 1 order by id"
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def told(conn: Connection) -> list[Any]:
    cursor = await conn.execute("select payload from job where kind = 'notice' order by id")
    return [row[0] for row in await cursor.fetchall()]


async def test_a_key_turns_encryption_on_and_is_recorded(conn: Connection, store: RecipientKeys, gate: Gate) -> None:
    end = NOW + 300 * DAY
    found = await given(store, gate, gate.add(b"one", A, end))
    record = found.record
    assert (record.fingerprint, record.should_encrypt, record.key_expires_at) == (A, True, end)
    assert (record.key_checked_at, record.inline_encryption, record.protected_headers) == (NOW, False, False)
    assert found.names_mailbox and found.changed
    assert bytes(await value(conn, "select public_key from recipient where id = 1")) == b"one"
    assert await audit(conn) == [("recipient.key_set", {"fingerprint": A, "before": None})]


async def test_another_key_replaces_it_and_keeps_the_form(conn: Connection, store: RecipientKeys, gate: Gate) -> None:
    await given(store, gate, gate.add(b"one", A, NOW + DAY))
    await keys.switch(store, None, JOHNS, Switch.INLINE, True, ACTOR)
    await keys.switch(store, None, JOHNS, Switch.ENCRYPT, False, ACTOR)
    record = (await given(store, gate, gate.add(b"two", B))).record
    assert (record.fingerprint, record.key_expires_at, record.should_encrypt) == (B, None, True)
    assert record.inline_encryption
    assert (await audit(conn))[-1] == ("recipient.key_set", {"fingerprint": B, "before": A})


async def test_a_bad_key_changes_nothing(conn: Connection, store: RecipientKeys, gate: Gate) -> None:
    await given(store, gate, gate.add(b"one"))
    for octets, reason in ((b"junk", Unusable.NOT_A_KEY), (gate.add(b"old", B, NOW - DAY), Unusable.EXPIRED)):
        with pytest.raises(KeyUnusable) as caught:
            await given(store, gate, octets)
        assert caught.value.reason is reason
    assert await value(conn, "select fingerprint from recipient where id = 1") == A
    assert len(await audit(conn)) == 1


async def test_a_recipient_is_found_by_uuid_within_its_account_only(
    conn: Connection, store: RecipientKeys, gate: Gate
) -> None:
    uuid = await value(conn, "select uuid from recipient where id = 1")
    octets = gate.add(b"one")
    found = await keys.set_key(store, gate, clock, AccountId(JOHN), uuid, octets, ACTOR)
    assert found.record.id == 1
    for owner, unknown in ((AccountId(OTHER), uuid), (AccountId(JOHN), UUID(int=7)), (Named("other"), JOHNS)):
        with pytest.raises(Absent):
            await keys.set_key(store, gate, clock, owner, unknown, octets, ACTOR)
        with pytest.raises(Absent):
            await keys.remove_key(store, owner, unknown, ACTOR)
        with pytest.raises(Absent):
            await keys.switch(store, owner, unknown, Switch.ENCRYPT, False, ACTOR)
    assert await value(conn, "select count(*) from recipient where fingerprint is not null") == 1


async def test_a_mailbox_of_several_accounts_has_to_be_told_apart(
    conn: Connection, store: RecipientKeys, gate: Gate
) -> None:
    await insert(conn, "recipient", account_id=OTHER, address=str(JOHNS))
    with pytest.raises(Conflict, match="several accounts have"):
        await given(store, gate, gate.add(b"one"))
    assert (await given(store, gate, b"one", Named("other"))).record.account == "other"


async def test_an_unverified_recipient_may_have_a_key(conn: Connection, store: RecipientKeys, gate: Gate) -> None:
    await insert(conn, "recipient", account_id=JOHN, address="new@inbox.example")
    address = parse_address("new@inbox.example")
    found = await keys.set_key(store, gate, clock, None, address, gate.add(b"one"), ACTOR)
    assert found.record.should_encrypt and not found.names_mailbox


async def test_what_goes_with_the_key(conn: Connection, store: RecipientKeys, gate: Gate) -> None:
    await given(store, gate, gate.add(b"one", A, NOW + DAY))
    await keys.choose(store, None, JOHNS, "hide-subject", ACTOR)
    for _ in range(2):  # E42: 204 also when there was no key
        record = await keys.remove_key(store, None, JOHNS, ACTOR)
        assert (record.fingerprint, record.key_expires_at, record.key_checked_at) == (None, None, None)
        assert (record.should_encrypt, record.inline_encryption, record.protected_headers) == (False, False, False)
    assert [action for action, _ in await audit(conn)] == [
        "recipient.key_set",
        "recipient.encryption",
        "recipient.key_removed",
    ]


async def test_switches_exclude_each_other_and_leave_the_rest(
    conn: Connection, store: RecipientKeys, gate: Gate
) -> None:
    for switch in Switch:
        with pytest.raises(NoKey):
            await keys.switch(store, None, JOHNS, switch, True, ACTOR)
        await keys.switch(store, None, JOHNS, switch, False, ACTOR)
    await given(store, gate, gate.add(b"one"))
    assert (await keys.switch(store, None, JOHNS, Switch.INLINE, True, ACTOR)).inline_encryption
    with pytest.raises(InlineChosen):
        await keys.switch(store, None, JOHNS, Switch.HIDE_SUBJECT, True, ACTOR)
    await keys.switch(store, None, JOHNS, Switch.INLINE, False, ACTOR)
    await keys.switch(store, None, JOHNS, Switch.HIDE_SUBJECT, True, ACTOR)
    with pytest.raises(SubjectHidden):
        await keys.switch(store, None, JOHNS, Switch.INLINE, True, ACTOR)
    off = await keys.switch(store, None, JOHNS, Switch.ENCRYPT, False, ACTOR)
    assert (off.should_encrypt, off.protected_headers, off.fingerprint) == (False, True, A)
    assert [detail for action, detail in await audit(conn) if action == "recipient.encryption"] == [
        {"inline_encryption": True},
        {"inline_encryption": False},
        {"protected_headers": True},
        {"should_encrypt": False},
    ]


async def test_two_who_switch_at_once_cannot_have_both(store: RecipientKeys, gate: Gate) -> None:
    await given(store, gate, gate.add(b"one"))
    for _ in range(10):
        results = await asyncio.gather(
            keys.switch(store, None, JOHNS, Switch.INLINE, True, ACTOR),
            keys.switch(store, None, JOHNS, Switch.HIDE_SUBJECT, True, ACTOR),
            return_exceptions=True,
        )
        assert sum(isinstance(result, InlineChosen | SubjectHidden) for result in results) == 1
        for switch in (Switch.INLINE, Switch.HIDE_SUBJECT):
            await keys.switch(store, None, JOHNS, switch, False, ACTOR)


async def test_what_becomes_of_mail_that_cannot_be_encrypted(conn: Connection, store: RecipientKeys) -> None:
    record = await store.on_failure(None, JOHNS, "stub", True, ACTOR)
    assert (record.encryption_failure, record.never_plaintext) == ("stub", True)
    record = await store.on_failure(None, JOHNS, KEEP, False, ACTOR)
    assert (record.encryption_failure, record.never_plaintext) == ("stub", False)
    record = await store.on_failure(None, JOHNS, None, KEEP, ACTOR)
    assert (record.encryption_failure, record.never_plaintext) == (None, False)
    assert [detail for _, detail in await audit(conn)] == [
        {"encryption_failure": "stub", "never_plaintext": True},
        {"never_plaintext": False},
        {"encryption_failure": None},
    ]


# -- refresh --------------------------------------------------------------------------------------------------------


async def refreshed(store: RecipientKeys, gate: Gate, directory: Published) -> keys.KeySet:
    return await keys.refresh(store, directory, gate, clock, None, JOHNS, ACTOR)


async def test_a_newer_form_of_the_same_key_takes_its_place(conn: Connection, store: RecipientKeys, gate: Gate) -> None:
    await given(store, gate, gate.add(b"one", A, NOW + DAY))
    await keys.switch(store, None, JOHNS, Switch.ENCRYPT, False, ACTOR)
    directory = Published(gate.add(b"longer", A, NOW + 99 * DAY))
    found = await refreshed(store, gate, directory)
    assert found.changed and found.record.key_expires_at == NOW + 99 * DAY
    assert not found.record.should_encrypt  # nobody asked for that
    assert [str(mailbox) for mailbox in directory.asked] == ["johndoe@inbox.example"]
    assert (await audit(conn))[-1] == ("recipient.key_refreshed", {"fingerprint": A, "before": A})
    assert not (await refreshed(store, gate, directory)).changed


async def test_another_key_is_never_taken_from_the_net(conn: Connection, store: RecipientKeys, gate: Gate) -> None:
    await given(store, gate, gate.add(b"one"))
    with pytest.raises(OtherKey):
        await refreshed(store, gate, Published(gate.add(b"theirs", B)))
    with pytest.raises(KeyUnusable):
        await refreshed(store, gate, Published(b"junk"))
    with pytest.raises(Absent):
        await refreshed(store, gate, Published())
    assert bytes(await value(conn, "select public_key from recipient where id = 1")) == b"one"
    assert len(await audit(conn)) == 1


async def test_there_has_to_be_a_key_to_compare_with(store: RecipientKeys, gate: Gate) -> None:
    directory = Published(gate.add(b"one"))
    with pytest.raises(NoKey):
        await refreshed(store, gate, directory)
    assert directory.asked == []


async def test_a_key_that_its_owner_replaces_meanwhile_stays(
    conn: Connection, store: RecipientKeys, gate: Gate
) -> None:
    await given(store, gate, gate.add(b"one"))
    gate.add(b"longer", A, NOW + 99 * DAY)

    class Slow(Published):
        async def fetch(self, mailbox: Address, /) -> bytes:
            await given(store, gate, gate.add(b"new", B))
            return b"longer"

    with pytest.raises(OtherKey):
        await refreshed(store, gate, Slow())
    assert bytes(await value(conn, "select public_key from recipient where id = 1")) == b"new"


# -- every day --------------------------------------------------------------------------------------------------------


async def test_owners_are_told_before_the_end_and_when_it_has_come(
    conn: Connection, store: RecipientKeys, gate: Gate
) -> None:
    end = NOW + 40 * DAY
    await given(store, gate, gate.add(b"one", A, end))
    check = KeyCheck(store, gate)
    numbers = []
    for hours in range(0, 50 * 24, 7):
        numbers.append(await check(NOW + timedelta(hours=hours)))
        await conn.execute("update job set finished_at = now() where finished_at is null")
    assert sum(numbers) == 4
    sent = await told(conn)
    assert [(one["code"], one["account_id"], one["recipient_id"]) for one in sent] == [("GKE", 1, 1)] * 4
    assert [one["data"].get("days") or one["data"]["problem"] for one in sent] == [30, 7, 1, "key_expired"]
    assert all(one["data"]["recipient"] == "johndoe@Inbox.example" for one in sent)
    assert await value(conn, "select should_encrypt from recipient where id = 1")
    assert await value(conn, "select key_expires_at from recipient where id = 1") == end


async def test_a_key_is_looked_at_once_a_day(conn: Connection, store: RecipientKeys, gate: Gate) -> None:
    await given(store, gate, gate.add(b"one"))
    looked: list[datetime] = []

    def look(octets: bytes, now: datetime) -> Certificate | Unusable:
        looked.append(now)
        return gate(octets, now)

    for hours in range(73):
        await KeyCheck(store, look)(NOW + timedelta(hours=hours))
    assert [(at - NOW) // timedelta(hours=1) for at in looked] == [24, 48, 72]
    assert await value(conn, "select key_checked_at from recipient where id = 1") == NOW + 3 * DAY


async def test_a_key_that_a_new_release_refuses_is_told_of_once(
    conn: Connection, store: RecipientKeys, gate: Gate
) -> None:
    await given(store, gate, gate.add(b"one"))
    gate.known.clear()
    check = KeyCheck(store, gate)
    assert [await check(NOW + days * DAY) for days in (1, 2, 3)] == [1, 0, 0]
    [one] = await told(conn)
    assert one["data"]["problem"] == "key_not_a_key"
    assert await value(conn, "select key_expires_at from recipient where id = 1") == NOW + DAY


async def test_several_workers_tell_once_and_all_keys_are_looked_at(
    conn: Connection, store: RecipientKeys, gate: Gate
) -> None:
    gate.add(b"one", A, NOW + 7.5 * DAY)
    for number in range(120):
        await insert(
            conn,
            "recipient",
            account_id=JOHN,
            address=f"r{number}@inbox.example",
            fingerprint=A,
            public_key=b"one",
            should_encrypt=number % 2 == 0,
            key_expires_at=NOW + 7.5 * DAY,
            key_checked_at=NOW,
        )
    results = await asyncio.gather(*(KeyCheck(store, gate)(NOW + DAY) for _ in range(3)))
    assert sum(results) == 60
    assert len(await told(conn)) == 60
    assert await value(conn, "select count(*) from recipient where key_checked_at = %s", NOW + DAY) == 120


async def test_a_key_that_is_replaced_while_it_is_looked_at_is_not_judged_for_the_old_one(
    conn: Connection, store: RecipientKeys, gate: Gate
) -> None:
    await given(store, gate, gate.add(b"one", A, NOW + DAY))
    [key] = await store.unchecked(NOW + DAY, RecipientId(0), 10)
    await given(store, gate, gate.add(b"two", A))
    result = await KeyCheck(_Early(store, replace(key, checked_at=NOW - DAY)), gate)(NOW + 2 * DAY)
    assert result == 0
    assert await told(conn) == []
    assert await value(conn, "select key_expires_at from recipient where id = 1") is None


class _Early:
    """Read the keys before they changed."""

    def __init__(self, store: RecipientKeys, *stale: Any) -> None:
        self.checked = store.checked
        self._stale = list(stale)

    async def unchecked(self, before: datetime, after: RecipientId, limit: int) -> list[Any]:
        stale, self._stale = self._stale, []
        return stale
