"""The two cookies of a dashboard session (haltman-api.md section 2.6 c)."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from starlette.responses import Response

from mailrelay.api.haltman.gate import ACCESS_COOKIE, REFRESH_COOKIE
from mailrelay.core.sessions import Granted

_NEVER = "Expires=Thu, 01 Jan 1970 00:00:00 GMT"


@dataclass(frozen=True, slots=True)
class Cookies:
    """Browsers take names with __Host- only with Secure and Path=/ (RFC 6265bis section 4.1.3.2)."""

    same_site: Literal["lax", "strict", "none"] = "lax"

    def give(self, response: Response, granted: Granted, now: datetime) -> Response:
        """With the tokens that somebody got."""
        session = granted.session
        self._set(response, ACCESS_COOKIE, granted.access, _max_age(session.access_expires_at, now))
        if granted.refresh:
            self._set(response, REFRESH_COOKIE, granted.refresh, _max_age(session.refresh_expires_at, now))
        return response

    def clear(self, response: Response) -> Response:
        """Without any."""
        for name in (ACCESS_COOKIE, REFRESH_COOKIE):
            self._set(response, name, "", _NEVER)
        return response

    def _set(self, response: Response, name: str, value: str, ends: str) -> None:
        attributes = f"{ends}; Path=/; HttpOnly; Secure; SameSite={self.same_site.capitalize()}"
        response.headers.append("Set-Cookie", f"{name}={value}; {attributes}")


def _max_age(expires_at: datetime, now: datetime) -> str:
    """Tokens end at whole seconds."""
    return f"Max-Age={max(0, math.ceil((expires_at - now).total_seconds()))}"
