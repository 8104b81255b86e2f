"""Adding mailboxes to accounts."""

from typing import Protocol

from mailrelay.core import naming
from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, RecipientRecord
from mailrelay.flows.manage.ports import Bureau


class RecipientStore(Protocol):
    async def add(self, owner: Named | AccountId, mailbox: Address, verified: bool) -> RecipientRecord: ...


async def add(
    bureau: Bureau, store: RecipientStore, owner: Named | AccountId, mailbox: Address, verified: bool
) -> RecipientRecord:
    """The new recipient. Raises Conflict for one that is there, banned, or at a domain of ours; Absent."""
    ground = await bureau.grounds.read([mailbox])
    naming.check_mailbox(mailbox, ground, bureau.service, bureau.clock())
    return await store.add(owner, mailbox, verified)
