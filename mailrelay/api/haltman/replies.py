"""Answers in JSON."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON as it is."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # Of strings that are echoed some may have halves of surrogate pairs.
    return Response(text.encode("utf-8", "replace"), status, headers, media_type="application/json; charset=utf-8")


def iso(at: datetime) -> str:
    """`2026-01-30T08:10:18.770Z` (section 2)."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_or_none(at: datetime | None) -> str | None:
    return None if at is None else iso(at)
