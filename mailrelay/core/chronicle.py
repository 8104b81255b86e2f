"""What owners and operators are told of the ledger: which of its entries become failed deliveries, notices and events.

Mail writes the ledger and nothing else; some seconds later the worker reads it, and this decides entry by entry.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NewType
from uuid import UUID

from mailrelay.core.address import Reverse, classify, split_extension
from mailrelay.core.bounce import BounceType, failure
from mailrelay.core.facts import REASON_TEXTS, AccountId, AliasId, BlockBehaviour, Reason, RecipientId
from mailrelay.core.failed import INBOUND_REJECTION, FailedId
from mailrelay.core.judge import QUOTA_SOON, next_month
from mailrelay.core.ledger import OutboundId, Outcome
from mailrelay.core.notices import Code, Notice
from mailrelay.core.reply import Replies
from mailrelay.core.verp import EmailType
from mailrelay.core.webhooks import Event

LedgerId = NewType("LedgerId", int)

_CODES = Replies()

# Refused in session: the reply that the sender got. What is not here was temporary, or concerns no owner.
_REFUSED: Mapping[Reason, str] = {
    Reason.BANNED: "BANNED",
    Reason.ALIAS_DELETED: "UNKNOWN",
    Reason.ALIAS_INACTIVE: "UNKNOWN",
    Reason.ALIAS_EXPIRED: "UNKNOWN",
    Reason.PARENT_INACTIVE: "UNKNOWN",
    Reason.HANDLE_OFF: "UNKNOWN",
    Reason.QUOTA: "QUOTA",
    Reason.BLOCKED_SENDER: "UNKNOWN",
    Reason.NOT_ALLOWED: "UNKNOWN",
    Reason.RULE: "UNKNOWN",
    Reason.HOPS: "LOOP",
    Reason.TOO_LARGE: "SIZE",
    Reason.BARE_NEWLINE: "BARE",
    Reason.BAD_FROM: "BADFROM",
    Reason.DMARC: "DMARC",
    Reason.SPAM: "SPAM",
    Reason.NOT_AUTHENTICATED: "NOTAUTH",
    Reason.SENDING_OFF: "SENDOFF",
    Reason.NOT_ATTACHED: "SENDOFF",
    Reason.SENDING_SUSPENDED: "SENDOFF",
    Reason.DOMAIN_UNVERIFIED: "UNKNOWN",
    Reason.BAD_CONTACT: "BADCONTACT",
    Reason.DESTINATION_BANNED: "NOCONTACT",
    Reason.OWN_CONTACT: "NOCONTACT",
    Reason.CONTACT_SUPPRESSED: "NOCONTACT",
    Reason.LEAK: "LEAK",
}
# Taken and dropped: the reply that would have been right; "" where the owner wants silence (row 176 of section 12.6).
_DROPPED: Mapping[Reason, str] = {
    **{reason: key for reason, key in _REFUSED.items() if reason not in (Reason.OWN_CONTACT, Reason.LEAK)},
    Reason.ALIAS_INACTIVE: "",
    Reason.ALIAS_EXPIRED: "",
    Reason.PARENT_INACTIVE: "",
    Reason.SUSPENDED: "SUSPENDED",
    Reason.NOT_READY: "NEVERREADY",
    Reason.FAILING: "NEVERREADY",
    Reason.OWN_DOMAIN: "LOOP",
    Reason.LOOP: "LOOP",
    Reason.SENDING_LIMIT: "SENDLIMIT",
    Reason.NAME_NOT_CREATABLE: "UNKNOWN",
    Reason.NEW_ALIAS_LIMIT: "NEWALIAS",
}
# Whatever comes, once a day is enough: temporary refusals that come again and again (section 2.2 rows 18 and 19), and
# floods of bounces of mail that was never sent.
_ONCE_A_DAY = frozenset({Reason.NOT_READY, Reason.FAILING, Reason.OWN_DOMAIN, Reason.SENDING_LIMIT, Reason.BACKSCATTER})
# Dropped mail that is lost to somebody who should have it, rather than turned away.
_LOST = frozenset(
    {Reason.NOT_READY, Reason.FAILING, Reason.OWN_DOMAIN, Reason.LOOP, Reason.HOPS, Reason.WAITED_TOO_LONG}
)
_CYCLES = frozenset({Reason.LOOP, Reason.HOPS, Reason.OWN_DOMAIN})
# Whoever wrote hears of these by notices of their own (section 4.3), or wants to hear nothing.
_TOLD_OTHERWISE = frozenset(
    {Reason.NOT_AUTHENTICATED, Reason.SENDING_OFF, Reason.NOT_ATTACHED, Reason.SENDING_LIMIT, Reason.RULE}
)
_SOFT = frozenset({Reason.NOT_READY, Reason.FAILING, Reason.SENDING_LIMIT, Reason.QUOTA})
_BY_BEHAVIOUR = frozenset({Reason.ALIAS_INACTIVE, Reason.ALIAS_EXPIRED, Reason.PARENT_INACTIVE})
# What the owner chose not to get.
_CHOSEN = _BY_BEHAVIOUR | {Reason.ALIAS_DELETED, Reason.BLOCKED_SENDER, Reason.NOT_ALLOWED, Reason.RULE}
_BANS = frozenset({Reason.BANNED, Reason.NAME_BANNED, Reason.DESTINATION_BANNED})

_TO_OWNERS: Mapping[Reason, str] = {Reason.BLOCKED_SENDER: "sender is on your block list"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger, and what is known of the things it names.

    reason: None also for one that this release does not know. alias, alias_uuid: None if there is none, or no more.
    came_in: it is mail to the owner, not what the owner writes; only for entries without a copy. was_held: it was
    ended after it had been held. behaviour: what the owner wants for mail to switched-off aliases now. rule: the name
    of the rule that blocked it, '' if that cannot be told. quarantine: the record of a quarantined message whose owner
    wants to hear of it. outbound_id, kind, destination, notice, note: of the copy, None or '' if none was made; note:
    what Postfix said.
    """

    id: LedgerId
    at: datetime
    outcome: Outcome
    reason: Reason | None
    rcpt: str
    sender: str = ""
    client: str = ""
    queue_id: str = ""
    message_id: str = ""
    size_octets: int = 0
    account_id: AccountId | None = None
    alias_id: AliasId | None = None
    alias: str | None = None
    alias_uuid: UUID | None = None
    recipient_id: RecipientId | None = None
    recipient_uuid: UUID | None = None
    came_in: bool = True
    was_held: bool = False
    behaviour: BlockBehaviour | None = None
    rule: str = ""
    quarantine: FailedId | None = None
    outbound_id: OutboundId | None = None
    kind: EmailType | None = None
    destination: str = ""
    notice: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of the ledger, or of the entries that had been queued.

    entries: those that have their end and may be worth telling. queued: those to be looked at again. after, upto: the
    piece; more: another follows at once. accounts: whose mail went out. late_seconds: how old its last entry is.
    forwarded: copies of mail to aliases that went out.
    """

    entries: Sequence[Entry]
    after: LedgerId
    upto: LedgerId
    more: bool
    queued: Sequence[LedgerId] = ()
    accounts: Sequence[AccountId] = ()
    late_seconds: float = 0.0
    forwarded: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """A failed delivery to be written (spec section 7.6).

    sender: '' for the null sender. ir_key: None unless it is a rejection or a rule's. notify: the owner is told, if
    the account's preference allows; recipient_id: whom the mail was for; tell: whom to tell, None the default.
    """

    email_type: str
    bounce_type: BounceType
    status: str
    code: str
    remote_mta: str
    sender: str
    destination: str
    recipient_id: RecipientId | None = None
    ir_key: str | None = None
    notify: bool = False
    tell: RecipientId | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """An event for webhooks; account_id None: only the operator's hear of it."""

    event: Event
    account_id: AccountId | None
    said: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Told:
    """What one entry gives rise to."""

    entry: Entry
    record: Record | None = None
    notices: tuple[Notice, ...] = ()
    announcements: tuple[Announcement, ...] = ()


def near_limit(account_id: AccountId, percent: int) -> Notice:
    """What is told when an account's bandwidth for the month is nearly used up (spec section 2.6)."""
    return Notice(Code.NBL, account_id, data={"percent": min(percent, 100)})


def ir_key(account_id: AccountId, alias_id: AliasId | None, sender: str, client: str, reason: str, at: datetime) -> str:
    """The `ir_dedupe_key` of spec section 7.6: 64 hex digits, equal for equal rejections within one minute (UTC).

    sender: envelope sender, folded, '' for the null sender; client: its address without brackets, '' unknown;
    reason: a value of Reason, or for what others refuse a word or reply code that stands for it.
    """
    return _key(account_id, alias_id, sender, client, reason, at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M"))


def tell(entry: Entry, host: str) -> Told:
    """What is to be made of an entry that has its end. host: how ours calls itself."""
    if entry.account_id is None:
        return Told(entry, announcements=_announcements(entry))
    record = _record(entry, entry.account_id, host)
    return Told(entry, record, _notices(entry, entry.account_id), _announcements(entry))


def _record(entry: Entry, account_id: AccountId, host: str) -> Record | None:
    match entry.outcome, entry.reason:
        case "refused", Reason() as reason:
            return _refused(entry, account_id, reason)
        case "discarded", Reason() as reason if not entry.was_held and entry.kind is None:
            return _dropped(entry, account_id, reason, host)
        case "failed", Reason() as reason:
            return _failed(entry, reason, host)
        case _:
            return None


def _refused(entry: Entry, account_id: AccountId, reason: Reason) -> Record | None:
    """A rejection, unless it was for now: then its sender comes again (spec section 7.7)."""
    if entry.alias_id is None or _is_for_now(entry, reason):
        return None
    if reason in _ONCE_A_DAY:
        # A reply for now or for good: the ledger does not tell.
        return _rejection(entry, account_id, reason, "", once_a_day=True)
    key = _REFUSED.get(reason)
    return None if key is None else _rejection(entry, account_id, reason, str(_CODES[key].code))


def _is_for_now(entry: Entry, reason: Reason) -> bool:
    if reason is Reason.QUOTA:
        at = entry.at.astimezone(UTC)
        return next_month(at) - at <= QUOTA_SOON
    return reason in _BY_BEHAVIOUR and entry.behaviour == "defer"


def _dropped(entry: Entry, account_id: AccountId, reason: Reason, host: str) -> Record | None:
    """Mail that was taken and went nowhere (spec sections 2.4, 4.3 and 9)."""
    if reason is Reason.WAITED_TOO_LONG:
        return _lost(entry, reason, "4.4.7", host)
    if entry.alias_id is not None and reason is Reason.BACKSCATTER:
        return _rejection(entry, account_id, reason, "", once_a_day=True)
    key = _DROPPED.get(reason)
    if key is None or (entry.came_in and entry.alias_id is None and reason is not Reason.RULE):
        return None
    status = _CODES[key].enhanced if key else ""
    if reason in _LOST or (not entry.came_in and reason is not Reason.RULE):
        return _lost(entry, reason, status or "5.2.1", host)
    return _rejection(entry, account_id, reason, status)


def _rejection(entry: Entry, account_id: AccountId, reason: Reason, status: str, *, once_a_day: bool = False) -> Record:
    """Of type IR, or with the key of one and the flow's type for what a rule blocked (spec section 5.5)."""
    ruled = reason is Reason.RULE
    if once_a_day:
        key = _key(account_id, entry.alias_id, "", "", reason, entry.at.astimezone(UTC).strftime("%Y-%m-%d"))
    else:
        key = ir_key(account_id, entry.alias_id, entry.sender.lower(), entry.client, reason, entry.at)
    return Record(
        _flow(entry) if ruled else INBOUND_REJECTION,
        BounceType.RULE if ruled else _type(reason),
        "5.7.1" if ruled else status,
        f"one of your rules blocked it{': ' if entry.rule else ''}{entry.rule}" if ruled else _words(reason),
        f"unknown[{entry.client}]" if entry.client else "",
        entry.sender,
        _destination(entry),
        ir_key=key,
    )


def _lost(entry: Entry, reason: Reason, status: str, host: str) -> Record:
    kind = BounceType.SOFT if reason in _SOFT or status.startswith("4") else BounceType.HARD
    notify = reason not in _CYCLES | _TOLD_OTHERWISE
    destination = _destination(entry)
    return Record(_flow(entry), kind, status, _words(reason), host, entry.sender, destination, notify=notify)


def _failed(entry: Entry, reason: Reason, host: str) -> Record | None:
    """A copy that never left; what the outside world sends back is recorded when it comes."""
    match reason:
        case Reason.REFUSED_BY_POSTFIX:
            why = failure("", entry.note)
            kind, status, code = why.type, why.status, f"smtp; {entry.note}" if entry.note else _words(reason)
        case Reason.DESTINATION_BANNED:
            kind, status, code = BounceType.HARD, "5.7.1", _words(reason)
        case Reason.EXPIRED_IN_QUEUE:
            kind, status, code = BounceType.SOFT, "4.4.7", _words(reason)
        case _:
            return None
    ours = entry.kind is EmailType.NOTIFICATION
    sent = entry.kind in (EmailType.REPLY, EmailType.SEND)
    return Record(
        entry.notice or EmailType.NOTIFICATION.value if ours else _flow(entry),
        kind,
        status,
        code,
        host,
        entry.sender,
        _destination(entry),
        entry.recipient_id,
        notify=not ours,
        # A mailbox that takes no mail takes no notice either; who wrote does.
        tell=entry.recipient_id if sent else None,
    )


def _notices(entry: Entry, account_id: AccountId) -> tuple[Notice, ...]:
    if entry.outcome == "held" and entry.quarantine is not None:
        return (Notice(Code.FDN, account_id, data={"failed_id": entry.quarantine}),)
    ended = entry.outcome == "discarded" and not entry.was_held
    if entry.alias_id is None or entry.reason not in _CYCLES:
        return ()
    if ended or (entry.outcome == "refused" and entry.reason is Reason.OWN_DOMAIN):
        return (Notice(Code.CYC, account_id, data={"alias": _alias(entry), "reason": _words(entry.reason)}),)
    return ()


def _announcements(entry: Entry) -> tuple[Announcement, ...]:
    account_id = entry.account_id
    told = []
    forwards = entry.kind in (None, EmailType.FORWARD)
    if entry.outcome == "delivered" and forwards and account_id is not None and entry.alias_id is not None:
        recipient = None if entry.recipient_uuid is None else str(entry.recipient_uuid)
        said = {**_said(entry), "recipient_id": recipient, "size_octets": entry.size_octets}
        told.append(Announcement(Event.MAIL_FORWARDED, account_id, said))
    if entry.reason in _CHOSEN and _is_blocked(entry, entry.reason) and account_id is not None:
        said = {**_said(entry), "reason": entry.reason.value, "rejected": entry.outcome == "refused"}
        told.append(Announcement(Event.MAIL_BLOCKED, account_id, said))
    if entry.reason in _BANS and entry.outcome in ("refused", "discarded", "failed") and not entry.was_held:
        said = {**_said(entry), "reason": entry.reason.value, "sender": entry.sender, "client": entry.client}
        told.append(Announcement(Event.BAN_HIT, account_id, said))
    return tuple(told)


def _is_blocked(entry: Entry, reason: Reason) -> bool:
    if entry.outcome == "refused":
        return not _is_for_now(entry, reason)
    return entry.outcome == "discarded" and not entry.was_held


def _said(entry: Entry) -> dict[str, object]:
    """What every event about mail says. Never the real address."""
    return {
        "alias": _alias(entry),
        "alias_id": None if entry.alias_uuid is None else str(entry.alias_uuid),
        "queue_id": entry.queue_id,
        "message_id": entry.message_id,
        "at": entry.at.astimezone(UTC).isoformat(),
    }


def _alias(entry: Entry) -> str:
    """The alias, or what was taken for one, without extension."""
    if entry.alias is not None:
        return entry.alias
    local, at, domain = entry.rcpt.rpartition("@")
    return f"{split_extension(local)[0]}{at}{domain}"


def _destination(entry: Entry) -> str:
    """Whom the copy was for; without one the contact of a reply or send, or the recipient as addressed."""
    if entry.destination or entry.came_in:
        return entry.destination or entry.rcpt
    extension = split_extension(entry.rcpt.rpartition("@")[0])[1]
    meant = classify(extension) if extension else None
    return str(meant.contact) if isinstance(meant, Reverse) else entry.rcpt


def _flow(entry: Entry) -> str:
    """F, R or S. Without a copy the ledger tells what the owner writes, but not whether it answers something."""
    if entry.kind is not None:
        return entry.kind.value
    return EmailType.FORWARD.value if entry.came_in else EmailType.REPLY.value


def _type(reason: Reason) -> BounceType:
    if reason is Reason.SPAM:
        return BounceType.SPAM
    return BounceType.SOFT if reason in _SOFT else BounceType.HARD


def _words(reason: Reason) -> str:
    return _TO_OWNERS.get(reason, REASON_TEXTS[reason])


def _key(account_id: AccountId, alias_id: AliasId | None, *told: str) -> str:
    parts = (str(account_id), "" if alias_id is None else str(alias_id), *told)
    return hashlib.sha256("|".join(parts).encode("utf-8", "replace")).hexdigest()
