"""Bringing domains here, and what has to be published for them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.lookup import Answer, Kind
from mailrelay.core.naming import ServiceNames
from mailrelay.core.own_parents import AliasDomains, OwnDomain
from mailrelay.core.ownership import proof, proves
from mailrelay.core.parents import DomainClash
from mailrelay.core.records import DomainChange, DomainRecord, NewDomain, Owned
from mailrelay.core.suspects import of_domain
from mailrelay.flows.obstacles import Bans


class KeyFolder(Protocol):
    """Where signing keys are kept."""

    def ensure(self, domain: str) -> Sequence[tuple[str, str]]:
        """Selector and DNS text of each key of a domain; missing keys are made."""


class DomainStore(Protocol):
    """As store/manage_domains has it."""

    async def check(self, new: NewDomain) -> None: ...

    async def add(self, new: NewDomain, actor: str) -> DomainRecord: ...

    async def change(self, which: str | Owned, change: DomainChange, actor: str) -> DomainRecord: ...

    async def remove(self, which: str | Owned, with_aliases: bool, actor: str) -> tuple[DomainRecord, int]: ...


class DomainReader(Protocol):
    """Domains as their owners read them."""

    async def page(self, account: AccountId) -> Sequence[OwnDomain]: ...

    async def one(self, which: Owned) -> OwnDomain: ...


class AliasDomainReader(Protocol):
    """Where accounts may make aliases."""

    async def read(self, account: AccountId) -> AliasDomains: ...


class Dns(Protocol):
    """Whom we ask. It remembers nothing: who has just published a record wants to be believed."""

    async def lookup(self, name: str, kind: Kind) -> Answer:
        """Raises Unavailable."""


async def add(service: ServiceNames, store: DomainStore, keys: KeyFolder, new: NewDomain, actor: str) -> DomainRecord:
    """The new domain with its keys, on an operator's word. Raises Conflict if it, or one above or below, is taken."""
    if new.name in (service.bounce_domain, service.srs_domain) or (new.name == service.domain and new.account):
        raise Conflict(f"{new.name} is a domain of the service itself")
    await store.check(new)
    # Keys first, so that mail never finds the domain without them; making them takes a while and waits for the disk.
    await asyncio.to_thread(keys.ensure, new.name)
    return await store.add(new, actor)


class Unproven(Exception):
    """DNS does not say that the domain is the account's. proof: the text to publish."""

    def __init__(self, text: str) -> None:
        super().__init__(f"there is no TXT record {text}")
        self.proof = text


@dataclass(frozen=True, slots=True)
class Claims:
    """What owners bring here themselves, who prove that it is theirs.

    Whoever listens to the web has no business with signing keys: the worker makes those soon after. Until their owner
    has published them, the domain is not verified for sending, so mail under its aliases goes out from the service's
    address, with the service's signature.

    proof_keys: the first makes what is to be published, all verify. seconds: how long one waits for DNS.
    """

    service: ServiceNames
    store: DomainStore
    dns: Dns
    proof_keys: Sequence[bytes]
    bans: Bans
    seconds: float = 5.0

    async def add(self, account: AccountId, name: str, actor: str) -> DomainRecord:
        """The new domain, which makes an alias of every name. name: as core/ownership folds it.

        Raises DomainClash, and then Unproven, also if DNS gives no answer.
        """
        own = {*self.service.domains, self.service.hostname}
        if any(name == one or name.endswith(f".{one}") for one in own):
            raise DomainClash("local", f"{name} is a domain of the service itself, or below one")
        hit = await self.bans.first(of_domain(name))
        if hit is not None:
            raise DomainClash("banned", f"{name} is banned (ban {hit.id})")
        new = NewDomain(name, account, verified=True, catch_all=True, with_mx=False, keys_later=True)
        await self.store.check(new)
        if not await self._proven(account, name):
            raise Unproven(proof(self.proof_keys[0], account, name))
        return await self.store.add(new, actor)

    async def _proven(self, account: AccountId, name: str) -> bool:
        try:
            async with asyncio.timeout(self.seconds):
                answer = await self.dns.lookup(name, "TXT")
        except (Unavailable, TimeoutError):
            return False
        return proves(answer.texts, self.proof_keys, account, name)
