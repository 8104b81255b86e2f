"""Who gets a notification, if anybody does (spec section 8.4)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from mailrelay.core.address import Address, BadAddress, parse_address
from mailrelay.core.bans import BanBook
from mailrelay.core.facts import RecipientId
from mailrelay.core.jobs import JobId
from mailrelay.core.notices import KINDS, UNVERIFIED, Code, Limit, Notice
from mailrelay.core.realm import Realm

# The setting failed_delivery_notification_preference.
_NO_QUARANTINES, _QUARANTINES_ONLY, _NOTHING = 1, 2, 3

# They go to banned mailboxes as well.
_UNBANNED = frozenset({Code.CNF, Code.PWC, Code.ADW, Code.ADC})
# What has no sense without a link that works.
_BARE_USELESS = frozenset({Code.VU, Code.VR, Code.RP})


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A recipient as notices see it. verified: and not pending."""

    id: RecipientId
    uuid: UUID
    address: str
    verified: bool
    failing: bool
    never_plaintext: bool

    @property
    def works(self) -> bool:
        return self.verified and not self.failing


@dataclass(frozen=True, slots=True)
class Ground:
    """What decides about one notice. state None: there is no such account.

    recipient: the one that the notice names; default: the account's; other: one that works, if possible at a domain
    that is not served here.
    quarantined: of the failed delivery that it is about, None if that is gone, or it is about none. missed: the
    recipient that its mail did not reach, though it was no spam.
    """

    state: Literal["active", "suspended", "deleting"] | None = None
    preference: int = 0
    never_plaintext: bool = False
    recipient: Mailbox | None = None
    default: Mailbox | None = None
    other: Mailbox | None = None
    quarantined: bool | None = None
    missed: RecipientId | None = None


@dataclass(frozen=True, slots=True)
class Going:
    """The notice goes to this address. mailbox None: no recipient of ours. stub: without its content."""

    address: Address
    mailbox: Mailbox | None
    stub: bool = False


@dataclass(frozen=True, slots=True)
class Spared:
    """Nobody is told. unwanted: by its owner's choice, or out of date; undeliverable: there is no place for it."""

    outcome: Literal["unwanted", "undeliverable"]
    why: str


@dataclass(frozen=True, slots=True)
class Admission:
    """A notice that is to be counted. subject: what for; mailbox: where it would go, None: no recipient of ours."""

    job_id: JobId
    notice: Notice
    limit: Limit
    subject: str
    mailbox: RecipientId | None


def admission(job_id: JobId, notice: Notice, going: Going) -> Admission | None:
    """How a notice is to be counted, None if there may be any number of them."""
    limit = KINDS[notice.code].limit
    if limit is None:
        return None
    number = going.mailbox.id if going.mailbox is not None else None
    subject = notice.counted_for or (going.address.folded if number is None else str(number))
    return Admission(job_id, notice, limit, subject, number)


def route(
    notice: Notice, ground: Ground, realm: Realm, bans: BanBook, now: datetime, *, linked: bool
) -> Going | Spared:
    """Where a notice goes. linked: there are links to put into it."""
    spared = _of_account(notice, ground) or _by_choice(notice, ground) or _too_late(notice, now)
    if spared is not None:
        return spared
    if notice.code in _BARE_USELESS and not linked:
        return Spared("undeliverable", "no links can be made")
    place = _place(notice, ground, realm)
    if isinstance(place, Spared):
        return place
    text, mailbox = place
    try:
        address = parse_address(text)
    except BadAddress:
        return Spared("undeliverable", "the address cannot be read")
    if realm.locate(address.domain) is not None:
        return Spared("undeliverable", "the address is ours")
    # Whoever asked for a code passed the bans that count for what he asked: the banned may leave. Nor do bans count for
    # who administers the service.
    if notice.code not in _UNBANNED and bans.mailbox(address.folded, "destination", now) is not None:
        return Spared("undeliverable", "the address is banned")
    sealed = mailbox is not None and (mailbox.never_plaintext or ground.never_plaintext)
    return Going(address, mailbox, stub=sealed and KINDS[notice.code].encrypted)


def _of_account(notice: Notice, ground: Ground) -> Spared | None:
    if notice.account_id is None:
        return None
    if ground.state is None or ground.state == "deleting":
        return Spared("undeliverable", "the account is gone")
    if ground.state == "suspended" and notice.code not in UNVERIFIED:
        return Spared("undeliverable", "the account is suspended")
    return None


def _by_choice(notice: Notice, ground: Ground) -> Spared | None:
    """failed_delivery_notification_preference: 0 all, 1 only failures, 2 only what was quarantined, 3 none."""
    match notice.code:
        case Code.FDN if ground.quarantined is None:
            return Spared("unwanted", "the failed delivery is gone")
        case Code.FDN if ground.preference == (_NO_QUARANTINES if ground.quarantined else _QUARANTINES_ONLY):
            return Spared("unwanted", "not wanted by choice")
        case Code.FDN | Code.FDN_DIGEST if ground.preference == _NOTHING:
            return Spared("unwanted", "not wanted by choice")
        case Code.VR if ground.recipient is not None and ground.recipient.verified:
            return Spared("unwanted", "verified meanwhile")
    return None


def _too_late(notice: Notice, now: datetime) -> Spared | None:
    """A code that waited for a Postfix or database that was away, until it was worth nothing."""
    expires = str(notice.data.get("expires", ""))
    if notice.code not in (Code.CNF, Code.PWC) or not expires or now < datetime.fromisoformat(expires):
        return None
    return Spared("unwanted", "the code has expired")


def _place(notice: Notice, ground: Ground, realm: Realm) -> tuple[str, Mailbox | None] | Spared:
    to = KINDS[notice.code].to
    if to == "address":
        if named := str(notice.data.get("address", "")):
            return named, None
        if ground.recipient is None:
            return Spared("undeliverable", "there is no address")
        return ground.recipient.address, ground.recipient
    asked = (ground.recipient, ground.default, ground.other) if to == "recipient" else (ground.default, ground.other)
    known = [mailbox for mailbox in asked if mailbox is not None and mailbox.verified]
    if not known:
        return Spared("undeliverable", "no recipient is verified")
    # One that fails would not get it, and would fail once more; one that is served here by now gets nothing at all.
    chosen = min(known, key=lambda one: (_is_ours(one, realm), not one.works, one.id == ground.missed))
    return chosen.address, chosen


def _is_ours(mailbox: Mailbox, realm: Realm) -> bool:
    return realm.locate_text(mailbox.address.rpartition("@")[2]) is not None
