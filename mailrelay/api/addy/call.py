"""One request as handlers see it, and the answers they give."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.responses import Response

from mailrelay.api.addy.checks import uuid_of
from mailrelay.api.addy.php import Pairs, Value
from mailrelay.api.addy.problems import NotFound
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Owned
from mailrelay.core.requests import Caller

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request that may be carried out.

    input: query and body merged and trimmed; query: the parameters as they came; id: the path's, as sent, or '';
    url: of the path, without query; client: address of whoever asks, '' if unknown; headers: by name, in any case.
    Endpoints that need no token have the caller NOBODY.
    """

    caller: Caller
    input: Mapping[str, Value]
    query: Pairs
    id: str
    url: str
    client: str
    now: datetime
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def account(self) -> AccountId:
        return self.caller.account

    @property
    def actor(self) -> str:
        """Who it is, for the audit."""
        return f"token:{self.caller.token}"

    def owned(self, model: str, raw: object = "") -> Owned:
        """What the path names, or another id that was sent. Raises NotFound for what is no UUID.

        model: what it would be, in the original's words; raw: an id from elsewhere.
        """
        sent = raw if raw != "" else self.id
        number = uuid_of(sent)
        if number is None:
            raise NotFound(model, sent)
        return Owned(self.account, number)


def body(content: Mapping[str, Any] | list[Any], status: int = 200) -> Response:
    """JSON as it is."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # Of strings that were stored none has halves of surrogate pairs; those that are echoed may.
    return Response(text.encode("utf-8", "replace"), status, media_type=_JSON)


def data(content: Any, status: int = 200) -> Response:
    """One object or list, wrapped."""
    return body({"data": content}, status)


def empty(status: int = 204) -> Response:
    """No content."""
    return Response(status_code=status)


def timestamp(at: datetime) -> str:
    """`2019-10-01 09:00:00`, UTC (section 1.7)."""
    return at.astimezone(UTC).isoformat(" ")[:19]


def timestamp_or_none(at: datetime | None) -> str | None:
    return None if at is None else timestamp(at)


def id_text(number: UUID | None) -> str | None:
    return None if number is None else str(number)
