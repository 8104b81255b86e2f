"""Making aliases and changing them."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from mailrelay.core import naming
from mailrelay.core.address import Address
from mailrelay.core.errors import Malformed
from mailrelay.core.records import AliasChange, AliasRecord, ImplicitFor, Keep, NewAlias, Owned, Owner
from mailrelay.flows.manage.ports import Bureau

MAX_RECIPIENTS = 10  # spec section 2.6


class AliasStore(Protocol):
    async def add(self, new: NewAlias, actor: str) -> AliasRecord: ...
    async def change(self, which: Address | Owned, change: AliasChange, actor: str) -> AliasRecord: ...


@dataclass(frozen=True, slots=True)
class AliasWish:
    """What somebody asks for. owner None: whoever owns the domain, on a shared one the first mailbox' own account."""

    address: Address
    recipients: tuple[Address, ...]
    owner: Owner | None = None
    description: str | None = None


async def add(bureau: Bureau, store: AliasStore, wish: AliasWish, actor: str) -> AliasRecord:
    """The new alias. Raises Malformed for a bad name, Conflict for a taken or reserved one, Absent without domain."""
    local, domain = wish.address.local.lower(), wish.address.domain
    _count(wish.recipients)
    ground = await bureau.grounds.read(wish.recipients, [local], [domain])
    label = await bureau.grounds.username_owner(domain.partition(".")[0])
    site = naming.site_of(domain, ground, bureau.service, label)
    now = bureau.clock()
    naming.check_local(local, site.shared, ground, now)
    for mailbox in wish.recipients:
        naming.check_mailbox(mailbox, ground, bureau.service, now)
    owner: Owner
    if wish.owner is not None:
        owner = wish.owner
    elif site.owner is not None:
        owner = site.owner
    elif wish.recipients:
        owner = ImplicitFor(wish.recipients[0])
    else:
        raise Malformed("an alias needs a mailbox or an account that its mail goes to")
    return await store.add(NewAlias(local, domain, owner, wish.recipients, site.username, wish.description), actor)


async def change(
    bureau: Bureau, store: AliasStore, which: Address | Owned, wanted: AliasChange, actor: str
) -> AliasRecord:
    """The changed alias. Raises Malformed, Absent, and Conflict for a mailbox that cannot be a recipient."""
    if not isinstance(wanted.recipients, Keep):
        _count(wanted.recipients)
        mailboxes = tuple(one for one in wanted.recipients if isinstance(one, Address))
        ground = await bureau.grounds.read(mailboxes)
        for mailbox in mailboxes:
            naming.check_mailbox(mailbox, ground, bureau.service, bureau.clock())
    return await store.change(which, wanted, actor)


def _count(recipients: tuple[Address, ...] | tuple[UUID, ...]) -> None:
    if len(recipients) > MAX_RECIPIENTS:
        raise Malformed(f"an alias has at most {MAX_RECIPIENTS} recipients")
