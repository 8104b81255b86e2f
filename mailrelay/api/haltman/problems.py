"""Answers that say no (haltman-api.md section 2.9)."""

from collections.abc import Mapping
from datetime import datetime
from math import ceil
from typing import Any

from starlette.responses import Response

from mailrelay.api.haltman.messages import SENTENCES
from mailrelay.api.haltman.replies import answer, iso
from mailrelay.core.suspects import BanHit


class Problem(Exception):
    """error: the code that programs read; ok: False where the original says so as well; members: beside it."""

    def __init__(
        self,
        status: int,
        error: str,
        /,
        ok: bool | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.ok = ok
        self.members = members
        self.headers = dict(headers or {})

    def response(self, request_id: str) -> Response:
        """JSON with one sentence for people."""
        content: dict[str, Any] = {} if self.ok is None else {"ok": self.ok}
        content |= {"error": self.error, **self.members}
        content.setdefault("message", SENTENCES.get(self.error, "The request cannot be carried out."))
        content["code"] = self.status
        if self.status >= 500:
            content["requestId"] = request_id
        return answer(content, self.status, self.headers)


def invalid(
    field: str,
    reason: str | None = None,
    *,
    hint: str | None = None,
    constraints: Mapping[str, str] | None = None,
    ok: bool | None = None,
    **members: Any,
) -> Problem:
    """400 for one member of the request."""
    said: dict[str, Any] = {"reason": reason, "hint": hint, "constraints": constraints}
    return Problem(
        400,
        "invalid_params",
        ok=ok,
        field=field,
        **{key: one for key, one in said.items() if one is not None},
        **members,
    )


def shown(hit: BanHit) -> dict[str, Any]:
    """A ban as those see it whom it hits (section 1.8)."""
    return {"ban_type": hit.type, "ban_value": hit.value, "reason": hit.reason, "banned_at": iso(hit.created_at)}


def banned(hit: BanHit, **members: Any) -> Problem:
    return Problem(403, "banned", ban=shown(hit), **members)


def rate_limited(where: str, reason: str, ends_at: datetime, now: datetime) -> Problem:
    seconds = max(1, ceil((ends_at - now).total_seconds()))
    headers = {"Retry-After": str(seconds)}
    return Problem(429, "rate_limited", where=where, reason=reason, retry_after_seconds=seconds, headers=headers)
