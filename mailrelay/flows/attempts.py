"""Things of which only failures count, and only so many (haltman-api.md section 2.10)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailrelay import log
from mailrelay.core.entrance import FailureLimit, TooManyFailures, counted, refused
from mailrelay.core.errors import Unavailable
from mailrelay.core.turnstile import Bucket


class Store(Protocol):
    """As store/failures.py. Both raise Unavailable."""

    async def take(self, buckets: Sequence[Bucket]) -> Sequence[tuple[int, datetime]]: ...
    async def give_back(self, buckets: Sequence[Bucket]) -> None: ...


class Try:
    """One attempt. refusal: why it may not be made. It counts as a failure unless somebody says otherwise."""

    def __init__(self, refusal: TooManyFailures | None) -> None:
        self.refusal = refusal
        self.failed = True


@dataclass(frozen=True, slots=True)
class Attempts:
    """rates: other numbers by name of the limit; 0 and less turn it off."""

    store: Store
    rates: Mapping[str, int]

    @asynccontextmanager
    async def attempt(self, *limits: tuple[FailureLimit, Sequence[str]]) -> AsyncIterator[Try]:
        """An attempt within limits, each counted for something. What raises has not failed. Raises Unavailable.

        What is refused is not counted: nobody keeps a limit closed by knocking.
        """
        entries = counted(limits, self.rates)
        buckets = [entry.bucket for entry in entries]
        hits = await self.store.take(buckets) if buckets else ()
        tried = Try(refused(entries, hits))
        try:
            yield tried
        except Exception:
            tried.failed = False
            raise
        finally:
            if hits and (tried.refusal is not None or not tried.failed):
                await self._give_back(buckets[: len(hits)])

    async def _give_back(self, buckets: Sequence[Bucket]) -> None:
        """What cannot be taken back stays counted, which is no reason to fail what went well."""
        try:
            await self.store.give_back(buckets)
        except Unavailable as error:
            log.logger().warning("attempts.still_counted", problem=str(error))
