"""Which domains are ours, and of what kind: answered from memory, because Postfix asks for every recipient."""

from dataclasses import dataclass, field

from mailrelay.core.address import domain_name, parents
from mailrelay.core.errors import Malformed


@dataclass(frozen=True, slots=True)
class Shared:
    """A domain of the installation on which everybody may hold aliases."""

    domain: str


@dataclass(frozen=True, slots=True)
class Subdomain:
    """One label in front of a shared domain: the label may be a username."""

    label: str
    shared: str


@dataclass(frozen=True, slots=True)
class Nested:
    """Several labels in front of a shared domain: ours, but nobody lives there."""

    shared: str


@dataclass(frozen=True, slots=True)
class Custom:
    """A domain of one account whose ownership is verified."""

    domain: str


@dataclass(frozen=True, slots=True)
class ServiceDomain:
    """The service's own main, bounce or SRS domain: operator and technical addresses only."""

    domain: str


Place = Shared | Subdomain | Nested | Custom | ServiceDomain


@dataclass(frozen=True, slots=True)
class Realm:
    """All domains served here.

    service: main, bounce and SRS domain; shared: the installation's; custom: verified ones of accounts.
    """

    service: frozenset[str]
    srs_domain: str
    bounce_domain: str
    shared: frozenset[str] = field(default=frozenset())
    custom: frozenset[str] = field(default=frozenset())
    foreign: frozenset[str] = field(default=frozenset())  # below a shared domain, but the host's own affair

    def locate(self, domain: str) -> Place | None:
        """Where a folded domain belongs; None: not ours. The longest shared domain wins (spec section 1.2)."""
        if domain in self.shared:
            return Shared(domain)
        if domain in self.custom:
            return Custom(domain)
        if domain in self.service:
            return ServiceDomain(domain)
        if self.foreign and not self.foreign.isdisjoint(parents(domain)):
            return None
        label, _, rest = domain.partition(".")
        if rest in self.shared:
            return Subdomain(label, rest)
        while rest:
            rest = rest.partition(".")[2]
            if rest in self.shared:
                return Nested(rest)
        return None

    def locate_text(self, domain: str) -> Place | None:
        """As locate, for a domain as a client wrote it; what is no domain name is not ours."""
        try:
            return self.locate(domain_name(domain))
        except Malformed:
            return None

    def impersonated_by(self, sender_domain: str) -> bool:
        """True for domains that only we send from: service, shared and username domains (spec 2.2 row 13)."""
        place = self.locate_text(sender_domain)
        return place is not None and not isinstance(place, Custom)
