"""Bans of domains that count for the hosts which take a destination's mail (haltman-api.md sections 5.1 and 6.6).

An option: people who want throw-away mailboxes bring new domains every day, and few hosts serve them all. What DNS does
not tell bans nobody: trouble with it is no reason to lose mail, and mail to a domain without MX goes nowhere anyway.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mailrelay.core.bans import Ban
from mailrelay.core.destinations import hosts_of
from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import Answer, Kind
from mailrelay.core.suspects import BanHit, Suspect, of_domain
from mailrelay.flows.obstacles import Bans
from mailrelay.flows.ports import Clock
from mailrelay.flows.rules import Rules

_AT_ONCE = 100  # questions that nobody waits for


class Lookup(Protocol):
    """The answer for a name. Raises Unavailable."""

    async def __call__(self, name: str, kind: Kind, /) -> Answer: ...


class Peek(Protocol):
    """The answer as far as it is remembered, None if it is not."""

    def __call__(self, name: str, kind: Kind, /) -> Answer | None: ...


def _nothing(name: str, kind: Kind, /) -> None:
    """Where nothing is remembered."""


@dataclass(slots=True)
class MxHosts:
    """Which hosts take a domain's mail. seconds: how long one waits for DNS."""

    lookup: Lookup
    peek: Peek = _nothing
    seconds: float = 3.0
    _asking: dict[str, asyncio.Task[Sequence[str]]] = field(default_factory=dict)

    async def ask(self, domain: str) -> Sequence[str]:
        """() if DNS does not tell. domain: folded."""
        try:
            async with asyncio.timeout(self.seconds):
                return hosts_of(await self.lookup(domain, "MX"))
        except (Unavailable, TimeoutError):
            return ()

    def known(self, domain: str) -> Sequence[str]:
        """Without waiting: what is remembered; for the next one who wants to know, the rest is asked for."""
        answer = self.peek(domain, "MX")
        if answer is not None:
            return hosts_of(answer)
        if domain not in self._asking and len(self._asking) < _AT_ONCE:
            task = asyncio.get_running_loop().create_task(self.ask(domain), name=f"mx of {domain}")
            self._asking[domain] = task
            task.add_done_callback(lambda _: self._asking.pop(domain, None))
        return ()


@dataclass(frozen=True, slots=True)
class HostBans:
    """Asked when a copy is made: the last moment, and the first at which there is time to wait for DNS."""

    rules: Rules
    hosts: MxHosts
    clock: Clock

    async def __call__(self, domain: str, /) -> Ban | None:
        """The ban that hits a host which takes the domain's mail. Never raises."""
        now = self.clock()
        hits = (self.rules.around.bans.domain(host, "destination", now) for host in await self.hosts.ask(domain))
        return next((hit for hit in hits if hit is not None), None)


@dataclass(frozen=True, slots=True)
class BansOfHosts:
    """Bans, also of the hosts that take the mail of a mailbox which is asked about: where people wait for an answer."""

    bans: Bans
    hosts: MxHosts

    async def first(self, *groups: Sequence[Suspect]) -> BanHit | None:
        """See Bans. DNS is asked for what nothing else stands against."""
        found = await self.bans.first(*groups)
        if found is not None:
            return found
        suspects = (one for group in groups for one in group)
        domains = dict.fromkeys(one.value.rpartition("@")[2] for one in suspects if one.type == "email")
        hosts = [host for domain in domains for host in await self.hosts.ask(domain)]
        return await self.bans.first([suspect for host in hosts for suspect in of_domain(host)])
