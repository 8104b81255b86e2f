"""The caller's token and account, what the service announces, and its version (addy-api.md section 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.addy.call import Call, body, data, id_text, timestamp, timestamp_or_none
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.problems import UNAUTHENTICATED, Plain, Text
from mailrelay.api.addy.shapes import Data
from mailrelay.core.facts import AccountId
from mailrelay.core.own_account import AccountDetails, Announcement

_NO_TOKEN = (404, "Current token could not be found")


class Token(TypedDict):
    name: str
    created_at: str
    expires_at: str | None


class Account(TypedDict):
    """Without a subscription, so limits may be null: where `subscription` is a word, iOS takes them for numbers."""

    id: str
    username: str
    from_name: str | None
    email_subject: str | None
    banner_location: str
    spam_warning_behaviour: str
    bandwidth: int
    bandwidth_limit: int
    username_count: int
    username_limit: int
    default_username_id: str | None
    default_recipient_id: str | None
    default_alias_domain: str
    default_alias_format: str
    alias_separator: str
    subscription: None
    subscription_type: None
    subscription_ends_at: None
    recipient_count: int
    recipient_limit: None
    active_domain_count: int
    active_domain_limit: None
    active_shared_domain_alias_count: int
    active_shared_domain_alias_limit: None
    active_rule_count: int
    active_rule_limit: None
    total_emails_forwarded: int
    total_emails_blocked: int
    total_emails_replied: int
    total_emails_sent: int
    total_aliases: int
    total_active_aliases: int
    total_inactive_aliases: int
    total_pinned_aliases: int
    total_deleted_aliases: int
    disabled: bool
    created_at: str
    updated_at: str


class Notification(TypedDict):
    id: str
    category: str
    title: str
    text: str
    link: str | None
    link_text: str | None
    created_at: str


class Version(TypedDict):
    version: str
    major: int
    minor: int
    patch: int


class Accounts(Protocol):
    """As store/own_account.py. All raise Unavailable."""

    async def details(self, account: AccountId) -> AccountDetails | None: ...
    async def announcements(self, account: AccountId) -> Sequence[Announcement]: ...


@dataclass(frozen=True, slots=True)
class Manner:
    """How the installation wants to appear. version: level of the API, such as 1.6.2; username_limit: of an account."""

    version: str
    details_as_list: bool
    username_limit: int


@dataclass(frozen=True, slots=True)
class AccountEndpoints:
    accounts: Accounts
    manner: Manner

    def endpoints(self) -> tuple[Endpoint, ...]:
        # As the reference page has it; the apps cannot read that.
        shape = Data[list[Account]] if self.manner.details_as_list else Data[Account]
        return (
            Endpoint("GET", "api-token-details", self.token, "E01 The token in use", Token, texts=(_NO_TOKEN,)),
            Endpoint("GET", "account-details", self.details, "E02 The account", shape),
            Endpoint("GET", "account-notifications", self.notifications, "E03 Announcements", Data[list[Notification]]),
            Endpoint("GET", "app-version", self.version, "E21 The level of this API", Version),
        )

    async def token(self, call: Call) -> Response:
        caller = call.caller
        if caller.token_created_at is None:
            raise Text(*_NO_TOKEN)
        shape: Token = {
            "name": caller.token_name,
            "created_at": timestamp(caller.token_created_at),
            "expires_at": timestamp_or_none(caller.token_expires_at),
        }
        return body(shape)

    async def details(self, call: Call) -> Response:
        found = await self.accounts.details(call.account)
        if found is None:
            raise Plain(*UNAUTHENTICATED)  # deleted in this moment, and its tokens with it
        account = account_shape(found, self.manner.username_limit)
        return data([account] if self.manner.details_as_list else account)

    async def notifications(self, call: Call) -> Response:
        return data([_notification(one) for one in await self.accounts.announcements(call.account)])

    async def version(self, _: Call) -> Response:
        numbers = [int(part) for part in self.manner.version.split(".") if part]
        major, minor, patch = [*numbers, 0, 0, 0][:3]
        shape: Version = {"version": self.manner.version, "major": major, "minor": minor, "patch": patch}
        return body(shape)


def account_shape(found: AccountDetails, username_limit: int) -> Account:
    """Section 2.6."""
    held = found.holding
    return {
        "id": str(found.uuid),
        "username": found.username,
        "from_name": found.from_name,
        "email_subject": found.email_subject,
        "banner_location": found.banner_location,
        "spam_warning_behaviour": found.spam_warning_behaviour,
        "bandwidth": held.bandwidth_octets,
        "bandwidth_limit": found.bandwidth_limit_octets,
        "username_count": held.usernames,
        "username_limit": username_limit,
        "default_username_id": id_text(found.default_username),
        "default_recipient_id": id_text(found.default_recipient),
        "default_alias_domain": found.default_alias_domain,
        "default_alias_format": found.default_alias_format,
        "alias_separator": found.alias_separator,
        "subscription": None,
        "subscription_type": None,
        "subscription_ends_at": None,
        "recipient_count": held.recipients,
        "recipient_limit": None,
        "active_domain_count": held.active_domains,
        "active_domain_limit": None,
        "active_shared_domain_alias_count": held.shared,
        "active_shared_domain_alias_limit": None,
        "active_rule_count": held.active_rules,
        "active_rule_limit": None,
        "total_emails_forwarded": held.forwarded,
        "total_emails_blocked": held.blocked,
        "total_emails_replied": held.replied,
        "total_emails_sent": held.sent,
        "total_aliases": held.aliases,
        "total_active_aliases": held.active,
        "total_inactive_aliases": held.inactive,
        "total_pinned_aliases": held.pinned,
        "total_deleted_aliases": held.deleted,
        "disabled": found.suspended,
        "created_at": timestamp(found.created_at),
        "updated_at": timestamp(found.updated_at),
    }


def _notification(one: Announcement) -> Notification:
    return {
        "id": str(one.uuid),
        "category": one.category,
        "title": one.title,
        "text": one.text,
        "link": one.link,
        "link_text": one.link_text,
        "created_at": timestamp(one.created_at),
    }
