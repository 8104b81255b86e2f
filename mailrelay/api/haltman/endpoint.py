"""What an endpoint of this API is: the router, the gate and the OpenAPI document all read it."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from starlette.responses import Response

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import Fields
from mailrelay.api.haltman.names import api_key, trimmed
from mailrelay.api.haltman.problems import Problem

Handler = Callable[[Call], Awaitable[Response]]

ROOT = "/api"
# Section 2.4.
NO_STORE: Final[Mapping[str, str]] = MappingProxyType(
    {"Cache-Control": "no-store, private", "Pragma": "no-cache", "Referrer-Policy": "no-referrer"}
)


class Access(Enum):
    """Who may: everybody, holders of an API key, administrators with a session."""

    OPEN = "open"
    KEY = "key"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit of section 2.10 in a fixed window, which the first request opens.

    subject: what is counted for, '' for nothing; delay_ms: it refuses nobody, but each request beyond the limit waits
    so much longer.
    """

    name: str
    limit: int
    seconds: int
    subject: Callable[[Call], str]
    where: str = ""
    reason: str = ""
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    path: below /api, `{id}` at most once. summary: what it is for, with its section. answer: type of the JSON body of a
    success; also: other statuses that it comes with. rules: in their order, without the one for all. query, body:
    members that it knows. errors: status and code besides those that every endpoint has. safe: a GET that changes
    nothing, so that HEAD may be answered. operation: what the log of API keys calls it.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: Any = None
    status: int = 200
    also: tuple[int, ...] = ()
    access: Access = Access.OPEN
    rules: tuple[Rule, ...] = ()
    query: Fields = ()
    body: Fields = ()
    errors: tuple[tuple[int, str], ...] = ()
    caching: Mapping[str, str] = field(default_factory=lambda: NO_STORE)
    safe: bool = False
    operation: str = "api_request"
    root: str = ROOT
    refusal: Callable[[Problem], Response] | None = None

    @property
    def full_path(self) -> str:
        return f"{self.root}/{self.path}"


def by_origin(call: Call) -> str:
    """The client, or the source that a bot names."""
    return call.origin


def by_key(call: Call) -> str:
    """The API key of the header, if it is one."""
    key = api_key(call.headers.get("X-API-Key", ""))
    return "" if key is None else hashlib.sha256(key.encode()).hexdigest()


def by_member(name: str) -> Callable[[Call], str]:
    """A member of the body or query."""
    return lambda call: trimmed(call.member(name))
