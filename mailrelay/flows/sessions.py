"""Sessions of the dashboard: who is signed in, tokens that follow each other, and the end (haltman-api.md 2.6, 2.7)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from mailrelay import log
from mailrelay.core.accesstoken import Keyring, Terms, claims_of, csrf, csrf_matches, make, read
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.people import Session, User
from mailrelay.core.sessions import REFRESH_OCTETS, Granted, Held, Renewed, Standing, refresh_hash, refresh_token
from mailrelay.core.signin import Visitor

_UUID_OCTETS = 16


class Store(Protocol):
    """As store/sessions.py. All raise Unavailable."""

    async def of_access(self, account: AccountId, family: UUID, now: datetime) -> tuple[User, datetime] | None: ...
    async def of_refresh(self, hash_: bytes) -> Held | None: ...
    async def renew(self, presented: bytes, new: bytes, visitor: Visitor, now: datetime) -> Renewed | None: ...
    async def end_family(self, account: AccountId, family: UUID, actor: str, now: datetime) -> int: ...
    async def end_all(self, account: AccountId, actor: str, now: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class Presented:
    """A refresh token that came along, and what it is worth."""

    hash: bytes
    held: Held
    standing: Standing


@dataclass(frozen=True, slots=True)
class Sessions:
    """lives: of a sign-in, however often its tokens are renewed. random: unpredictable octets."""

    store: Store
    ring: Keyring
    terms: Terms
    lives: timedelta
    random: Callable[[int], bytes]

    async def of_access(self, token: str, now: datetime) -> Session | None:
        """The live session of an access token. Raises Unavailable."""
        try:
            claims = read(self.ring, self.terms, token, now)
        except Malformed:
            return None
        found = await self.store.of_access(claims.account, claims.family, now)
        return None if found is None else Session(found[0], claims.family, claims.expires_at, found[1])

    async def of_refresh(self, token: str, visitor: Visitor, now: datetime) -> Presented | None:
        """What is known of a refresh token; None: nothing. Raises Unavailable."""
        hashed = refresh_hash(token)
        held = None if hashed is None else await self.store.of_refresh(hashed)
        return None if hashed is None or held is None else Presented(hashed, held, held.standing(visitor, now))

    async def renew(self, presented: Presented, visitor: Visitor, now: datetime) -> Granted | None:
        """New tokens for one that is good; None: it is not, or not any more. One that was used before ends its family.

        Raises Unavailable.
        """
        refresh = self.new_refresh()
        hashed = refresh_hash(refresh)
        assert hashed is not None  # it is one
        renewed = await self.store.renew(presented.hash, hashed, visitor, now)
        if renewed is None:
            if presented.standing is Standing.REUSED:
                log.logger().warning("session.reused", account=presented.held.account)
            return None
        return self.granted(renewed.user, renewed.family, renewed.expires_at, refresh if renewed.is_new else "", now)

    async def end(self, account: AccountId, family: UUID, actor: str, now: datetime) -> None:
        """Sign out where somebody signed in. Raises Unavailable."""
        await self.store.end_family(account, family, actor, now)

    async def end_all(self, account: AccountId, actor: str, now: datetime) -> int:
        """Sign out everywhere. Gives how many sessions that ended. Raises Unavailable."""
        return await self.store.end_all(account, actor, now)

    def csrf(self, family: UUID) -> str:
        """The token that requests of this family carry in a header."""
        return csrf(self.ring, family)

    def csrf_matches(self, family: UUID, token: str) -> bool:
        """Whether this is the token of that family."""
        return csrf_matches(self.ring, family, token)

    def new_refresh(self) -> str:
        """A refresh token that nobody has."""
        return refresh_token(self.random(REFRESH_OCTETS))

    def new_id(self) -> UUID:
        """A family, or the number of a token."""
        return UUID(bytes=self.random(_UUID_OCTETS), version=4)

    def granted(self, user: User, family: UUID, expires_at: datetime, refresh: str, now: datetime) -> Granted:
        """What somebody gets for whom there is a session. refresh: '' if he has the right one already."""
        claims = claims_of(self.terms, user.id, family, self.new_id(), now)
        session = Session(user, family, claims.expires_at, expires_at)
        return Granted(session, make(self.ring, self.terms, claims), refresh)
