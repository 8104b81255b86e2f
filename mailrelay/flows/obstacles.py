"""What stands against a name or a mailbox, whoever wants it: bans, and that the mailbox is at a domain of ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mailrelay.core.address import Address
from mailrelay.core.suspects import BanHit, Suspect, of_domain, of_mailbox, of_name


class Bans(Protocol):
    """As store/banned.py: the newest ban that one of the first group meets, else one of the next; its hit counted.

    Raises Unavailable.
    """

    async def first(self, *groups: Sequence[Suspect]) -> BanHit | None: ...


class Managed(Protocol):
    """As store/managed.py: the domain of ours that a folded one is, or is below. Raises Unavailable."""

    async def around(self, domain: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class AtManaged:
    """A mailbox is here itself. domain: its own; managed: of ours, the same or one above it."""

    domain: str
    managed: str


async def at_managed(managed: Managed, mailbox: Address) -> AtManaged | None:
    """Raises Unavailable."""
    around = await managed.around(mailbox.domain)
    return None if around is None else AtManaged(mailbox.domain, around)


def of_alias(address: Address) -> tuple[Sequence[Suspect], ...]:
    """The name goes before its domain (section 3.5)."""
    return of_name(address.local), of_domain(address.domain)


def of_destination(goto: Address) -> tuple[Sequence[Suspect], ...]:
    """The mailbox goes before its domain."""
    mailbox, *domains = of_mailbox(goto)
    return (mailbox,), domains
