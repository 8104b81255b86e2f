"""OpenPGP keys of recipients: putting one there, taking it away, and how it is used.

owner: the account that asks, or None: whoever is the only one that has the mailbox. mailbox: its address, or the UUID
of the recipient. actor: who it is, for the audit. All raise Absent for a recipient that is not there, Conflict for a
mailbox that several accounts have, and Unavailable.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol
from uuid import UUID

from mailrelay.core.address import Address, parse_address
from mailrelay.core.certificate import Certificate, KeyUnusable, Unusable
from mailrelay.core.facts import AccountId
from mailrelay.core.recipientkeys import (
    Encryption,
    Form,
    Gate,
    NoKey,
    OtherKey,
    Switch,
    formed,
    names_mailbox,
    switched,
)
from mailrelay.core.records import Named, RecipientRecord
from mailrelay.flows.manage.ports import Clock

Owner = Named | AccountId | None


class KeyStore(Protocol):
    async def held(self, owner: Owner, mailbox: Address | UUID) -> tuple[RecipientRecord, bytes | None]: ...
    async def put(
        self,
        owner: Owner,
        mailbox: Address | UUID,
        certificate: Certificate,
        now: datetime,
        actor: str,
        *,
        refresh: bool = False,
    ) -> RecipientRecord: ...
    async def remove(self, owner: Owner, mailbox: Address | UUID, actor: str) -> RecipientRecord: ...
    async def change(
        self, owner: Owner, mailbox: Address | UUID, change: Callable[[Encryption], Encryption], actor: str
    ) -> RecipientRecord: ...


class Directory(Protocol):
    """Finds published keys, see clients/wkd.py."""

    async def fetch(self, mailbox: Address, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class KeySet:
    """A key that is in place now. names_mailbox: one of its user ids is of the recipient's address.

    changed: it is not what was there before.
    """

    record: RecipientRecord
    certificate: Certificate
    names_mailbox: bool
    changed: bool = True


@dataclass(frozen=True, slots=True)
class KeyState:
    """A recipient and what its key is good for at this moment; None: it has none."""

    record: RecipientRecord
    found: Certificate | Unusable | None


async def set_key(
    store: KeyStore, gate: Gate, clock: Clock, owner: Owner, mailbox: Address | UUID, octets: bytes, actor: str
) -> KeySet:
    """Put a key, armored or binary, in place of what was there; from now on mail is encrypted. Raises KeyUnusable."""
    now = clock()
    certificate = await _read(gate, octets, now)
    record = await store.put(owner, mailbox, certificate, now, actor)
    return _set(record, certificate)


async def remove_key(store: KeyStore, owner: Owner, mailbox: Address | UUID, actor: str) -> RecipientRecord:
    """Take the key away, if there is one; mail is no longer encrypted."""
    return await store.remove(owner, mailbox, actor)


async def switch(
    store: KeyStore, owner: Owner, mailbox: Address | UUID, what: Switch, on: bool, actor: str
) -> RecipientRecord:
    """Switch one thing and nothing else. Raises NoKey, InlineChosen and SubjectHidden; their texts are the API's."""
    return await store.change(owner, mailbox, partial(switched, switch=what, on=on), actor)


async def choose(store: KeyStore, owner: Owner, mailbox: Address | UUID, form: Form, actor: str) -> RecipientRecord:
    """Choose how mail is encrypted, whatever it was before. Raises NoKey."""
    return await store.change(owner, mailbox, partial(formed, form=form), actor)


async def show(store: KeyStore, gate: Gate, clock: Clock, owner: Owner, mailbox: Address | UUID) -> KeyState:
    """A recipient, and whether its key can be used now."""
    record, octets = await store.held(owner, mailbox)
    return KeyState(record, None if octets is None else await asyncio.to_thread(gate, octets, clock()))


async def refresh(
    store: KeyStore,
    directory: Directory,
    gate: Gate,
    clock: Clock,
    owner: Owner,
    mailbox: Address | UUID,
    actor: str,
) -> KeySet:
    """Look for a newer form of the key where the mailbox' domain publishes it: only with the same primary key.

    Raises NoKey without a key to compare with, OtherKey, KeyUnusable; Absent if nothing is published, Unavailable and
    Malformed as the directory does.
    """
    record, before = await store.held(owner, mailbox)
    if before is None:
        raise NoKey(f"{record.address} has no key that could be refreshed: its owner has to give the first one")
    octets = await directory.fetch(parse_address(record.address))
    now = clock()
    certificate = await _read(gate, octets, now)
    if certificate.fingerprint != record.fingerprint:
        raise OtherKey(
            f"the published key has the fingerprint {certificate.fingerprint}, the stored one {record.fingerprint}: "
            "a new key has to be given by its owner"
        )
    if certificate.binary == before:
        return KeySet(record, certificate, names_mailbox(certificate, record.address), changed=False)
    return _set(await store.put(owner, mailbox, certificate, now, actor, refresh=True), certificate)


def _set(record: RecipientRecord, certificate: Certificate) -> KeySet:
    return KeySet(record, certificate, names_mailbox(certificate, record.address))


async def _read(gate: Gate, octets: bytes, now: datetime) -> Certificate:
    """In a thread: what strangers give may take a moment."""
    found = await asyncio.to_thread(gate, octets, now)
    if isinstance(found, Unusable):
        raise KeyUnusable(found)
    return found
