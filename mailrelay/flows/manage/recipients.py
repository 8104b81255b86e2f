"""Adding mailboxes to accounts, asking whoever reads them whether that is right, and believing in them again."""

from typing import Protocol

from mailrelay.core import naming
from mailrelay.core.address import Address
from mailrelay.core.errors import Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, RecipientRecord
from mailrelay.flows.manage.ports import Bureau


class RecipientStore(Protocol):
    """add: `ask` posts a notice VR with the new recipient; `ask` posts one more."""

    async def add(
        self, owner: Named | AccountId, mailbox: Address, *, verified: bool, ask: bool
    ) -> RecipientRecord: ...
    async def ask(self, owner: Named | AccountId | None, mailbox: Address) -> RecipientRecord: ...


async def add(
    bureau: Bureau,
    store: RecipientStore,
    owner: Named | AccountId,
    mailbox: Address,
    *,
    verified: bool,
    linked: bool,
) -> RecipientRecord:
    """The new recipient. Unless it is verified, a mail with a link asks whether it may be used (spec section 8.4, VR).

    linked: links can be made; else somebody has to verify it in another way. Raises Conflict for one that is there,
    banned, or at a domain of ours; Absent.
    """
    ground = await bureau.grounds.read([mailbox])
    naming.check_mailbox(mailbox, ground, bureau.service, bureau.clock())
    return await store.add(owner, mailbox, verified=verified, ask=linked and not verified)


async def resend(
    store: RecipientStore, owner: Named | AccountId | None, mailbox: Address, *, linked: bool
) -> RecipientRecord:
    """Ask once more. owner: None if only one account has it.

    Raises Conflict for one that is verified, or was asked too often within the hour; Absent.
    """
    if not linked:
        raise Conflict("there are no links to send: api.url is not set")
    return await store.ask(owner, mailbox)
