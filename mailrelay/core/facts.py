"""What the database knows about one recipient address: the values that decisions are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, NewType
from uuid import UUID

from mailrelay.core.address import Address

AccountId = NewType("AccountId", int)
AliasId = NewType("AliasId", int)
RecipientId = NewType("RecipientId", int)
ParentId = NewType("ParentId", int)
BlockedSenderId = NewType("BlockedSenderId", int)

BlockBehaviour = Literal["discard", "reject", "defer"]
ForwardMode = Literal["rewrite", "transparent", "auto"]


@dataclass(frozen=True, slots=True)
class Target:
    """A recipient: a real mailbox that may receive copies."""

    id: RecipientId
    address: Address
    verified: bool  # verified and not pending
    unverified_since: datetime
    failing_since: datetime | None
    probed_at: datetime | None = None  # when a failing one last was tried
    encrypts: bool = False  # its copies are to be encrypted


@dataclass(frozen=True, slots=True)
class Account:
    """The owner. None in a limit: the installation's default; 0: no limit."""

    id: AccountId
    state: Literal["active", "suspended", "deleting"]
    block_behaviour: BlockBehaviour
    forward_mode: ForwardMode | None
    messages_per_hour: int | None
    new_aliases_per_hour: int | None
    bandwidth_octets_per_month: int | None
    created_at: datetime


class ParentKind(StrEnum):
    """What an alias may belong to."""

    USERNAME = "username"
    DOMAIN = "domain"
    HANDLE = "handle"
    CATCH_ALL = "catch_all"  # the installation's catch-all account; no row of its own


@dataclass(frozen=True, slots=True)
class Parent:
    """The username, custom domain or handle that the address belongs to."""

    kind: ParentKind
    id: ParentId
    active: bool
    off: bool  # a handle that was released or does not serve this domain
    catch_all: bool
    auto_create_regex: str | None
    block_behaviour: BlockBehaviour | None
    forward_mode: ForwardMode | None


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias row."""

    id: AliasId
    uuid: UUID
    state: Literal["active", "inactive", "deleted", "forgotten"]
    block_behaviour: BlockBehaviour | None
    forward_mode: ForwardMode | None
    expires_at: datetime | None
    max_forwards: int | None
    emails_forwarded: int
    sender_allow_list: tuple[str, ...] | None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used so far; `_by_sender` counts the mail of this message's sender domain alone (spec section 2.6)."""

    messages: int = 0  # last 3600 s
    messages_by_sender: int = 0
    octets: int = 0  # this calendar month, UTC
    octets_by_sender: int = 0
    new_aliases: int = 0  # last 3600 s
    new_aliases_by_network: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything about one address. account None: nobody owns it."""

    account: Account | None = None
    alias: Alias | None = None
    parent: Parent | None = None
    attached: tuple[Target, ...] = ()
    keyed: tuple[Target, ...] = ()  # chosen by recipient keys; only when there is no alias yet
    parent_default: Target | None = None
    account_default: Target | None = None
    usage: Usage = Usage()
    blocked_by: BlockedSenderId | None = None
    has_block_list: bool = False


NOBODY = Facts()


class Reason(StrEnum):
    """Why a recipient was refused, discarded or failed: the closed list that the ledger and the metrics use."""

    SYNTAX = "syntax"
    BANNED = "banned"
    NAME_BANNED = "name_banned"
    DESTINATION_BANNED = "destination_banned"
    RETURN_PATH_INVALID = "return_path_invalid"
    RETURN_PATH_UNKNOWN = "return_path_unknown"
    SRS_FORGED = "srs_forged"
    LOCAL_SPOOF = "local_spoof"
    NULL_SENDER_MULTI = "null_sender_multi"
    ALIAS_DELETED = "alias_deleted"
    ALIAS_INACTIVE = "alias_inactive"
    ALIAS_EXPIRED = "alias_expired"
    PARENT_INACTIVE = "parent_inactive"
    HANDLE_OFF = "handle_off"
    SUSPENDED = "suspended"
    ACCOUNT_DELETING = "account_deleting"
    NOT_READY = "not_ready"
    FAILING = "failing"
    KEY_UNUSABLE = "key_unusable"
    QUOTA = "quota"
    RATE = "rate"
    BLOCKED_SENDER = "blocked_sender"
    NOT_ALLOWED = "not_on_allow_list"
    UNKNOWN = "unknown"
    NAME_NOT_CREATABLE = "name_not_creatable"
    NEW_ALIAS_LIMIT = "new_alias_limit"
    RESERVED = "reserved"
    NOREPLY = "noreply"
    LOOP = "loop"
    HOPS = "hops"
    TOO_LARGE = "too_large"
    BARE_NEWLINE = "bare_newline"
    BOUNCE = "bounce"
    BOUNCE_REPORT = "bounce_report"
    RETURN_PATH_MAIL = "return_path_mail"
    BACKSCATTER = "backscatter"
    REFUSED_BY_POSTFIX = "refused_by_postfix"
    EXPIRED_IN_QUEUE = "expired_in_queue"
    BAD_FROM = "bad_from"
    DMARC = "dmarc"
    SPAM = "spam"
    OWN_DOMAIN = "own_domain"
    LEAK = "leak"
    SELF_COPY = "self_copy"
    RULE = "rule"
    RULE_QUARANTINE = "rule_quarantine"
    NOT_AUTHENTICATED = "not_authenticated"
    SENDING_OFF = "sending_off"
    NOT_ATTACHED = "not_attached"
    SENDING_SUSPENDED = "sending_suspended"
    SENDING_LIMIT = "sending_limit"
    DOMAIN_UNVERIFIED = "domain_unverified"
    BAD_CONTACT = "bad_contact"
    OWN_CONTACT = "own_contact"
    CONTACT_SUPPRESSED = "contact_suppressed"
    AUTO_REPLY = "auto_reply"
    UNSUBSCRIBE = "unsubscribe"
    WAITED_TOO_LONG = "waited_too_long"
    COMPLAINT = "complaint"


# For answers in words: trace, explain and, later, failed deliveries.
REASON_TEXTS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.SYNTAX: "the address cannot be read",
        Reason.BANNED: "the operator has banned the client or the sender",
        Reason.NAME_BANNED: "the operator has banned this name, or its domain",
        Reason.DESTINATION_BANNED: "the operator has banned the destination",
        Reason.RETURN_PATH_INVALID: "a return path of ours that does not verify or is too old",
        Reason.RETURN_PATH_UNKNOWN: "a return path of ours whose message is no longer recorded",
        Reason.SRS_FORGED: "the sender is an SRS address of ours that does not verify",
        Reason.LOCAL_SPOOF: "the sender's domain is one that only this service sends from",
        Reason.NULL_SENDER_MULTI: "the null sender addressed several recipients at once",
        Reason.ALIAS_DELETED: "alias was deleted",
        Reason.ALIAS_INACTIVE: "alias is deactivated",
        Reason.ALIAS_EXPIRED: "alias has expired",
        Reason.PARENT_INACTIVE: "username, domain or handle is deactivated",
        Reason.HANDLE_OFF: "handle was released or is switched off for this domain",
        Reason.SUSPENDED: "account is suspended",
        Reason.ACCOUNT_DELETING: "account is being deleted",
        Reason.NOT_READY: "no recipient is verified",
        Reason.FAILING: "every recipient is failing",
        Reason.KEY_UNUSABLE: "encryption key unusable",
        Reason.QUOTA: "monthly bandwidth is used up",
        Reason.RATE: "hourly message limit is reached",
        Reason.BLOCKED_SENDER: "sender is on the owner's block list",
        Reason.NOT_ALLOWED: "sender is not on the alias' allow-list",
        Reason.UNKNOWN: "address does not exist",
        Reason.NAME_NOT_CREATABLE: "no alias can have this name",
        Reason.NEW_ALIAS_LIMIT: "too many new aliases within the hour",
        Reason.RESERVED: "address is reserved",
        Reason.NOREPLY: "mail to the no-reply address is dropped",
        Reason.LOOP: "the message has passed this alias before",
        Reason.HOPS: "the message has passed more than 50 hosts",
        Reason.TOO_LARGE: "the message is too large",
        Reason.BARE_NEWLINE: "the message holds a bare CR or LF",
        Reason.BOUNCE: "the destination refused the copy",
        Reason.BOUNCE_REPORT: "a delivery report, recorded on its copy",
        Reason.RETURN_PATH_MAIL: "mail to a return path that is no delivery report",
        Reason.BACKSCATTER: "a bounce of mail that was never sent from here",
        Reason.REFUSED_BY_POSTFIX: "the re-injection listener refused the copy for good",
        Reason.EXPIRED_IN_QUEUE: "the queue gave up before the copy could be handed over",
        Reason.BAD_FROM: "no single author can be read from the From field",
        Reason.DMARC: "the author could not be authenticated (DMARC)",
        Reason.SPAM: "the spam filter is sure",
        Reason.OWN_DOMAIN: "every recipient is at a domain of this service by now",
        Reason.LEAK: "the hidden address would have shown in it",
        Reason.SELF_COPY: "a reply to all, which its author has already",
        Reason.RULE: "a rule of the owner blocks it",
        Reason.RULE_QUARANTINE: "a rule of the owner quarantines it",
        Reason.NOT_AUTHENTICATED: "whoever wrote to the reverse address could not be authenticated",
        Reason.SENDING_OFF: "replying is switched off for the recipient that wrote",
        Reason.NOT_ATTACHED: "only recipients that are attached to the alias may write through it",
        Reason.SENDING_SUSPENDED: "replies and sends await the operator's review",
        Reason.SENDING_LIMIT: "limit of replies and sends is reached",
        Reason.DOMAIN_UNVERIFIED: "ownership of the alias' domain is not verified",
        Reason.BAD_CONTACT: "the contact's address takes no mail",
        Reason.OWN_CONTACT: "the contact is the owner, the alias itself or an address that only this service writes",
        Reason.CONTACT_SUPPRESSED: "the contact refused earlier messages",
        Reason.AUTO_REPLY: "the owner's automatic answers are not passed on",
        Reason.UNSUBSCRIBE: "mail that asks to deactivate an alias, which its owner's mail does",
        Reason.WAITED_TOO_LONG: "it could not be delivered for four days, and nobody is known who could be told",
        Reason.COMPLAINT: "a complaint about spam, recorded on its copy",
    }
)
