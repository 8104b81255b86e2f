"""What all management flows need."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId
from mailrelay.core.naming import ServiceNames
from mailrelay.core.records import Ground

Clock = Callable[[], datetime]


class GroundReader(Protocol):
    """Reads what new names and mailboxes are checked against."""

    async def read(
        self, mailboxes: Iterable[Address] = (), names: Iterable[str] = (), domains: Iterable[str] = ()
    ) -> Ground: ...

    async def username_owner(self, name: str) -> AccountId | None: ...


@dataclass(frozen=True, slots=True)
class Bureau:
    """The installation as management sees it: its own names, what is around a new name, and the time."""

    service: ServiceNames
    grounds: GroundReader
    clock: Clock
