"""Whether a domain takes mail at all, as DNS says (RFC 5321 section 5.1)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import Answer, Kind, Mx

Lookup = Callable[[str, Kind], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class MailDomains:
    """lookup: see resolver.py."""

    lookup: Lookup

    async def takes_mail(self, domain: str, /) -> bool:
        """False if the domain has neither MX nor address, or a null MX (RFC 7505).

        True where DNS gives no answer: whether mail arrives is then found out by sending some.
        """
        try:
            answer = await self.lookup(domain, "MX")
            if not answer.exists:
                return False
            if hosts := [record.host for record in answer.records if isinstance(record, Mx)]:
                return any(hosts)
            return bool((await self.lookup(domain, "A")).names or (await self.lookup(domain, "AAAA")).names)
        except Unavailable:
            return True
