"""The worker looks at every recipient's key once a day, and tells owners what ends or has ended (spec section 6.5)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from mailrelay.core.facts import RecipientId
from mailrelay.core.recipientkeys import Checked, Gate, StoredKey, checked

# Steps come by the hour, so this is a day at most.
_EVERY = timedelta(hours=23)
_BATCH = 50


class CheckStore(Protocol):
    """All raise Unavailable."""

    async def unchecked(self, before: datetime, after: RecipientId, limit: int) -> Sequence[StoredKey]: ...
    async def checked(self, key: StoredKey, result: Checked, now: datetime) -> bool: ...


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """A step of flows/upkeep.py. Several workers may do it at once: each key counts for one of them."""

    store: CheckStore
    gate: Gate

    async def __call__(self, now: datetime) -> int:
        """Gives how many owners are told."""
        told, after = 0, RecipientId(0)
        while keys := await self.store.unchecked(now - _EVERY, after, _BATCH):
            for key in keys:
                result = checked(key, await asyncio.to_thread(self.gate, key.octets, now), now)
                done = await self.store.checked(key, result, now)
                told += done and result.notice is not None
            after = keys[-1].recipient_id
        return told
