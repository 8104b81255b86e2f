"""Giving usernames to accounts."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from mailrelay.core import naming
from mailrelay.core.errors import Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.own_parents import OwnUsername
from mailrelay.core.records import Named, Owned, UsernameChange, UsernameRecord


class UsernameStore(Protocol):
    """As store/manage_usernames has it."""

    async def add(
        self, owner: Named | AccountId, name: str, actor: str, limit: int | None = None
    ) -> UsernameRecord: ...

    async def change(self, which: str | Owned, change: UsernameChange, actor: str) -> UsernameRecord: ...

    async def forbid_login(self, which: str | Owned, actor: str) -> UsernameRecord: ...

    async def signs_in_elsewhere(self, account: AccountId) -> bool: ...

    async def remove(self, which: str | Owned, actor: str) -> UsernameRecord: ...


class UsernameReader(Protocol):
    """Usernames as their owners read them."""

    async def page(self, account: AccountId) -> Sequence[OwnUsername]: ...

    async def one(self, which: Owned) -> OwnUsername: ...


async def add(store: UsernameStore, owner: Named | AccountId, name: str, actor: str) -> UsernameRecord:
    """The new username, on an operator's word. Raises Malformed, Absent, and Conflict for one that is or was taken."""
    return await store.add(owner, naming.username(name), actor)


@dataclass(frozen=True, slots=True)
class Choices:
    """Usernames that owners give themselves. reserved: folded; limit: how many an account may have."""

    store: UsernameStore
    reserved: Set[str]
    limit: int

    async def add(self, account: AccountId, name: str, actor: str) -> UsernameRecord:
        """The new username. Raises Malformed, Conflict for one that is reserved or is or was somebody's, TooMany."""
        folded = naming.username(name)
        if folded in self.reserved:
            raise Conflict(f"{folded} is reserved")
        return await self.store.add(account, folded, actor, self.limit)
