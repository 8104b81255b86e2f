"""A copy that came back, as it is recorded (spec sections 7.5 and 7.6)."""

from dataclasses import dataclass

from mailrelay.core.bounce import Failure
from mailrelay.core.failed import FailedId
from mailrelay.core.ledger import OutboundCopy


@dataclass(frozen=True, slots=True)
class Bounced:
    """What a report says of one copy, with what there is of the message itself.

    author: address of spec 3.1 step 7, '' for none. subject: None if unknown, or if it must stay hidden. content: the
    message, as core/held.storable makes it, or what came back; None: nothing. partial: of the message only a part.
    evidence: value of the ingress header, b'' for none. host: ours, for reports that name no other.
    """

    copy: OutboundCopy
    failure: Failure
    author: str
    subject: bytes | None
    content: bytes | None
    partial: bool
    evidence: bytes
    host: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of it. first False: it bounced before, and nothing changed but the number of reports.

    failed_id: of the failed delivery; None: the copy was nobody's, or its record has been removed since.
    """

    first: bool
    failed_id: FailedId | None
