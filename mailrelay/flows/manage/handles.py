"""Claiming handles."""

from typing import Protocol

from mailrelay.core import naming
from mailrelay.core.address import Address
from mailrelay.core.errors import Malformed
from mailrelay.core.records import HandleRecord, ImplicitFor, NewHandle, Owner
from mailrelay.flows.manage.ports import Bureau


class HandleStore(Protocol):
    async def add(self, new: NewHandle, actor: str) -> HandleRecord: ...


async def add(
    bureau: Bureau, store: HandleStore, name: str, mailbox: Address | None, owner: Owner | None, actor: str
) -> HandleRecord:
    """The new handle. owner: None for whoever controls the mailbox, which then counts as verified.

    Raises Malformed for a bad name, Conflict for a taken, reserved or banned one, Absent.
    """
    local = name.strip().lower()
    mailboxes = () if mailbox is None else (mailbox,)
    ground = await bureau.grounds.read(mailboxes, [local])
    now = bureau.clock()
    naming.check_local(local, True, ground, now)
    for one in mailboxes:
        naming.check_mailbox(one, ground, bureau.service, now)
    if owner is None:
        if mailbox is None:
            raise Malformed("a handle needs a mailbox or an account that its mail goes to")
        owner = ImplicitFor(mailbox)
    return await store.add(NewHandle(local, owner, mailbox), actor)
