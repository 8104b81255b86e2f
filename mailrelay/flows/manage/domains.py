"""Bringing domains here, and what has to be published for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mailrelay.core.errors import Conflict
from mailrelay.core.naming import ServiceNames
from mailrelay.core.records import DomainRecord, NewDomain
from mailrelay.core.unsubscribe import LABEL as UNSUBSCRIBE


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A record to publish. name: without trailing dot; value: as in a zone file, a text without quotes."""

    name: str
    type: str
    value: str


class KeyFolder(Protocol):
    """Where signing keys are kept."""

    def ensure(self, domain: str) -> Sequence[tuple[str, str]]:
        """Selector and DNS text of each key of a domain; missing keys are made."""


class DomainStore(Protocol):
    async def check(self, new: NewDomain) -> None: ...
    async def add(self, new: NewDomain) -> DomainRecord: ...


async def add(service: ServiceNames, store: DomainStore, keys: KeyFolder, new: NewDomain) -> DomainRecord:
    """The new domain with its keys. Raises Conflict if it, or one above or below, is somebody else's."""
    if new.name in (service.bounce_domain, service.srs_domain) or (new.name == service.domain and new.account):
        raise Conflict(f"{new.name} is a domain of the service itself")
    await store.check(new)
    keys.ensure(new.name)  # first, so that mail never finds the domain without them
    return await store.add(new)


def records(name: str, service: ServiceNames, keys: Sequence[tuple[str, str]], shared: bool) -> tuple[DnsRecord, ...]:
    """What to publish for a domain, whose keys are given as selector and DNS text (spec section 11.7).

    shared: usernames give domains below it, which the wildcard records serve; the one that unsubscribes sends nothing.
    """
    hosts = [name]
    if shared:
        hosts.append(f"*.{name}")
    if name == service.domain:
        hosts += [service.bounce_domain, service.srs_domain]
    silent = [f"{UNSUBSCRIBE}.{name}"] if shared else []
    return (
        *(DnsRecord(host, "MX", f"10 {service.hostname}") for host in [*hosts, *silent]),
        *(DnsRecord(host, "TXT", f"v=spf1 a:{service.hostname} ~all") for host in hosts),
        *(DnsRecord(host, "TXT", "v=spf1 -all") for host in silent),
        *(DnsRecord(f"{selector}._domainkey.{name}", "TXT", text) for selector, text in keys),
        DnsRecord(f"_dmarc.{name}", "TXT", "v=DMARC1; p=none; adkim=r; aspf=r"),
    )
