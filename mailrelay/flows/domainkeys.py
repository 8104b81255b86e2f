"""The job that makes the signing keys of a domain that its owner brought here over HTTP."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mailrelay import log
from mailrelay.core.errors import Malformed
from mailrelay.flows.manage.domains import KeyFolder


class Domains(Protocol):
    """As store/manage_domains.py has it."""

    async def name_of(self, domain: int) -> str | None:
        """Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class DomainKeys:
    """Handler of the job. Repeated, it makes what is still missing."""

    domains: Domains
    keys: KeyFolder

    async def __call__(self, payload: Mapping[str, object], /) -> None:
        """Raises Malformed and Unavailable."""
        number = payload.get("domain_id")
        if not isinstance(number, int):
            raise Malformed("domain_id of the job is no number")
        name = await self.domains.name_of(number)
        if name is None:
            return
        # It takes a while and waits for the disk.
        await asyncio.to_thread(self.keys.ensure, name)
        log.logger().info("domain.keys_made", domain=number)
