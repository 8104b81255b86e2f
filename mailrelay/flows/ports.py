"""What the flows need from the edges, as small protocols."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from mailrelay.core.bounce import Bounce
from mailrelay.core.dkim import SigningKey
from mailrelay.core.facts import Facts
from mailrelay.core.inquiry import Inquiry
from mailrelay.core.judge import Deliver
from mailrelay.core.ledger import Closing, Ending, Opened, Opening, OutboundId, Tally
from mailrelay.core.plan import Copy, Handed, Refused


class Clock(Protocol):
    """The time, aware and in UTC."""

    def __call__(self) -> datetime: ...


class ReadFacts(Protocol):
    """Facts for one inquiry. Raises Unavailable."""

    async def __call__(self, inquiry: Inquiry) -> Facts: ...


class LedgerPort(Protocol):
    """Writes the ledger, one entry at a time; concurrent calls share a statement. All raise Unavailable."""

    async def open(self, opening: Opening) -> Opened: ...
    async def close(self, closings: Sequence[Closing], tally: Tally | None) -> None: ...
    async def end(self, ending: Ending) -> None: ...
    async def bounced(self, outbound_id: OutboundId, status: str, text: str) -> None: ...
    async def is_outbound(self, outbound_id: OutboundId) -> bool: ...


class AliasMaker(Protocol):
    """Creates the alias that mail asked for, as `verdict` allows. Doing it twice is harmless. Raises Unavailable.

    extension: raw text after the first `+` of the recipient, None if there is none.
    """

    async def __call__(self, inquiry: Inquiry, verdict: Deliver, extension: str | None) -> None: ...


class Submit(Protocol):
    """Queues one copy for the outside world. Raises Unavailable."""

    async def __call__(self, copy: Copy) -> Handed | Refused: ...


class SigningKeys(Protocol):
    """The keys to sign with for a domain; none if it has none."""

    def __call__(self, domain: str) -> Sequence[SigningKey]: ...


class ReadReport(Protocol):
    """What a delivery report says, None if the message is none. Never raises."""

    def __call__(self, content: bytes) -> Bounce | None: ...
