"""What accounts hold and operators manage, as lists and details show it: rows of the database as values."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, Literal, NewType
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.bans import Ban
from mailrelay.core.facts import AccountId, AliasId, BlockBehaviour, BlockedSenderId, ForwardMode, RecipientId

UsernameId = NewType("UsernameId", int)
DomainId = NewType("DomainId", int)
HandleId = NewType("HandleId", int)
TokenId = NewType("TokenId", int)

TokenKind = Literal["addy", "api_key", "app_password"]
BlockType = Literal["email", "domain"]


@dataclass(frozen=True, slots=True)
class Named:
    """The account of this name, or the implicit account of this folded mailbox."""

    name: str


@dataclass(frozen=True, slots=True)
class ImplicitFor:
    """The account of whoever controls a mailbox; it is made when there is none (design section 4)."""

    mailbox: Address


Owner = Named | ImplicitFor | AccountId


@dataclass(frozen=True, slots=True)
class Owned:
    """Something of this account by its UUID. What belongs to others is Absent, like what never was."""

    account: AccountId
    uuid: UUID


@dataclass(frozen=True, slots=True)
class OwnedSet:
    """Several of one kind. What the account does not have counts for nothing."""

    account: AccountId
    uuids: tuple[UUID, ...]


class Keep(Enum):
    """In a change: this field stays as it is. (None is a value: the parent's or the installation's default.)"""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class KnownDomain:
    """A domain of ours. account None: shared by everybody."""

    name: str
    account: AccountId | None
    verified: bool


@dataclass(frozen=True, slots=True)
class Ground:
    """What a new name or mailbox is checked against: our domains at or above its domain, and bans not revoked."""

    domains: tuple[KnownDomain, ...]
    bans: tuple[Ban, ...]


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account. name: what it signs in with, or the mailbox of an implicit one; username: the default one."""

    id: AccountId
    uuid: UUID
    name: str
    implicit: bool
    state: Literal["active", "suspended", "deleting"]
    state_reason: str | None
    is_admin: bool
    has_password: bool
    has_second_factor: bool
    username: str | None
    default_recipient: str | None
    created_at: datetime
    last_login_at: datetime | None


@dataclass(frozen=True, slots=True)
class Holdings:
    """How much an account has; aliases without deleted ones."""

    recipients: int
    usernames: int
    domains: int
    aliases: int
    handles: int
    tokens: int


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account that somebody signs in to. password_hash: PHC string; username: None for none."""

    name: str
    username: str | None
    recipient: Address
    verified: bool
    is_admin: bool
    password_hash: str | None


@dataclass(frozen=True, slots=True)
class RecipientRecord:
    """A real mailbox of an account. is_default: the account's aliases go there unless they say otherwise.

    fingerprint None: it has no key. encryption_failure None: the account's. key_expires_at: since or until when the key
    cannot be used.
    """

    id: RecipientId
    uuid: UUID
    account: str
    address: str
    verified_at: datetime | None
    is_default: bool
    can_reply_send: bool
    should_encrypt: bool
    inline_encryption: bool
    protected_headers: bool
    encryption_failure: Literal["hold", "stub", "plain"] | None
    never_plaintext: bool
    fingerprint: str | None
    key_expires_at: datetime | None
    key_checked_at: datetime | None
    failing_since: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class UsernameRecord:
    """A name that gives its account `<name>.<shared domain>` for every shared domain."""

    id: UsernameId
    uuid: UUID
    account: str
    name: str
    is_default: bool
    active: bool
    catch_all: bool
    auto_create_regex: str | None
    default_recipient: str | None
    can_login: bool
    description: str | None
    from_name: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class UsernameChange:
    """auto_create_regex: checked. default_recipient: a verified one of the account's, by address or UUID."""

    active: bool | Keep = KEEP
    catch_all: bool | Keep = KEEP
    auto_create_regex: str | Keep | None = KEEP
    default_recipient: Address | UUID | Keep | None = KEEP
    can_login: bool | Keep = KEEP
    description: str | Keep | None = KEEP
    from_name: str | Keep | None = KEEP


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """A mail domain. account None: shared by everybody."""

    id: DomainId
    uuid: UUID
    name: str
    account: str | None
    shared: bool
    active: bool
    visible: bool
    catch_all: bool
    auto_create_regex: str | None
    default_recipient: str | None
    description: str | None
    from_name: str | None
    verified_at: datetime | None
    mx_verified_at: datetime | None
    sending_verified_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewDomain:
    """account None: shared, which always counts as verified. verified: the ownership was checked; with_mx: the MX, too.

    with_ui: it may show the web interface. name: folded, in A-labels. keys_later: it has no signing keys yet, the
    worker shall make them.
    """

    name: str
    account: Owner | None
    verified: bool
    catch_all: bool
    with_mx: bool = True
    keys_later: bool = False
    with_ui: bool = False
    active: bool = True
    visible: bool = True


@dataclass(frozen=True, slots=True)
class DomainChange:
    """auto_create_regex: checked. visible matters for shared domains, what concerns new names for custom ones.

    default_recipient: a verified one of the account's, by address or UUID.
    """

    active: bool | Keep = KEEP
    visible: bool | Keep = KEEP
    catch_all: bool | Keep = KEEP
    auto_create_regex: str | Keep | None = KEEP
    default_recipient: Address | UUID | Keep | None = KEEP
    description: str | Keep | None = KEEP
    from_name: str | Keep | None = KEEP


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """An alias. account None: forgotten; recipients: the attached ones, none: the default applies."""

    id: AliasId
    uuid: UUID
    address: str
    account: str | None
    state: Literal["active", "inactive", "deleted", "forgotten"]
    recipients: tuple[str, ...]
    description: str | None
    forward_mode: ForwardMode | None
    block_behaviour: BlockBehaviour | None
    emails_forwarded: int
    emails_blocked: int
    emails_replied: int
    emails_sent: int
    last_forwarded: datetime | None
    expires_at: datetime | None
    created_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewAlias:
    """recipients: verified ones of the owner's, none: the default; username: label of a username's domain, or ''."""

    local: str
    domain: str
    owner: Owner
    recipients: tuple[Address, ...]
    username: str = ""
    description: str | None = None


@dataclass(frozen=True, slots=True)
class AliasChange:
    """recipients: take the place of the attached ones, in this order; none: the default applies."""

    forward_mode: ForwardMode | Keep | None = KEEP
    block_behaviour: BlockBehaviour | Keep | None = KEEP
    description: str | Keep | None = KEEP
    from_name: str | Keep | None = KEEP
    pinned: bool | Keep = KEEP
    attached_recipients_only: bool | Keep = KEEP
    recipients: tuple[Address, ...] | tuple[UUID, ...] | Keep = KEEP


@dataclass(frozen=True, slots=True)
class NewHandle:
    """recipient: a verified one of the owner's; None: the account's default."""

    local: str
    owner: Owner
    recipient: Address | None


@dataclass(frozen=True, slots=True)
class HandleRecord:
    """A local part that one owner has on all shared domains, except those in off."""

    id: HandleId
    uuid: UUID
    local_part: str
    account: str | None
    state: Literal["active", "inactive", "released"]
    recipient: str | None
    off: tuple[str, ...]
    created_at: datetime
    released_at: datetime | None


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token without its secret. display: a few characters to tell it apart; owner_email: API keys only."""

    id: TokenId
    uuid: UUID
    account: str
    kind: TokenKind
    name: str
    display: str
    owner_email: str | None
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """hash: SHA-256 of the whole token. created_ip, user_agent: of whoever asked for it over HTTP."""

    kind: TokenKind
    name: str
    hash: bytes
    display: str
    expires_at: datetime | None
    owner_email: str | None = None
    automatic_renew: bool = False
    created_ip: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class NewAppPassword:
    """password_hash: argon2id, PHC string. display: the first characters of the password, by which it is found."""

    name: str
    password_hash: str
    display: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """An entry of an account's own block list. alias None: for all its aliases."""

    id: BlockedSenderId
    uuid: UUID
    account: str
    type: BlockType
    value: str
    alias: str | None
    blocked: int
    last_blocked: datetime | None
    created_at: datetime
    updated_at: datetime
