"""What has to be published for a domain (mail-pipeline.md section 11.7)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mailrelay.core.dkim import txt_strings
from mailrelay.core.naming import ServiceNames
from mailrelay.core.unsubscribe import LABEL as UNSUBSCRIBE

MAIN_SELECTOR = "mr1"  # of the key that all receivers understand

_SILENT = "v=spf1 -all"


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A record to publish. name: without trailing dot; value: as in a zone file, a text without quotes."""

    name: str
    type: str
    value: str

    def __str__(self) -> str:
        """As zone files have it; a text is cut into strings of at most 255 octets."""
        value = f"{self.value}."
        if self.type == "TXT":
            value = " ".join(f'"{text}"' for text in txt_strings(self.value))
        return f"{self.name}. IN {self.type} {value}"


def mx_record(name: str, service: ServiceNames) -> DnsRecord:
    """Mail to the domain comes here."""
    return DnsRecord(name, "MX", f"10 {service.hostname}")


def spf_record(name: str, service: ServiceNames) -> DnsRecord:
    """This host sends for the domain."""
    return DnsRecord(name, "TXT", f"v=spf1 a:{service.hostname} ~all")


def dkim_record(name: str, selector: str, text: str) -> DnsRecord:
    """The public half of a signing key, whose text is given."""
    return DnsRecord(f"{selector}._domainkey.{name}", "TXT", text)


def dmarc_record(name: str) -> DnsRecord:
    """A policy to begin with."""
    return DnsRecord(f"_dmarc.{name}", "TXT", "v=DMARC1; p=none; adkim=r; aspf=r")


def records(name: str, service: ServiceNames, keys: Sequence[tuple[str, str]], shared: bool) -> tuple[DnsRecord, ...]:
    """All records of a domain, whose keys are given as selector and DNS text.

    shared: usernames give domains below it, which the wildcard records serve; the one that unsubscribes sends nothing.
    """
    hosts = [name]
    if shared:
        hosts.append(f"*.{name}")
    if name == service.domain:
        hosts += [service.bounce_domain, service.srs_domain]
    silent = [f"{UNSUBSCRIBE}.{name}"] if shared else []
    return (
        *(mx_record(host, service) for host in [*hosts, *silent]),
        *(spf_record(host, service) for host in hosts),
        *(DnsRecord(host, "TXT", _SILENT) for host in silent),
        *(dkim_record(name, selector, text) for selector, text in keys),
        dmarc_record(name),
    )
