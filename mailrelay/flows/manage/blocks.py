"""Block lists of accounts: values are folded here, so that mail finds them. actor: who does it, for the audit."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.blocklist import email_entry
from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.records import BlockRecord, BlockType, Named, Owned
from mailrelay.flows.manage.bans import ban_value


class BlockStore(Protocol):
    """remove_all gives those that were there; add_all those that were not."""

    async def add(
        self, owner: Named | AccountId, kind: BlockType, value: str, alias: Address | None, actor: str
    ) -> BlockRecord: ...
    async def add_all(
        self, owner: Named | AccountId, kind: BlockType, values: Sequence[str], actor: str
    ) -> list[BlockRecord]: ...
    async def remove_all(self, owner: AccountId, uuids: Sequence[UUID], actor: str) -> list[UUID]: ...


async def block(
    store: BlockStore, owner: Named | AccountId, kind: BlockType, value: str, alias: Address | None, actor: str
) -> BlockRecord:
    """A new entry of an account's own block list. Raises Malformed, AlreadyListed and Absent."""
    return await store.add(owner, kind, _folded(kind, value), alias, actor)


async def block_all(
    store: BlockStore, owner: Named | AccountId, kind: BlockType, values: Sequence[str], actor: str
) -> list[BlockRecord]:
    """Many at once, those that are there already left out. Raises Malformed for any that is none, then adds nothing."""
    return await store.add_all(owner, kind, [_folded(kind, value) for value in values], actor)


async def unblock(store: BlockStore, which: Owned, actor: str) -> None:
    """Take an entry for all aliases off the list. Raises Absent."""
    if not await store.remove_all(which.account, [which.uuid], actor):
        raise Absent(f"{which.uuid} is not on that list")


async def unblock_all(store: BlockStore, owner: AccountId, uuids: Sequence[UUID], actor: str) -> list[UUID]:
    """Take entries for all aliases off the list; gives those that were there."""
    return await store.remove_all(owner, uuids, actor)


def _folded(kind: BlockType, value: str) -> str:
    return email_entry(value.strip()).value if kind == "email" else ban_value(kind, value)
