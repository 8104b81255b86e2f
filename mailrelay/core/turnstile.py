"""What is counted of a request before it is carried out (haltman-api.md section 2.10)."""

from dataclasses import dataclass
from datetime import datetime

from mailrelay.core.suspects import BanHit


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit for one subject. limit None: it refuses nobody."""

    name: str
    subject: str
    seconds: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class Passage:
    """What stands against a request. counted: hits and the opening of the window, as many buckets as were counted."""

    ban: BanHit | None
    counted: tuple[tuple[int, datetime], ...]
