"""Adding mailboxes to accounts, asking whoever reads them whether that is right, and changing what they may do.

actor: who does it, for the audit. mailbox: an address, or the UUID of a recipient. owner: the account that asks; None:
whoever is the only one that has the mailbox.
"""

from typing import Protocol
from uuid import UUID

from mailrelay.core import naming
from mailrelay.core.address import Address
from mailrelay.core.errors import Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.recipients import Hindrance, NoMailDomain, RecipientChange, Taken, Unsuitable
from mailrelay.core.records import Named, RecipientRecord
from mailrelay.core.suspects import of_mailbox
from mailrelay.flows.manage.ports import Bureau
from mailrelay.flows.obstacles import Bans

Owner = Named | AccountId | None


class RecipientStore(Protocol):
    """add: `ask` posts a notice VR with the new recipient; `ask` posts one more."""

    async def add(
        self,
        owner: Named | AccountId,
        mailbox: Address,
        *,
        verified: bool,
        actor: str,
        ask: bool,
        alone: bool,
        limit: int | None = None,
    ) -> RecipientRecord: ...
    async def is_taken(self, owner: AccountId, mailbox: Address) -> bool: ...
    async def ask(self, owner: Owner, mailbox: Address | UUID, actor: str) -> RecipientRecord: ...
    async def change(
        self, owner: Owner, mailbox: Address | UUID, change: RecipientChange, actor: str
    ) -> RecipientRecord: ...
    async def remove(self, owner: Owner, mailbox: Address | UUID, actor: str) -> RecipientRecord: ...


class MailDomains(Protocol):
    """Whether mail can go to a folded domain; where DNS is in trouble, it can. See clients/maildomain.py."""

    async def takes_mail(self, domain: str, /) -> bool: ...


async def add(
    bureau: Bureau,
    store: RecipientStore,
    owner: Named | AccountId,
    mailbox: Address,
    *,
    verified: bool,
    linked: bool,
    actor: str,
) -> RecipientRecord:
    """The new recipient. Unless it is verified, a mail with a link asks whether it may be used (spec section 8.4, VR).

    linked: links can be made; else somebody has to verify it in another way. Raises Conflict for one that is there,
    banned, or at a domain of ours; Absent.
    """
    ground = await bureau.grounds.read([mailbox])
    naming.check_mailbox(mailbox, ground, bureau.service, bureau.clock())
    return await store.add(owner, mailbox, verified=verified, actor=actor, ask=linked and not verified, alone=False)


async def join(
    bureau: Bureau,
    store: RecipientStore,
    domains: MailDomains | None,
    bans: Bans,
    owner: AccountId,
    mailbox: Address,
    *,
    verified: bool,
    linked: bool,
    limit: int,
    actor: str,
) -> RecipientRecord:
    """As `add`, on an owner's word: nobody else who signs in may have it verified (addy-api.md, E38).

    domains: None if nobody asks DNS; limit: how many an account may have. Raises, in this order, NoMailDomain, Taken,
    Unsuitable and TooManyRecipients; AskedEnough.
    """
    if domains is not None and not await domains.takes_mail(mailbox.domain):
        raise NoMailDomain(f"{mailbox.domain} takes no mail")
    hit = await bans.first(of_mailbox(mailbox))
    ground = await bureau.grounds.read([mailbox])
    try:
        naming.check_mailbox(mailbox, ground, bureau.service, bureau.clock())
        if hit is not None:
            raise Unsuitable(f"mail to {mailbox} goes to a host that is banned (ban {hit.id})", Hindrance.BANNED)
    except Unsuitable:
        if await store.is_taken(owner, mailbox):
            raise Taken(f"there is {mailbox} already") from None
        raise
    ask = linked and not verified
    return await store.add(owner, mailbox, verified=verified, actor=actor, ask=ask, alone=True, limit=limit)


async def resend(
    store: RecipientStore, owner: Owner, mailbox: Address | UUID, *, linked: bool, actor: str
) -> RecipientRecord:
    """Ask once more. Raises IsVerified, AskedEnough if it was within the hour, Conflict without links; Absent."""
    if not linked:
        raise Conflict("there are no links to send: api.url is not set")
    return await store.ask(owner, mailbox, actor)


async def change(
    store: RecipientStore, owner: Owner, mailbox: Address | UUID, wanted: RecipientChange, actor: str
) -> RecipientRecord:
    """Set what its owner may set. Raises Absent."""
    return await store.change(owner, mailbox, wanted, actor)


async def remove(store: RecipientStore, owner: Owner, mailbox: Address | UUID, actor: str) -> RecipientRecord:
    """Take it from its account and its aliases, with its key. Raises Absent; IsDefault for the account's default."""
    return await store.remove(owner, mailbox, actor)
