"""Signing in to the dashboard: a password, a code where there is a second factor, and a session for it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailrelay import log
from mailrelay.core import totp
from mailrelay.core.entrance import FAST, HEAVY, OF_ACCOUNT, OF_CLIENT, OF_NAME, Attempt, TooManyFailures
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.people import User
from mailrelay.core.sealed import Vault, unseal
from mailrelay.core.sessions import Entry, Granted, NewSession, refresh_hash
from mailrelay.core.signin import Person, Visitor
from mailrelay.flows.attempts import Attempts
from mailrelay.flows.passwords import Passwords, is_dated
from mailrelay.flows.ports import Post
from mailrelay.flows.sessions import Sessions


class Store(Protocol):
    """As store/entrance.py. Both raise Unavailable."""

    async def person(self, identifier: str, network: str) -> Person | None: ...
    async def enter(self, entry: Entry, new: NewSession, keep: int, now: datetime) -> User | None: ...


@dataclass(frozen=True, slots=True)
class Entrance:
    """families: somebody is signed in at so many places at most. vault: opens second factors."""

    store: Store
    sessions: Sessions
    passwords: Passwords
    attempts: Attempts
    vault: Vault
    post: Post
    families: int

    async def sign_in(
        self, attempt: Attempt, visitor: Visitor, origin: str, now: datetime
    ) -> Granted | TooManyFailures | None:
        """What somebody gets who knows the password; None: he does not, or may not sign in. Raises Unavailable.

        origin: what failures count for besides the account. Whoever is unknown takes as long as whoever is not.
        """
        person = await self.store.person(attempt.identifier, visitor.network)
        who = attempt.identifier
        limits = [(OF_CLIENT, [origin]), (OF_NAME, [who]), (HEAVY, [who, origin]), (FAST, [who, origin])]
        if person is not None and person.familiar:
            del limits[1]
        async with self.attempts.attempt(*limits) as tried:
            if tried.refusal is not None:
                return tried.refusal
            granted = await self._within_account(person, attempt, visitor, now)
            tried.failed = granted is None
            return granted

    async def stumble(self, origin: str) -> TooManyFailures | None:
        """Somebody sends what cannot be right: it counts as well. Raises Unavailable."""
        async with self.attempts.attempt((OF_CLIENT, [origin])) as tried:
            return tried.refusal

    async def _within_account(
        self, person: Person | None, attempt: Attempt, visitor: Visitor, now: datetime
    ) -> Granted | None:
        """As if nobody was known, once the account's names together failed too often. It takes as long for nobody."""
        whose = f"name:{attempt.identifier}" if person is None else f"account:{person.account}"
        limits = [] if person is not None and person.familiar else [(OF_ACCOUNT, [whose])]
        async with self.attempts.attempt(*limits) as tried:
            known = person if tried.refusal is None else None
            granted = await self._granted(known, attempt, visitor, now)
            tried.failed = granted is None
            return granted

    async def _granted(
        self, person: Person | None, attempt: Attempt, visitor: Visitor, now: datetime
    ) -> Granted | None:
        right = None if person is None else person.password_hash
        if not await self.passwords.match(right, attempt.password) or person is None or right is None:
            return None
        if not person.verified or person.has_security_key:
            return None  # of a key nothing can be shown here
        step = None
        if person.totp_secret is not None:
            step = self._step(person, person.totp_secret, attempt.code, now)
            if step is None:
                await self._tell(person.account, visitor, now)
                return None
        better = await self.passwords.hash(attempt.password) if is_dated(right) else None
        refresh = self.sessions.new_refresh()
        hashed = refresh_hash(refresh)
        assert hashed is not None  # it is one
        new = NewSession(self.sessions.new_id(), hashed, now + self.sessions.lives, visitor)
        user = await self.store.enter(Entry(person.account, right, better, step), new, self.families, now)
        return None if user is None else self.sessions.granted(user, new.family, new.expires_at, refresh, now)

    def _step(self, person: Person, sealed: bytes, typed: str, now: datetime) -> int | None:
        try:
            secret = unseal(self.vault, totp.place(person.uuid), sealed)
        except Malformed as error:
            log.logger().error("sign_in.no_secret", account=person.account, problem=str(error))
            return None
        return totp.matching_step(secret, typed, now.timestamp(), person.totp_last_step)

    async def _tell(self, account: AccountId, visitor: Visitor, now: datetime) -> None:
        at = now.isoformat(timespec="seconds")
        data = {"at": at, "ip": visitor.ip, "user_agent": visitor.user_agent}
        await self.post(Notice(Code.FLA, account, data=data))
