"""How often something failed: counted before it is tried, so that those who try at once are counted too."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mailrelay.core.turnstile import Bucket
from mailrelay.store.database import Database
from mailrelay.store.gate import TAKE_BACK
from mailrelay.store.turnstile import Turnstile, counted_for


@dataclass(frozen=True, slots=True)
class Failures:
    """Both raise Unavailable."""

    database: Database

    async def take(self, buckets: Sequence[Bucket]) -> Sequence[tuple[int, datetime]]:
        """One failure more for each, until one is full: hits, and when the window began, of those that were counted."""
        return (await Turnstile(self.database).pass_by("", buckets)).counted

    async def give_back(self, buckets: Sequence[Bucket]) -> None:
        """It was none after all."""
        values = {"names": [one.name for one in buckets], "subjects": [counted_for(one) for one in buckets]}
        await self.database.rows(TAKE_BACK, values)
