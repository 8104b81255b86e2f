"""Failed deliveries for their owner and the operator: what both APIs and the commands do with them.

owner: the account that asks, which sees its own records only; None: the operator, whose reading is recorded.
key: number or UUID of a record. actor: who it is, for the audit.
"""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId, Target
from mailrelay.core.failed import (
    MAX_RECIPIENTS,
    BadRecipients,
    FailedId,
    FailedPage,
    FailedRecord,
    FailedType,
    Resent,
)

# addy-api.md section 1.12
DEFAULT_SIZE = 100


class Shelf(Protocol):
    """Where failed deliveries lie. All raise Unavailable; see store/failed.py for what else."""

    async def page(self, account: AccountId, type: FailedType | None, number: int, size: int) -> FailedPage: ...
    async def one(self, key: FailedId | UUID, account: AccountId | None = None) -> FailedRecord: ...
    async def content(self, failed_id: FailedId) -> bytes: ...
    async def seen(self, failed_id: FailedId, actor: str) -> None: ...
    async def delete(self, failed_id: FailedId, actor: str) -> None: ...
    async def mailboxes(self, account: AccountId, addresses: Sequence[str]) -> Sequence[tuple[str, UUID | None]]: ...


class ResendStory(Protocol):
    """Sends a message once more, see flows/resend.py."""

    async def chosen(self, account_id: AccountId, uuids: Sequence[UUID]) -> tuple[Target, ...]: ...
    async def __call__(self, record: FailedRecord, actor: str, to: Sequence[Target] = ()) -> Resent: ...


class ReadTargets(Protocol):
    """Those recipients that belong to the account, in their order. Raises Unavailable."""

    async def __call__(self, account_id: AccountId, uuids: Sequence[UUID], /) -> Sequence[Target]: ...


async def chosen(read_targets: ReadTargets, account_id: AccountId, uuids: Sequence[UUID]) -> tuple[Target, ...]:
    """The recipients that somebody wants a message sent to. Raises BadRecipients, and Unavailable."""
    if len(uuids) > MAX_RECIPIENTS:
        raise BadRecipients(f"a message is resent to at most {MAX_RECIPIENTS} recipients")
    unique = tuple(dict.fromkeys(uuids))
    found = tuple(await read_targets(account_id, unique)) if unique else ()
    if len(found) < len(unique):
        raise BadRecipients("somebody to resend to is no recipient of the account")
    for target in found:
        if not target.verified:
            raise BadRecipients(f"recipient {target.address} is not verified")
    return found


async def page(
    shelf: Shelf, owner: AccountId, type: FailedType | None = None, number: int = 1, size: int = DEFAULT_SIZE
) -> FailedPage:
    """A page of the account's records, the newest first. number: from 1, what is less is 1; size: at least 1."""
    return await shelf.page(owner, type, number, size)


async def one(shelf: Shelf, owner: AccountId | None, key: FailedId | UUID) -> FailedRecord:
    """Raises Absent, also for what belongs to another account."""
    return await shelf.one(key, owner)


async def download(
    shelf: Shelf, owner: AccountId | None, key: FailedId | UUID, actor: str
) -> tuple[FailedRecord, bytes]:
    """A record with its message, as it came in or was returned. Raises Absent, NotStored (an Absent) and Malformed."""
    record = await shelf.one(key, owner)
    content = await shelf.content(record.id)
    if owner is None:
        await shelf.seen(record.id, actor)
    return record, content


async def delete(shelf: Shelf, owner: AccountId | None, key: FailedId | UUID, actor: str) -> FailedRecord:
    """The record that went, and with it the message. Raises Absent, and Unavailable while it is being resent."""
    record = await shelf.one(key, owner)
    await shelf.delete(record.id, actor)
    return record


async def resend(
    shelf: Shelf,
    story: ResendStory,
    owner: AccountId | None,
    key: FailedId | UUID,
    actor: str,
    recipients: Sequence[UUID] = (),
    mailboxes: Sequence[Address] = (),
) -> Resent:
    """Send a message to recipients of its account, () for those that the alias has; mailboxes: the same by address.

    Raises, in the order of addy-api.md N12: BadRecipients, Absent, NotStored (an Absent), AlreadyResent, NotForward;
    then Conflict when nobody may receive it now, and Unavailable. The operator's recipients are looked at after the
    record, as they are that account's.
    """
    to = await story.chosen(owner, recipients) if owner is not None and recipients else ()
    record = await shelf.one(key, owner)
    if mailboxes or (recipients and owner is None):
        named = await _named(shelf, record.account_id, mailboxes)
        to = await story.chosen(record.account_id, [*recipients, *named])
    return await story(record, actor, to)


async def _named(shelf: Shelf, account: AccountId, mailboxes: Sequence[Address]) -> list[UUID]:
    found = await shelf.mailboxes(account, [str(mailbox) for mailbox in mailboxes])
    for address, uuid in found:
        if uuid is None:
            raise BadRecipients(f"{address} is no recipient of that account; `mailrelay recipient list` shows them")
    return [uuid for _, uuid in found if uuid is not None]
