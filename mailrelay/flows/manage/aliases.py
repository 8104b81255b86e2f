"""Making aliases and changing them."""

from dataclasses import dataclass
from typing import Protocol

from mailrelay.core import naming
from mailrelay.core.address import Address
from mailrelay.core.errors import Malformed
from mailrelay.core.records import AliasChange, AliasRecord, ImplicitFor, Keep, NewAlias, Owner
from mailrelay.flows.manage.ports import Bureau

MAX_RECIPIENTS = 10  # spec section 2.6


class AliasStore(Protocol):
    async def add(self, new: NewAlias) -> AliasRecord: ...
    async def change(self, address: Address, change: AliasChange) -> AliasRecord: ...


@dataclass(frozen=True, slots=True)
class AliasWish:
    """What somebody asks for. owner None: whoever owns the domain, on a shared one the first mailbox' own account."""

    address: Address
    recipients: tuple[Address, ...]
    owner: Owner | None = None
    description: str | None = None


async def add(bureau: Bureau, store: AliasStore, wish: AliasWish) -> AliasRecord:
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
    return await store.add(NewAlias(local, domain, owner, wish.recipients, site.username, wish.description))


async def change(bureau: Bureau, store: AliasStore, address: Address, wanted: AliasChange) -> AliasRecord:
    """The changed alias. Raises Malformed, Absent, and Conflict for a mailbox that cannot be a recipient."""
    if not isinstance(wanted.recipients, Keep):
        _count(wanted.recipients)
        ground = await bureau.grounds.read(wanted.recipients)
        for mailbox in wanted.recipients:
            naming.check_mailbox(mailbox, ground, bureau.service, bureau.clock())
    return await store.change(address, wanted)


def _count(mailboxes: tuple[Address, ...]) -> None:
    if len(mailboxes) > MAX_RECIPIENTS:
        raise Malformed(f"an alias has at most {MAX_RECIPIENTS} recipients")
