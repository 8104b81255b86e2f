"""What the real clients take apart, as strictly as they do (addy-api.md section 7).

iOS fails on every field that is missing, null or of another type; Android takes what is missing for null or 0 but not
another type; the others read a few fields.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Item = TypeVar("Item")

Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
Filled = Annotated[str, Field(min_length=1)]


class Read(BaseModel):
    """Other members are ignored; a number is no text, and 1 is not true."""

    model_config = ConfigDict(strict=True, extra="ignore")


class One(Read, Generic[Item]):
    data: Item


class Link(Read):
    url: str | None
    label: str
    active: bool


class Links(Read):
    first: str
    last: str
    prev: str | None
    next: str | None


class Meta(Read):
    current_page: int
    from_: int | None = Field(alias="from")
    last_page: int
    links: list[Link]
    path: str
    per_page: int
    to: int | None
    total: int


class Page(Read, Generic[Item]):
    data: list[Item]
    links: Links
    meta: Meta


class Version(Read):
    major: int
    minor: int
    patch: int


class Chart(Read):
    forwardsData: list[int]
    repliesData: list[int]
    sendsData: list[int]
    labels: list[str]
    outboundMessageTotals: list[int]


class SignedIn(Read):
    api_key: Annotated[str, Field(pattern=r"^(addy_io_)?[a-zA-Z0-9]+$", min_length=40, max_length=60)]
    name: str
    created_at: Time
    expires_at: Time | None


class Token(Read):
    name: str
    created_at: Time
    expires_at: Time | None


class Options(Read):
    data: Annotated[list[str], Field(min_length=1)]
    sharedDomains: list[str]
    defaultAliasDomain: Filled
    defaultAliasFormat: Filled


class Invalid(Read):
    message: Filled
    errors: Annotated[dict[str, Annotated[list[Filled], Field(min_length=1)]], Field(min_length=1)]


class Message(Read):
    message: str


# --- iOS -----------------------------------------------------------------------------------------------------------


class IosRecipient(Read):
    id: Id
    user_id: Id
    email: str
    can_reply_send: bool
    should_encrypt: bool
    inline_encryption: bool
    protected_headers: bool
    remove_pgp_keys: bool
    remove_pgp_signatures: bool
    fingerprint: str | None = None
    email_verified_at: Time | None = None
    aliases_count: int | None = None
    description: str | None = None
    created_at: Time
    updated_at: Time


class IosAlias(Read):
    id: Id
    user_id: Id
    aliasable_id: str | None = None
    aliasable_type: str | None = None
    local_part: str
    extension: str | None = None
    domain: str
    email: str
    active: bool
    pinned: bool
    attached_recipients_only: bool
    description: str | None = None
    from_name: str | None = None
    emails_forwarded: int
    emails_blocked: int
    emails_replied: int
    emails_sent: int
    recipients: list[IosRecipient] | None = None
    last_forwarded: Time | None = None
    last_blocked: Time | None = None
    last_replied: Time | None = None
    last_sent: Time | None = None
    created_at: Time
    updated_at: Time
    deleted_at: Time | None = None


class IosParent(Read):
    id: Id
    user_id: Id
    description: str | None = None
    from_name: str | None = None
    aliases_count: int | None = None
    default_recipient: IosRecipient | None = None
    active: bool
    catch_all: bool
    auto_create_regex: str | None = None
    created_at: Time
    updated_at: Time


class IosDomain(IosParent):
    domain: str
    domain_verified_at: Time | None = None
    domain_mx_validated_at: Time | None = None
    domain_sending_verified_at: Time | None = None


class IosUsername(IosParent):
    username: str
    can_login: bool


class IosCondition(Read):
    type: str
    match: str
    values: list[str]


class IosAction(Read):
    type: str
    value: bool | str


class IosRule(Read):
    id: Id
    user_id: Id
    name: str
    order: int
    conditions: list[IosCondition]
    actions: list[IosAction]
    operator: str
    forwards: bool
    replies: bool
    sends: bool
    active: bool
    applied: int
    last_applied: Time | None = None
    created_at: Time
    updated_at: Time


class IosFailedDelivery(Read):
    id: Id
    user_id: Id
    recipient_id: str | None = None
    recipient_email: str | None = None
    alias_id: str | None = None
    alias_email: str | None = None
    bounce_type: str
    remote_mta: str
    sender: str | None = None
    destination: str | None = None
    ir_dedupe_key: str | None = None
    type: str
    email_type: str
    email_type_text: str
    status: str
    code: str
    is_stored: bool
    quarantined: bool
    resent: bool
    attempted_at: Time
    created_at: Time
    updated_at: Time


class IosEntry(Read):
    id: Id
    user_id: Id
    value: str
    type: str
    created_at: Time
    updated_at: Time


class IosAccount(Read):
    """Where `subscription` is a word, iOS takes the limits for numbers; ours is null."""

    id: Id
    username: str
    from_name: str | None = None
    email_subject: str | None = None
    banner_location: str
    bandwidth: int
    bandwidth_limit: int
    username_count: int
    username_limit: int
    default_username_id: Id
    default_recipient_id: Id
    default_alias_domain: str
    default_alias_format: str
    subscription: None
    recipient_count: int
    active_domain_count: int
    active_shared_domain_alias_count: int
    active_rule_count: int
    total_emails_forwarded: int
    total_emails_blocked: int
    total_emails_replied: int
    total_emails_sent: int
    total_aliases: int
    total_active_aliases: int
    total_inactive_aliases: int
    total_deleted_aliases: int
    created_at: Time
    updated_at: Time


IOS: Mapping[str, Any] = {
    "GET app-version": Version,
    "GET account-details": One[IosAccount],
    "GET api-token-details": Token,
    "GET domain-options": Options,
    "GET chart-data": Chart,
    "GET aliases": Page[IosAlias],
    "POST aliases": One[IosAlias],
    "GET aliases/*": One[IosAlias],
    "PATCH aliases/*": One[IosAlias],
    "PATCH aliases/*/restore": One[IosAlias],
    "POST aliases/get/bulk": One[list[IosAlias]],
    "POST (active|pinned)-aliases": One[IosAlias],
    "POST attached-recipients-only": One[IosAlias],
    "POST alias-recipients": One[IosAlias],
    "GET recipients": One[list[IosRecipient]],
    "POST recipients": One[IosRecipient],
    "(GET|PATCH) recipients/*": One[IosRecipient],
    "PATCH recipient-keys/*": One[IosRecipient],
    "POST [a-z-]+-recipients": One[IosRecipient],
    "GET domains": One[list[IosDomain]],
    "POST ([a-z-]+-)?domains": One[IosDomain],
    "(GET|PATCH) domains/.+": One[IosDomain],
    "GET usernames": One[list[IosUsername]],
    "POST ([a-z-]+-)?usernames": One[IosUsername],
    "(GET|PATCH) usernames/.+": One[IosUsername],
    "GET rules": One[list[IosRule]],
    "POST (active-)?rules": One[IosRule],
    "(GET|PATCH) rules/*": One[IosRule],
    "GET failed-deliveries": Page[IosFailedDelivery],
    "GET failed-deliveries/*": One[IosFailedDelivery],
    "GET blocklist": Page[IosEntry],
    "POST blocklist": One[IosEntry],
    "POST /api/auth/(login|mfa)": SignedIn,
}


# --- Android: whatever is missing is null or 0, but some of it would be missed ---------------------------------------


class AndroidAccount(Read):
    default_username_id: Id
    default_recipient_id: Id
    default_alias_domain: Filled
    default_alias_format: Filled
    total_pinned_aliases: int
    total_aliases: int
    username_count: int
    username_limit: int
    recipient_count: int
    active_domain_count: int
    active_rule_count: int
    bandwidth: int
    bandwidth_limit: int
    created_at: Time


class AndroidAction(Read):
    type: str
    value: str | bool


class AndroidRule(IosRule):
    actions: list[AndroidAction]  # type: ignore[assignment]  # read as texts, truths as well


class AndroidBulk(Read):
    message: Filled
    ids: list[Id]


ANDROID: Mapping[str, Any] = {
    "GET account-details": One[AndroidAccount],
    "POST aliases/(activate|deactivate|delete|restore|forget|pin|unpin)/bulk": AndroidBulk,
    "GET rules": One[list[AndroidRule]],
    "POST (active-)?rules": One[AndroidRule],
    "(GET|PATCH) rules/*": One[AndroidRule],
    **{one: what for one, what in IOS.items() if "rules" not in one and one != "GET account-details"},
}


# --- browser extension ---------------------------------------------------------------------------------------------


class ExtensionAlias(Read):
    """All that a row of its list shows."""

    id: Id
    email: str
    local_part: str
    extension: str | None
    domain: str
    description: str | None
    active: bool
    pinned: bool
    deleted_at: Time | None
    emails_forwarded: int
    emails_blocked: int
    emails_replied: int
    emails_sent: int
    last_forwarded: Time | None
    last_blocked: Time | None
    last_replied: Time | None
    last_sent: Time | None
    created_at: Time


class ExtensionRecipient(Read):
    id: Id
    email: str


EXTENSION: Mapping[str, Any] = {
    "POST /api/auth/(login|mfa)": SignedIn,
    "GET domain-options": Options,
    "GET recipients": One[list[ExtensionRecipient]],
    "GET aliases": Page[ExtensionAlias],
    "POST aliases": One[ExtensionAlias],
    "PATCH aliases/*": One[ExtensionAlias],
    "POST (active|pinned)-aliases": One[ExtensionAlias],
    "PATCH aliases/*/restore": One[ExtensionAlias],
}


# --- password managers and small tools -----------------------------------------------------------------------------


class BitwardenAlias(Read):
    email: Filled


class KeePassAlias(Read):
    id: Id
    email: Filled


class FlutterAccount(Read):
    """No subscription means a server of one's own."""

    username: str
    subscription: None = None


class FlutterAlias(IosAlias):
    recipients: list[IosRecipient]


BITWARDEN: Mapping[str, Any] = {"POST aliases": One[BitwardenAlias]}
KEEPASS: Mapping[str, Any] = {"POST aliases": One[KeePassAlias]}
FLUTTER: Mapping[str, Any] = {
    "GET account-details": One[FlutterAccount],
    "GET aliases": One[list[FlutterAlias]],
    "(GET|PATCH) aliases/.+": One[FlutterAlias],
    "POST ([a-z-]+-)?aliases": One[FlutterAlias],
    "POST alias-recipients": One[FlutterAlias],
    "GET recipients": One[list[IosRecipient]],
    "GET domains": One[list[IosDomain]],
    "GET usernames": One[list[IosUsername]],
}

CLIENTS: Mapping[str, Mapping[str, Any]] = {
    "ios": IOS,
    "android": ANDROID,
    "extension": EXTENSION,
    "bitwarden": BITWARDEN,
    "keepass": KEEPASS,
    "flutter": FLUTTER,
}


def reads(client: str, method: str, target: str) -> TypeAdapter[Any] | None:
    """What a client makes of the answer to a request of its own; None if it reads nothing of it."""
    path = target.partition("?")[0].removeprefix("/api/v1/")
    for pattern, what in CLIENTS[client].items():
        if re.fullmatch(pattern.replace("/*", "/[^/]+"), f"{method} {path}"):
            return TypeAdapter(what)
    return None
