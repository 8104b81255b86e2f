"""After storage.key has got a new key in front: everything is sealed with that one, so that the old one can go.

Whatever ends it, what was done is done, and the next walk finds the rest.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailrelay import log
from mailrelay.core.resealing import AT_ONCE, Page, Resealed, Shelf


class SealedRows(Protocol):
    """All raise Unavailable."""

    async def page(self, shelf: Shelf, after: int) -> Page: ...
    async def reseal(self, shelf: Shelf, ids: Sequence[int]) -> tuple[int, int]: ...


async def reseal(rows: SealedRows, progress: Callable[[int], None], seconds: float | None = None) -> Resealed:
    """Walk over all tables. progress: hears of so many more rows; seconds: how long it may begin something new."""
    begun = time.monotonic()
    done = lost = 0
    for shelf, at_once in AT_ONCE.items():
        page = Page(0, True, ())
        while page.more:
            page = await rows.page(shelf, page.position)
            for start in range(0, len(page.old), at_once):
                if seconds is not None and time.monotonic() - begun >= seconds:
                    return Resealed(done, lost, False)
                sealed, closed = await rows.reseal(shelf, page.old[start : start + at_once])
                done, lost = done + sealed, lost + closed
                progress(sealed + closed)
    return Resealed(done, lost, True)


@dataclass(slots=True)
class Resealing:
    """A step of flows/upkeep.py. rotated: there is more than one key, without which nothing is looked at.

    Several workers may do it at once: each row is sealed by one of them, the others find it done.
    """

    rows: SealedRows
    rotated: bool
    seconds: float = 60.0

    async def __call__(self, now: datetime) -> int:
        """Gives how many rows were sealed anew."""
        if not self.rotated:
            return 0
        found = await reseal(self.rows, lambda rows: None, self.seconds)
        if found.lost:
            log.logger().warning("reseal.lost", rows=found.lost)
        return found.rows
