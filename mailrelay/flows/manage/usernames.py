"""Giving usernames to accounts."""

import re
from typing import Protocol

from mailrelay.core import naming
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, UsernameRecord

_OWNERS = re.compile(r"[a-z0-9]{1,20}")


class UsernameStore(Protocol):
    async def add(
        self, owner: Named | AccountId, name: str, actor: str, limit: int | None = None
    ) -> UsernameRecord: ...


async def add(store: UsernameStore, owner: Named | AccountId, name: str, actor: str) -> UsernameRecord:
    """The new username, on an operator's word. Raises Malformed, Absent, and Conflict for one that is or was taken."""
    return await store.add(owner, naming.username(name), actor)
