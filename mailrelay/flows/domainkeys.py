"""The job that makes the signing keys of a domain that somebody brought here over HTTP."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mailrelay import log
from mailrelay.core.errors import Malformed
from mailrelay.flows.domaincheck import Keys


class Domains(Protocol):
    """As store/manage_domains.py has it."""

    async def signer(self, domain: int) -> tuple[str, bool] | None:
        """Its name, and whether it is shared; None if it is gone. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class DomainKeys:
    """Handler of the job. Repeated, it makes what is still missing."""

    domains: Domains
    keys: Keys

    async def __call__(self, payload: Mapping[str, object], /) -> None:
        """Raises Malformed and Unavailable."""
        number = payload.get("domain_id")
        if not isinstance(number, int):
            raise Malformed("domain_id of the job is no number")
        found = await self.domains.signer(number)
        if found is None:
            return
        name, shared = found
        # It takes a while and waits for the disk.
        await asyncio.to_thread(partial(self.keys, name, shared=shared))
        log.logger().info("domain.keys_made", domain=number)
