"""What several flows need from the edges; what only one needs stands beside that one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from mailrelay.core.background import Background, BackgroundInquiry
from mailrelay.core.bounce import Bounce
from mailrelay.core.facts import Facts
from mailrelay.core.inquiry import Inquiry
from mailrelay.core.judge import Deliver
from mailrelay.core.ledger import Closing, Ending, Opened, Opening, OutboundCopy, OutboundId, Tally
from mailrelay.core.notices import Notice
from mailrelay.core.sending.facts import SendingFacts, SendingInquiry


class Clock(Protocol):
    """The time, aware and in UTC."""

    def __call__(self) -> datetime: ...


class ReadFacts(Protocol):
    """Facts for one inquiry. Raises Unavailable."""

    async def __call__(self, inquiry: Inquiry) -> Facts: ...


class ReadBackground(Protocol):
    """How an owner wants copies made, and what happened before. Raises Unavailable."""

    async def __call__(self, inquiry: BackgroundInquiry, /) -> Background: ...


class MakeAlias(Protocol):
    """Creates the alias that mail asked for, as `verdict` allows. Doing it twice is harmless. Raises Unavailable.

    extension: raw text after the first `+` of the recipient, None if there is none.
    """

    async def __call__(self, inquiry: Inquiry, verdict: Deliver, extension: str | None) -> None: ...


class ReadSending(Protocol):
    """What stands behind a reverse address; None: nobody has that one. Raises Unavailable."""

    async def __call__(self, inquiry: SendingInquiry, /) -> SendingFacts | None: ...


class ReadReport(Protocol):
    """What a delivery report says, None if the message is none. Never raises."""

    def __call__(self, content: bytes, /) -> Bounce | None: ...


class LedgerPort(Protocol):
    """Writes the ledger, one entry at a time; concurrent calls share a statement. All raise Unavailable."""

    async def open(self, opening: Opening) -> Opened: ...
    async def close(self, closings: Sequence[Closing], tally: Tally | None) -> None: ...
    async def end(self, ending: Ending) -> None: ...
    async def bounced(self, outbound_id: OutboundId, status: str, text: str) -> None: ...
    async def outbound(self, outbound_id: OutboundId) -> OutboundCopy | None: ...


class Post(Protocol):
    """Tells somebody, soon: durable once it returns. Equal notices that wait are one. Raises Unavailable."""

    async def __call__(self, notice: Notice, /) -> None: ...
