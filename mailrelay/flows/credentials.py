"""API keys in their owners' hands: asked for by mail, renewed and destroyed by whoever has them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from mailrelay.core.address import Address, parse_address
from mailrelay.core.apikeys import ApiKey
from mailrelay.core.codes import Asked, Intent, Pending, Wanted
from mailrelay.core.notices import Code, Notice, Value
from mailrelay.core.records import NewToken, TokenId
from mailrelay.core.signin import Visitor
from mailrelay.core.suspects import BanHit
from mailrelay.flows.codes import Codes, Guess, TooManyTries
from mailrelay.flows.manage.tokens import api_key
from mailrelay.flows.obstacles import AtManaged, Bans, Managed, at_managed, of_destination
from mailrelay.flows.ports import Clock

Objection = BanHit | AtManaged


@dataclass(frozen=True, slots=True)
class Drawn:
    """A new key, told this once."""

    secret: str
    days: int
    automatic_renew: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """Keys in force, the newest first."""

    keys: Sequence[ApiKey]


@dataclass(frozen=True, slots=True)
class Destroyed:
    """All keys of a mailbox are gone. count: 0: it had none."""

    count: int


@dataclass(frozen=True, slots=True)
class Done:
    """What a code has done for a mailbox."""

    email: Address
    what: Drawn | Listed | Destroyed


class Requests(Protocol):
    """As store/keyrequests.py. All raise Unavailable."""

    async def create(self, macs: Sequence[bytes], pending: Pending, new: NewToken, now: datetime) -> ApiKey | None: ...
    async def reveal(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> Sequence[ApiKey] | None: ...
    async def destroy_all(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> int | None: ...


class Keys(Protocol):
    """As store/apikeys.py. All raise Unavailable."""

    async def by_hash(self, sha256: bytes) -> ApiKey | None: ...
    async def renew(self, key: TokenId, days: int) -> ApiKey | None: ...
    async def set_renewal(self, key: TokenId, on: bool) -> ApiKey | None: ...
    async def destroy(self, key: TokenId, notice: Notice) -> bool: ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """All raise Unavailable. link: what a code is appended to for the button of its mail, '' for none."""

    codes: Codes
    requests: Requests
    keys: Keys
    bans: Bans
    managed: Managed
    clock: Clock
    link: str = ""

    async def ask(self, wanted: Wanted) -> Asked | Objection:
        """Mail a code for one of the intents with API keys, whether the mailbox has keys or not."""
        objection = await self._objection(wanted.email)
        if objection is not None:
            return objection
        said: dict[str, Value] = {"link": self.link, "about": wanted.email.folded}
        if wanted.intent is Intent.API_KEY_CREATE:
            said |= {"days": wanted.days or 0, "renews": wanted.automatic_renew}
        return await self.codes.ask(wanted, Notice(Code.CNF, None, data=said))

    async def look(self, code: str, origin: str) -> Pending | TooManyTries | None:
        """What a code would do; None: there is no such code. origin: whose tries are counted."""
        guess = await self.codes.guess(code, "credentials", origin)
        return guess if isinstance(guess, TooManyTries) else await self.codes.look(guess)

    async def confirm(self, code: str, origin: str, visitor: Visitor) -> Done | Objection | TooManyTries | None:
        """Do what a code is for; None: there is no such code, or not any more. What is objected to leaves it alive."""
        guess = await self.codes.guess(code, "credentials", origin)
        if isinstance(guess, TooManyTries):
            return guess
        pending = await self.codes.look(guess)
        if pending is None:
            return None
        objection = await self._objection(pending.email)
        return objection or await self._do(guess, pending, visitor)

    async def _do(self, guess: Guess, pending: Pending, visitor: Visitor) -> Done | None:
        now = self.clock()
        what: Drawn | Listed | Destroyed | None = None
        match pending.intent:
            case Intent.API_KEY_CREATE:
                assert pending.days is not None  # whoever asked had to say it
                secret, new = draw(
                    pending.email, pending.days, pending.automatic_renew, now, visitor.ip, visitor.user_agent
                )
                if await self.requests.create(guess.macs, pending, new, now) is not None:
                    what = Drawn(secret, pending.days, pending.automatic_renew)
            case Intent.API_KEY_LIST:
                keys = await self.requests.reveal(guess.macs, pending, now)
                what = None if keys is None else Listed(keys)
            case Intent.API_KEY_DESTROY_ALL:
                count = await self.requests.destroy_all(guess.macs, pending, now)
                what = None if count is None else Destroyed(count)
        return None if what is None else Done(pending.email, what)

    async def renew(self, secret: str, days: int) -> ApiKey | Objection | None:
        """Let a key live longer; None: it is not in force."""
        key = await self._usable(secret)
        return await self.keys.renew(key.id, days) if isinstance(key, ApiKey) else key

    async def set_renewal(self, secret: str, on: bool) -> ApiKey | Objection | None:
        """Whether a key renews itself; None: it is not in force."""
        key = await self._usable(secret)
        return await self.keys.set_renewal(key.id, on) if isinstance(key, ApiKey) else key

    async def destroy(self, secret: str, client: str) -> bool | BanHit:
        """End a key for good; its owner is told. False: it is not in force."""
        key = await self.keys.by_hash(_sha256(secret))
        if key is None:
            return False
        hit = await self.bans.first(*of_destination(parse_address(key.owner_email)))
        if hit is not None:
            return hit
        at = self.clock().isoformat(timespec="seconds")
        told = Notice(Code.AKD, None, data={"address": key.owner_email, "at": at, "ip": client})
        return await self.keys.destroy(key.id, told)

    async def _usable(self, secret: str) -> ApiKey | Objection | None:
        key = await self.keys.by_hash(_sha256(secret))
        if key is None:
            return None
        return await self._objection(parse_address(key.owner_email)) or key

    async def _objection(self, mailbox: Address) -> Objection | None:
        return await self.bans.first(*of_destination(mailbox)) or await at_managed(self.managed, mailbox)


def draw(mailbox: Address, days: int, renew: bool, now: datetime, ip: str, user_agent: str) -> tuple[str, NewToken]:
    """A new key of a mailbox, and what is stored of it. ip, user_agent: of whoever gets it, '' if unknown."""
    secret = api_key()
    new = NewToken(
        kind="api_key",
        name="",
        hash=_sha256(secret),
        display=secret[:6],
        expires_at=now + timedelta(days=days),
        owner_email=mailbox.folded,
        automatic_renew=renew,
        created_ip=ip or None,
        user_agent=user_agent or None,
    )
    return secret, new


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()
