"""One request as handlers see it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mailrelay.api.haltman.problems import invalid
from mailrelay.core.people import KeyHolder, Session

# As JSON has it; of forms and queries a text, or a list of them where a name stands several times.
Value = None | bool | int | float | str | list[Any] | dict[str, Any]

_ID = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    client: address of whoever asks, '' if unknown; origin: what limits count for them; id: of the path, as sent;
    base_url: of the site that the user sees, without a slash at its end, '' if unknown. notes: what the log of API keys
    says besides.
    """

    method: str
    path: str
    query: Mapping[str, Value]
    body: Mapping[str, Value]
    id: str
    client: str
    origin: str
    user_agent: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    base_url: str
    request_id: str
    now: datetime
    found_session: Session | None = None
    found_holder: KeyHolder | None = None
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def session(self) -> Session:
        """Of endpoints that need one."""
        assert self.found_session is not None
        return self.found_session

    @property
    def holder(self) -> KeyHolder:
        """Of endpoints that need a key."""
        assert self.found_holder is not None
        return self.found_holder

    @property
    def actor(self) -> str:
        """Who it is, for the audit."""
        if self.found_session is not None:
            return f"admin:{self.found_session.user.id}"
        return "public" if self.found_holder is None else f"key:{self.found_holder.token}"

    @property
    def accepts_html(self) -> bool:
        return "text/html" in self.headers.get("Accept", "").lower()

    def member(self, name: str) -> Value:
        """Of the body, else of the query; None if it is in neither."""
        return self.body[name] if name in self.body else self.query.get(name)

    def number(self) -> int:
        """The id of the path. Raises Problem for what is no positive integer."""
        found = int(self.id) if _ID.fullmatch(self.id) else 0
        if not found:
            raise invalid("id")
        return found
