"""Whether a request may be carried out: bans, limits, then who asks (haltman-api.md sections 2.6, 2.10 and 5.3)."""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.endpoint import Access, Endpoint, Rule, by_origin
from mailrelay.api.haltman.names import api_key
from mailrelay.api.haltman.problems import Problem, banned, rate_limited
from mailrelay.core.people import KeyHolder, KeyUse, Session
from mailrelay.core.turnstile import Bucket, Passage

ACCESS_COOKIE = "__Host-access"
REFRESH_COOKIE = "__Host-refresh"
EVERYTHING = Rule("global", 300, 60, by_origin, "global", "too_many_requests_ip")
# Nobody waits longer than this for a limit that only slows down.
MAX_DELAY_SECONDS = 3.0
_SAFE_METHODS = ("GET", "HEAD")


class Turnstile(Protocol):
    """As store/turnstile.py. Raises Unavailable."""

    async def pass_by(self, ip: str, buckets: Sequence[Bucket]) -> Passage: ...


class Keys(Protocol):
    """As store/keyholders.py. Both raise Unavailable."""

    async def holder(self, key_hash: bytes) -> KeyHolder | None:
        """Whose usable key has this SHA-256; it counts as used."""

    async def log(self, use: KeyUse) -> None:
        """A request that was made with a key."""


class Sessions(Protocol):
    """As flows/sessions.py. All raise Unavailable."""

    async def of_access(self, token: str, now: datetime) -> Session | None:
        """The live session of an access token."""

    def csrf_matches(self, family: UUID, token: str) -> bool:
        """Whether this is the token of that family."""


@dataclass(frozen=True, slots=True)
class Gate:
    """rates: limits by the names of rules that are others here; 0 and less turn a rule off."""

    turnstile: Turnstile
    keys: Keys
    sessions: Sessions
    rates: Mapping[str, int]

    async def admit(self, call: Call, endpoint: Endpoint | None) -> None:
        """Bans of clients and limits. Raises Problem and Unavailable."""
        rules = (EVERYTHING, *(endpoint.rules if endpoint is not None else ()))
        asked = [
            (rule, limit, subject)
            for rule in rules
            if (limit := self.rates.get(rule.name, rule.limit)) > 0 and (subject := rule.subject(call))
        ]
        buckets = [
            Bucket(rule.name, subject, rule.seconds, None if rule.delay_ms else limit) for rule, limit, subject in asked
        ]
        passage = await self.turnstile.pass_by(call.client, buckets)
        if passage.ban is not None:
            raise banned(passage.ban)
        delay_ms = 0
        for (rule, limit, _), (hits, opened_at) in zip(asked, passage.counted, strict=False):
            if hits <= limit:
                continue
            if not rule.delay_ms:
                raise rate_limited(rule.where, rule.reason, opened_at + timedelta(seconds=rule.seconds), call.now)
            delay_ms += (hits - limit) * rule.delay_ms
        if delay_ms:
            await asyncio.sleep(min(delay_ms / 1000, MAX_DELAY_SECONDS))

    async def access(self, call: Call, access: Access) -> Call:
        """The request with who makes it. Raises Problem and Unavailable."""
        match access:
            case Access.ADMIN:
                return await self._admin(call)
            case Access.KEY:
                return replace(call, found_holder=await self._holder(call))
        return call

    async def _admin(self, call: Call) -> Call:
        token = call.cookies.get(ACCESS_COOKIE, "")
        session = await self.sessions.of_access(token, call.now) if token else None
        if session is None:
            raise Problem(401, "invalid_or_expired_session")
        if not session.user.is_admin:
            raise Problem(403, "forbidden")
        if call.method not in _SAFE_METHODS:
            demand_csrf(self.sessions, call, session.family)
        return replace(call, found_session=session)

    async def _holder(self, call: Call) -> KeyHolder:
        sent = call.headers.get("X-API-Key", "").strip()
        if not sent:
            raise Problem(401, "missing_api_key")
        key = api_key(sent)
        if key is None:
            raise Problem(401, "invalid_api_key_format")
        holder = await self.keys.holder(hashlib.sha256(key.encode()).digest())
        if holder is None:
            raise Problem(401, "invalid_or_expired_api_key")
        return holder


def demand_csrf(sessions: Sessions, call: Call, family: UUID) -> None:
    """Raises Problem unless the request has the token of its session."""
    token = call.headers.get("X-CSRF-Token", "").strip()
    if not token:
        raise Problem(403, "csrf_required")
    if not sessions.csrf_matches(family, token):
        raise Problem(403, "invalid_csrf_token")


def origin(client: str, headers: Mapping[str, str], bot_secret: str) -> str:
    """What limits count for: the client, as it is given here, or the source that a known bot names."""
    source = headers.get("X-Bot-Source", "").strip()
    sent = headers.get("X-Bot-Auth-Token", "")
    if bot_secret and source and hmac.compare_digest(sent.encode("utf-8", "replace"), bot_secret.encode()):
        return f"bot_source:{source[:256]}"
    return client
