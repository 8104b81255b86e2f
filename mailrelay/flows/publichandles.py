"""Handles of those who confirm by mail (haltman-api.md sections 3.2 and 3.8 to 3.10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailrelay.core.address import Address
from mailrelay.core.codes import HANDLE_INTENTS, Asked, Intent, Pending, Wanted
from mailrelay.core.keyed import Refused
from mailrelay.core.naming import is_role
from mailrelay.core.notices import Code, Notice
from mailrelay.core.owner_request import OwnerRequest
from mailrelay.core.suspects import of_name
from mailrelay.flows.codes import Codes, TooManyTries
from mailrelay.flows.keyed import Obstacle
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.obstacles import Bans, Managed, at_managed, of_destination
from mailrelay.flows.ownermail import Requests

_ABOUT_DOMAINS = (Intent.HANDLE_DOMAIN_DISABLE, Intent.HANDLE_DOMAIN_ENABLE)


class Store(Protocol):
    """As store/public_handles.py. All raise Unavailable."""

    async def hindrance(self, local: str, mailbox: Address) -> Refused | None: ...
    async def carry_out(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> Refused | None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a code. obstacle: why nothing was done, and the code stays alive; None: it was done."""

    pending: Pending
    obstacle: Obstacle | None


@dataclass(frozen=True, slots=True)
class PublicHandles:
    """roles: as core.naming.is_role takes them. All methods raise Unavailable."""

    store: Store
    requests: Requests
    codes: Codes
    bans: Bans
    managed: Managed
    roles: frozenset[str]
    clock: Clock

    @property
    def minutes(self) -> int:
        """How long a code lives."""
        return self.codes.terms["forward"].minutes

    async def claim(self, wanted: Wanted, link: str) -> Asked | Obstacle:
        """Mail a code with which a handle is made. wanted: with the mailbox that the handle shall go to."""
        obstacle = await self._obstacle(wanted.name, wanted.email)
        if obstacle is not None:
            return obstacle
        return await self.codes.ask(wanted, _notice(link))

    async def ask_owner(self, request: OwnerRequest) -> bool:
        """Have a code mailed to the handle's owner; False: somebody asked a moment ago.

        Nothing in it depends on whether there is such a handle, so that nobody learns that, nor by its time: the worker
        looks for it.
        """
        return await self.requests.put(request, self.codes.terms["forward"].cooldown)

    async def confirm(self, code: str, origin: str) -> Outcome | TooManyTries | None:
        """Do what a code is for; None: there is no such code, or not any more. origin: whose tries are counted."""
        guess = await self.codes.guess(code, "forward", origin)
        if isinstance(guess, TooManyTries):
            return guess
        pending = await self.codes.look(guess)
        if pending is None:
            return None
        obstacle = await self._confirmable(pending)
        if obstacle is None:
            obstacle = await self.store.carry_out(guess.macs, pending, self.clock())
        elif await self.codes.look(guess) is None:
            return None  # it was used meanwhile, which may be what stands in its way
        return None if obstacle is Refused.USED else Outcome(pending, obstacle)

    async def _confirmable(self, pending: Pending) -> Obstacle | None:
        if pending.intent not in HANDLE_INTENTS:
            return Refused.OTHER
        if not pending.name or (pending.intent in _ABOUT_DOMAINS and not pending.domain):
            return Refused.INCOMPLETE
        if pending.intent is Intent.HANDLE_SUBSCRIBE:
            return await self._obstacle(pending.name, pending.email)
        return None

    async def _obstacle(self, local: str, mailbox: Address) -> Obstacle | None:
        """What stands against a handle of that name that goes to a mailbox."""
        hit = await self.bans.first(of_name(local), *of_destination(mailbox))
        if hit is not None:
            return hit
        hindrance = await self.store.hindrance(local, mailbox)
        if hindrance is Refused.ALIAS:
            return hindrance
        here = await at_managed(self.managed, mailbox)
        if here is not None:
            return here
        return Refused.TAKEN if is_role(local, self.roles) else hindrance


def _notice(link: str) -> Notice:
    """The mail; codes say themselves what they are for."""
    return Notice(Code.CNF, None, data={"link": link})
