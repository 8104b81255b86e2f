"""What an endpoint of this API is: the router, the gate and the OpenAPI document all read it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from mailrelay.api.addy.call import Call
from mailrelay.api.addy.checks import Fields
from mailrelay.core.requests import Limit

Handler = Callable[[Call], Awaitable[Response]]

V1 = "/api/v1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    path: below the prefix, `{id}` at most once. summary: what it is for, with its number in addy-api.md. answer: type
    of the whole JSON body, None for none, `str` for a text. fields: of query or body. limit: besides the one for all.
    texts: bare texts it may answer, with their status. is_open: needs no token. verified: needs the account's default
    recipient verified. is_limited: False exempts it from the limit for all.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: Any = None
    status: int = 200
    fields: Fields = ()
    limit: Limit | None = None
    texts: tuple[tuple[int, str], ...] = ()
    prefix: str = V1
    is_open: bool = False
    verified: bool = True
    is_limited: bool = True

    @property
    def full_path(self) -> str:
        return f"{self.prefix}/{self.path}" if self.path else self.prefix
