"""Confirmation codes: what they are for, how long they live, how many go out (haltman-api.md sections 1.6 and 4)."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, NewType

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId
from mailrelay.core.requests import Limit, Window

ConfirmationId = NewType("ConfirmationId", int)

DIGITS = 6


class Intent(StrEnum):
    """What happens when the code comes back."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    HANDLE_SUBSCRIBE = "handle_subscribe"
    HANDLE_UNSUBSCRIBE = "handle_unsubscribe"
    HANDLE_DOMAIN_DISABLE = "handle_domain_disable"
    HANDLE_DOMAIN_ENABLE = "handle_domain_enable"
    API_KEY_CREATE = "api_key_create"
    API_KEY_LIST = "api_key_list"
    API_KEY_DESTROY_ALL = "api_key_destroy_all"
    PASSWORD_RESET = "password_reset"  # noqa: S105

    @property
    def budget(self) -> "Budget":
        """What its mail counts with."""
        if self in OWNERS_INTENTS:
            return "owner"
        return "reset" if self is Intent.PASSWORD_RESET else "named"

    @property
    def family(self) -> "Family":
        """Codes of one family are told apart; a code of another is unknown there."""
        if self is Intent.PASSWORD_RESET:
            return "reset"
        return "credentials" if self.startswith("api_key_") else "forward"


# What the subjects of mails call it (section 4.5).
_TAGS: Mapping[Intent, str] = MappingProxyType(
    {
        Intent.SUBSCRIBE: "alias:create",
        Intent.UNSUBSCRIBE: "alias:delete",
        Intent.HANDLE_SUBSCRIBE: "handle:create",
        Intent.HANDLE_UNSUBSCRIBE: "handle:delete",
        Intent.HANDLE_DOMAIN_DISABLE: "handle:create",
        Intent.HANDLE_DOMAIN_ENABLE: "handle:create",
        Intent.API_KEY_CREATE: "api-key:create",
        Intent.API_KEY_LIST: "api-key:create",
        Intent.API_KEY_DESTROY_ALL: "api-key:create",
        Intent.PASSWORD_RESET: "Password reset",
    }
)

Family = Literal["forward", "credentials", "reset"]
# Mail to a mailbox that somebody names, to the owner of what somebody names, and to a user who forgot the password.
Budget = Literal["named", "owner", "reset"]
Reason = Literal["cooldown", "rate_limited"]

ALIAS_INTENTS = frozenset({Intent.SUBSCRIBE, Intent.UNSUBSCRIBE})
HANDLE_INTENTS = frozenset(intent for intent in Intent if intent.startswith("handle_"))
OWNERS_INTENTS = frozenset({Intent.UNSUBSCRIBE, *HANDLE_INTENTS - {Intent.HANDLE_SUBSCRIBE}})

# Of one mailbox, whoever asks: strangers can fill nobody's inbox. Each budget for itself: whoever names a mailbox hears
# whether its budget is used up, and would otherwise learn whether an alias, a handle or a user of his choice is behind.
MAX_PENDING = 5
HOURLY = Limit("code-mail-hour", 6, 3600)
DAILY = Limit("code-mail-day", 20, 86400)
BUDGETS: Mapping[Budget, tuple[Limit, Limit]] = MappingProxyType(
    {
        "named": (HOURLY, DAILY),
        "owner": (replace(HOURLY, name="code-mail-owner-hour"), replace(DAILY, name="code-mail-owner-day")),
        "reset": (replace(HOURLY, name="code-mail-reset-hour"), replace(DAILY, name="code-mail-reset-day")),
    }
)

# Tries with a code that there is not, by those who are to be told apart: an address, its /24 or /64, everybody.
_HOUR = 3600
TRIES: Mapping[Literal["code", "reset"], tuple[Limit, Limit, Limit]] = MappingProxyType(
    {
        "code": (
            Limit("guess-address", 10, _HOUR),
            Limit("guess-network", 30, _HOUR),
            Limit("guess", 300, 600),
        ),
        # Few are alive, and each is worth an administrator.
        "reset": (
            Limit("guess-reset-address", 5, _HOUR),
            Limit("guess-reset-network", 10, _HOUR),
            Limit("guess-reset", 30, _HOUR),
        ),
    }
)
# While everybody together guesses too often, each has only that many tries, and waits so long before an answer.
ALARMED_TRIES = 3
ALARMED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Terms:
    """ttl: a code lives so long. cooldown: between two mails for the same. max_sends: None: any number."""

    ttl: timedelta
    cooldown: timedelta = timedelta(seconds=60)
    max_sends: int | None = None

    @property
    def minutes(self) -> int:
        """The ttl, for people."""
        return round(self.ttl.total_seconds() / 60)


TERMS: Mapping[Family, Terms] = MappingProxyType(
    {
        "forward": Terms(timedelta(minutes=10)),
        "credentials": Terms(timedelta(minutes=15), max_sends=3),
        "reset": Terms(timedelta(minutes=15), max_sends=3),
    }
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for. It waits once for each (email, intent, name, domain).

    email: the mailbox that the code goes to. name: local part or handle; domain: of the alias, or that the rule is
    about. account: whose password it is. days, automatic_renew: of an API key. ip: '' if unknown.
    """

    intent: Intent
    email: Address
    name: str = ""
    domain: str = ""
    account: AccountId | None = None
    days: int | None = None
    automatic_renew: bool = False
    ip: str = ""
    user_agent: str = ""

    @property
    def tag(self) -> str:
        """For the subject of the mail."""
        return _TAGS[self.intent]

    @property
    def about(self) -> str:
        """For people; '' for what is about the mailbox."""
        return _about(self.intent, self.name, self.domain)


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a request. sent: a mail goes out; reason: why not.

    expires_at, last_sent_at: of the code that waits; None: none does. next_allowed_at: when asking again may help.
    remaining: mails that may follow for the same code; None: there is no such limit.
    """

    sent: bool
    reason: Reason | None
    expires_at: datetime | None
    last_sent_at: datetime | None
    next_allowed_at: datetime
    send_count: int
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Pending:
    """A request whose code came back in time."""

    id: ConfirmationId
    intent: Intent
    email: Address
    name: str
    domain: str
    account: AccountId | None
    days: int | None
    automatic_renew: bool
    expires_at: datetime

    @property
    def about(self) -> str:
        """As Wanted has it."""
        return _about(self.intent, self.name, self.domain)


@dataclass(frozen=True, slots=True)
class Sent:
    """What went out for the same request, whose code is still alive."""

    count: int
    last_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """How a mailbox stands. same: the same request; others: those of it that wait besides; first_ends_at: of them.

    Of the same budget. windows: of its limits, with what went out in them, as far as they are open.
    """

    same: Sent | None
    others: int = 0
    first_ends_at: datetime | None = None
    windows: Sequence[Window] = ()


def withheld(standing: Standing, terms: Terms, now: datetime) -> Asked | None:
    """Why no mail goes out now; None: one does."""
    same = standing.same
    if same is not None:
        refused = _asked(same, terms, "rate_limited")
        if now < same.last_at + terms.cooldown:
            return replace(refused, reason="cooldown")
        if terms.max_sends is not None and same.count >= terms.max_sends:
            return replace(refused, next_allowed_at=same.expires_at)
    else:
        refused = Asked(False, "rate_limited", None, None, now, 0, terms.max_sends)
        if standing.others >= MAX_PENDING:
            return replace(refused, next_allowed_at=standing.first_ends_at or now)
    full = [window.ends_at for window in standing.windows if window.remaining == 0]
    return replace(refused, next_allowed_at=max(full)) if full else None


def sent(count: int, terms: Terms, now: datetime) -> Asked:
    """A mail goes out, the `count`th for the same request."""
    return _asked(Sent(count, now, now + terms.ttl), terms, None)


def _asked(what: Sent, terms: Terms, reason: Reason | None) -> Asked:
    remaining = None if terms.max_sends is None else max(0, terms.max_sends - what.count)
    next_allowed_at = what.last_at + terms.cooldown
    return Asked(reason is None, reason, what.expires_at, what.last_at, next_allowed_at, what.count, remaining)


def _about(intent: Intent, name: str, domain: str) -> str:
    """An alias, a handle, or `handle @ domain`."""
    match intent:
        case Intent.SUBSCRIBE | Intent.UNSUBSCRIBE:
            return f"{name}@{domain}"
        case Intent.HANDLE_DOMAIN_DISABLE | Intent.HANDLE_DOMAIN_ENABLE:
            return f"{name} @ {domain}"
    return name


def mac(key: bytes, family: Family, code: str) -> bytes:
    """How a code is stored: HMAC-SHA-256, as six digits are soon found from a plain hash."""
    return hmac.digest(key, f"code-v1\0{family}\0{code}".encode("ascii"), hashlib.sha256)


def place(mailbox: str) -> bytes:
    """What a code that waits to be mailed is sealed for: the mailbox, folded."""
    return b"confirmation code\0" + mailbox.encode("utf-8")
