"""The public forward flow: somebody asks for an alias, or for its end, and a code from the mailbox makes it so.

What is checked when somebody asks is checked again when the code comes back. What is refused then leaves the code as it
is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailrelay.core.address import Address
from mailrelay.core.codes import ALIAS_INTENTS, Asked, Intent, Pending, Wanted
from mailrelay.core.naming import is_role
from mailrelay.core.notices import Code, Notice
from mailrelay.core.owner_request import OwnerRequest
from mailrelay.core.subscriptions import Found, Refused, Subscribed, Survey, Unsubscribed
from mailrelay.core.suspects import BanHit
from mailrelay.flows.codes import Codes, Guess, TooManyTries
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.obstacles import AtManaged, Bans, Managed, at_managed, of_alias, of_destination
from mailrelay.flows.ownermail import Requests


class Store(Protocol):
    """As store/subscriptions.py. All raise Unavailable."""

    async def survey(self, address: Address, goto: Address) -> Survey: ...
    async def find(self, address: Address) -> Found | None: ...
    async def make(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> Subscribed | Refused: ...
    async def remove(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> Unsubscribed | Refused: ...


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. link: what the code is appended to for the button of its mail; '' for none."""

    ip: str
    user_agent: str
    link: str


@dataclass(frozen=True, slots=True)
class Misplaced:
    """The code is for something else."""

    intent: Intent


Objection = Refused | BanHit | AtManaged
Outcome = Subscribed | Unsubscribed | Objection | Misplaced | TooManyTries


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """roles: local parts that nobody may give themselves. All raise Unavailable."""

    codes: Codes
    store: Store
    requests: Requests
    bans: Bans
    managed: Managed
    roles: frozenset[str]
    clock: Clock

    async def subscribe(self, address: Address, goto: Address, asker: Asker) -> Asked | Objection:
        """Mail a code to the destination of a new alias."""
        hit = await self._banned(address, goto)
        if hit is not None:
            return hit
        survey = await self.store.survey(address, goto)
        if not survey.domain_takes:
            return Refused.DOMAIN
        if survey.taken or is_role(address.local, self.roles):
            return Refused.TAKEN
        if survey.destination_is_alias:
            return Refused.DESTINATION_IS_ALIAS
        around = await at_managed(self.managed, goto)
        if around is not None:
            return around
        wanted = Wanted(
            *(Intent.SUBSCRIBE, goto, address.local, address.domain), ip=asker.ip, user_agent=asker.user_agent
        )
        return await self.codes.ask(wanted, Notice(Code.CNF, None, data={"link": asker.link}))

    async def unsubscribe(self, address: Address, asker: Asker) -> bool | Refused:
        """Have a code mailed to where an alias leads, also if that is banned by now: people may leave.

        False: it is too soon to ask the same again. What else was mailed there is not told: nobody learns where an
        alias leads, or which ones lead to the same mailbox.
        """
        found = await self.store.find(address)
        if found is None:
            return Refused.ABSENT
        if not found.active:
            return Refused.INACTIVE
        if found.goto is None:
            return Refused.NOWHERE
        request = OwnerRequest(
            Intent.UNSUBSCRIBE, address.local, address.domain, asker.link, asker.ip, asker.user_agent
        )
        return await self.requests.put(request, self.codes.terms["forward"].cooldown)

    async def confirm(self, code: str, origin: str) -> tuple[Outcome, Pending | None]:
        """Do what a code is for; with that, if there is such a code. origin: whose tries are counted."""
        guess = await self.codes.guess(code, "forward", origin)
        if isinstance(guess, TooManyTries):
            return guess, None
        pending = await self.codes.look(guess)
        if pending is None:
            return Refused.NO_CODE, None
        return await self._do(guess, pending), pending

    async def _do(self, guess: Guess, pending: Pending) -> Outcome:
        if pending.intent not in ALIAS_INTENTS:
            return Misplaced(pending.intent)
        if not pending.name or not pending.domain:
            return Refused.INCOMPLETE
        if pending.intent is Intent.UNSUBSCRIBE:
            return await self.store.remove(guess.macs, pending, self.clock())
        address = Address(pending.name, pending.domain)
        objection = await self._banned(address, pending.email) or await at_managed(self.managed, pending.email)
        if objection is not None:
            return objection
        if is_role(address.local, self.roles):
            return Refused.TAKEN
        return await self.store.make(guess.macs, pending, self.clock())

    async def _banned(self, address: Address, goto: Address) -> BanHit | None:
        """The name goes before its domain, and both before the mailbox and its domain (section 3.5)."""
        return await self.bans.first(*of_alias(address), *of_destination(goto))
