"""What has to be looked up to decide about one recipient: computed from the envelope, without the database."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network

from mailrelay.core.address import (
    Address,
    RecipientKeys,
    classify,
    client_ip,
    folded_mailbox,
    parents,
    split_extension,
)
from mailrelay.core.realm import Custom, Place, Shared, Subdomain

# Organisational domain of a folded domain, by the public suffix list.
OrganisationalDomain = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """The keys of one look-up.

    base, domain: the alias, folded; label: the username that the domain would belong to, else '';
    sender, author: folded envelope sender and From address, '' if none; sender_domains: their domains and the parents
    of those; sender_org: the sender's organisational domain, '' if none;
    network: the client's /24 or /64, '' if unknown; keys: recipient numbers, counted from 1.
    """

    base: str
    domain: str
    shared: bool
    custom: bool
    label: str
    sender: str
    author: str = ""
    sender_domains: tuple[str, ...] = ()
    sender_org: str = ""
    network: str = ""
    keys: tuple[int, ...] = ()


def inquire(
    rcpt: Address, place: Place, sender: str, author: str, client: str, organisation: OrganisationalDomain
) -> Inquiry:
    """The look-up for a recipient at one of our domains.

    sender: envelope sender as written, '' for the null sender; author: the From address, '' if unknown;
    client: address of the SMTP client, '' if unknown.
    """
    base, extension = split_extension(rcpt.local)
    meaning = classify(extension) if extension else None
    sender, author = folded_mailbox(sender), folded_mailbox(author)
    speaker = sender or author
    return Inquiry(
        base=base,
        domain=rcpt.domain,
        shared=isinstance(place, Shared),
        custom=isinstance(place, Custom),
        label=place.label if isinstance(place, Subdomain) else "",
        sender=sender,
        author=author,
        sender_domains=(*_domains(sender), *_domains(author)),
        sender_org=organisation(speaker.rpartition("@")[2]) if "@" in speaker else "",
        network=client_network(client),
        keys=meaning.numbers if isinstance(meaning, RecipientKeys) else (),
    )


def _domains(address: str) -> tuple[str, ...]:
    return parents(address.rpartition("@")[2]) if "@" in address else ()


@lru_cache(maxsize=8192)  # a busy host hears the same clients again and again
def client_network(client: str) -> str:
    """The /24 or /64 of a client address, '' for what is no address."""
    ip = client_ip(client)
    if ip is None:
        return ""
    return str(ip_network((ip, 24 if ip.version == 4 else 64), strict=False))
