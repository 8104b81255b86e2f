"""Who asks over HTTP, and how often they may (addy-api.md sections 1.3 and 1.11)."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from mailrelay.core.facts import AccountId
from mailrelay.core.records import TokenId

_UUID = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
MAX_TOKEN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many requests in a fixed window, which the first one opens. name: of the bucket they share."""

    name: str
    requests: int
    seconds: int = 60


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token as it was presented. hash: SHA-256 of all of it; uuid: of the row it claims to be, if it claims one."""

    hash: bytes
    uuid: UUID | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. token 0: nobody with a token."""

    account: AccountId
    account_uuid: UUID
    token: TokenId
    token_name: str
    token_created_at: datetime | None
    token_expires_at: datetime | None


NOBODY = Caller(AccountId(0), UUID(int=0), TokenId(0), "", None, None)


@dataclass(frozen=True, slots=True)
class Window:
    """How a limit stands with this request counted. opened_at: when its window began."""

    limit: Limit
    hits: int
    opened_at: datetime

    @property
    def is_over(self) -> bool:
        return self.hits > self.limit.requests

    @property
    def remaining(self) -> int:
        return max(0, self.limit.requests - self.hits)

    @property
    def ends_at(self) -> datetime:
        return self.opened_at + timedelta(seconds=self.limit.seconds)


@dataclass(frozen=True, slots=True)
class Admission:
    """What is known of a request before it is carried out. is_verified: the account's default recipient is."""

    caller: Caller
    is_verified: bool
    is_suspended: bool
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Shut:
    """The operator has banned the client."""


SHUT = Shut()


def uuid_in(text: str) -> UUID | None:
    """What 8-4-4-4-12 hexadecimal digits spell, in either case and any version; None for other text.

    UUID itself takes braces, hyphens anywhere and none at all.
    """
    return UUID(text) if _UUID.fullmatch(text) else None


def bearer(authorization: str) -> Bearer | None:
    """The token of an Authorization header: after its last `Bearer `, up to a comma; None if there is none.

    `<uuid>|<token>` names its row. The checksum at the end of a token is not verified.
    """
    at = authorization.lower().rfind("bearer ")
    token = authorization[at + 7 :].partition(",")[0].strip() if at >= 0 else ""
    if not token or len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
        return None
    row, bar, secret = token.partition("|")
    if not bar:
        return Bearer(hashlib.sha256(token.encode()).digest(), None)
    number = uuid_in(row)
    return None if number is None else Bearer(hashlib.sha256(secret.encode()).digest(), number)


def windows(limits: Sequence[Limit], counted: Sequence[tuple[str, int, datetime]]) -> tuple[Window, ...]:
    """Limits with what was counted for them. counted: name of the bucket, hits, when its window began."""
    found = {name: (hits, opened_at) for name, hits, opened_at in counted}
    return tuple(Window(limit, *found[limit.name]) for limit in limits if limit.name in found)
