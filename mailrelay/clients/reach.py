"""Whether a domain takes mail, by its records in DNS."""

import asyncio
from dataclasses import dataclass

from mailrelay.clients.resolver import Resolver
from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import Answer, Kind
from mailrelay.core.sending.contact import Reach, needs_addresses, reach


@dataclass(frozen=True, slots=True)
class ContactDomains:
    """Asks for MX, and for addresses where those decide (RFC 5321 section 5.1). DNS trouble speaks against nobody."""

    resolver: Resolver

    async def __call__(self, domain: str, /) -> Reach:
        mx = await self._ask(domain, "MX")
        if not needs_addresses(mx):
            return reach(mx)
        return reach(mx, await asyncio.gather(self._ask(domain, "A"), self._ask(domain, "AAAA")))

    async def _ask(self, domain: str, kind: Kind) -> Answer | None:
        try:
            return await self.resolver.lookup(domain, kind)
        except Unavailable:
            return None
