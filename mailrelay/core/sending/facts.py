"""What the database knows about a reply or send: whose alias it is, how its owner writes, and what was sent so far.

Asked once for every message to a reverse address, see store/sending.py.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId, AliasId, Parent, RecipientId

ReplyScrub = Literal["quoted", "all", "off"]
LeakPolicy = Literal["warn", "block", "off"]


class Window(StrEnum):
    """What is counted of replies and sends, by the kind in the table of rate windows."""

    SENDS = "reply_send"  # messages to contacts
    NEW_CONTACTS = "new_contact"  # contacts that a send addressed first
    AUTO_REPLIES = "auto_reply"  # for the subject that `auto_reply_subject` gives


@dataclass(frozen=True, slots=True)
class OwnMailbox:
    """A recipient of the account, as one that writes.

    verified: and not pending; whatever is not may be a stranger's. attached: to the alias itself.
    """

    id: RecipientId
    address: Address
    verified: bool
    attached: bool = False
    can_reply_send: bool = True
    require_envelope_match: bool = False
    remove_pgp_keys: bool = True
    remove_pgp_signatures: bool = True


@dataclass(frozen=True, slots=True)
class Manner:
    """How the account wants its replies and sends made (spec Appendix C)."""

    reply_scrub: ReplyScrub = "quoted"
    leak_policy: LeakPolicy = "warn"
    notify_co_recipients: bool = False
    relay_auto_replies: bool = False
    stores_failed: bool = True


@dataclass(frozen=True, slots=True)
class Amount:
    """So many, counted in the minute that begins at `at`."""

    at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What the account has sent within 24 hours, oldest first.

    auto_replied: an automatic answer went from this alias to this contact within 7 days.
    """

    sends: tuple[Amount, ...] = ()
    new_contacts: tuple[Amount, ...] = ()
    auto_replied: bool = False


@dataclass(frozen=True, slots=True)
class SendingInquiry:
    """What is asked about a reverse address.

    opaque: the whole address, whose account, alias and contact are to be found; nothing else is given then. Otherwise
    what is known of the plain one: account_id, and alias_id or the parent under which the alias would be made.
    contact: local part as written, domain folded.
    """

    account_id: AccountId | None = None
    alias_id: AliasId | None = None
    parent: Parent | None = None
    contact: str = ""
    opaque: Address | None = None


@dataclass(frozen=True, slots=True)
class SendingFacts:
    """Everything about one alias and contact that F does not need.

    alias: folded, without extension; None if it is to be created. contact: as asked, or as stored with the opaque
    address; contact_name: '' if none is stored.
    contact_known: a reply or send went there from this alias, or it has an opaque address. suppressed_until: its server
    refused so often that nothing more is sent till then; suppressed_reason: what it said, '' if nothing.
    from_names: of alias, parent and account in this order, '' for none (spec section 4.5).
    sending_verified: the alias' domain may be in From; True where it is not a custom one.
    sends_suspended: replies and sends await the operator's review.
    """

    account_id: AccountId
    alias_id: AliasId | None = None
    alias: Address | None = None
    contact: str = ""
    contact_name: str = ""
    contact_known: bool = False
    suppressed_until: datetime | None = None
    suppressed_reason: str = ""
    mailboxes: tuple[OwnMailbox, ...] = ()
    attached_only: bool = False
    from_names: tuple[str, str, str] = ("", "", "")
    manner: Manner = Manner()
    sending_verified: bool = True
    sends_suspended: bool = False
    spent: Spent = Spent()


def auto_reply_subject(alias_id: AliasId, contact: str) -> str:
    """For what Window.AUTO_REPLIES is counted: one alias and one contact."""
    return f"{alias_id} {contact}"
