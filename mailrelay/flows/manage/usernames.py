"""Giving usernames to accounts."""

from typing import Protocol

from mailrelay.core import naming
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, UsernameRecord


class UsernameStore(Protocol):
    async def add(self, owner: Named | AccountId, name: str) -> UsernameRecord: ...


async def add(store: UsernameStore, owner: Named | AccountId, name: str) -> UsernameRecord:
    """The new username. Raises Malformed, Absent, and Conflict for one that is reserved or is or was somebody's."""
    return await store.add(owner, naming.username(name))
