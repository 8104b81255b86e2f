"""Handles and aliases that holders of API keys make (haltman-api.md sections 3.11 and 3.12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mailrelay.core.address import Address
from mailrelay.core.keyed import Refused
from mailrelay.core.naming import is_role
from mailrelay.core.people import KeyHolder
from mailrelay.core.suspects import BanHit, Suspect, of_name
from mailrelay.flows.obstacles import AtManaged, Bans, Managed, at_managed, of_alias, of_destination

Obstacle = Refused | BanHit | AtManaged


class HandleStore(Protocol):
    """As store/key_handles.py. Raises Unavailable and Conflict."""

    async def create(self, holder: KeyHolder, local: str, actor: str) -> Refused | None: ...


class AliasStore(Protocol):
    """As store/key_aliases.py. Raises Unavailable and Conflict."""

    async def takes(self, domain: str) -> bool: ...
    async def create(self, holder: KeyHolder, local: str, domain: str, actor: str) -> Refused | None: ...
    async def switch(self, holder: KeyHolder, address: Address, on: bool, actor: str) -> Refused | None: ...


@dataclass(frozen=True, slots=True)
class KeyMaker:
    """roles: as core.naming.is_role takes them. All methods raise Unavailable and Conflict."""

    bans: Bans
    managed: Managed
    handles: HandleStore
    aliases: AliasStore
    roles: frozenset[str]

    async def handle(self, holder: KeyHolder, local: str, actor: str) -> Obstacle | None:
        """Make a handle that goes to the holder's mailbox; None: it is there."""
        refused = await self._refused(holder, of_name(local))
        if refused is not None:
            return refused
        if is_role(local, self.roles):
            return Refused.TAKEN
        return await self.handles.create(holder, local, actor)

    async def alias(self, holder: KeyHolder, address: Address, actor: str) -> Obstacle | None:
        """Make an alias that goes to the holder's mailbox; None: it is there."""
        refused = await self._refused(holder, *of_alias(address))
        if refused is not None:
            return refused
        if is_role(address.local, self.roles):
            return Refused.TAKEN if await self.aliases.takes(address.domain) else Refused.DOMAIN
        return await self.aliases.create(holder, address.local, address.domain, actor)

    async def resume(self, holder: KeyHolder, address: Address, actor: str) -> Obstacle | None:
        """Let an alias of the holder's take mail again; None: it does. A ban that ended it may be over, or not."""
        refused = await self._refused(holder, *of_alias(address))
        return refused or await self.aliases.switch(holder, address, True, actor)

    async def _refused(self, holder: KeyHolder, *asked: Sequence[Suspect]) -> BanHit | AtManaged | None:
        """What stands against the names, or against the holder."""
        hit = await self.bans.first(*asked, *of_destination(holder.email))
        return hit or await at_managed(self.managed, holder.email)
