"""What a mailed code does to the API keys of a mailbox: each code once, in one transaction with its effect."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from mailrelay.core.apikeys import ApiKey
from mailrelay.core.codes import Pending
from mailrelay.core.records import NewToken
from mailrelay.store.apikeys import add_key, destroy_keys, keys_of
from mailrelay.store.confirmations import settle, take
from mailrelay.store.database import Database
from mailrelay.store.manage import Connection

_ACTOR = "public"


@dataclass(frozen=True, slots=True)
class KeyRequests:
    """pending: what the code was found to be for; None: somebody else has used it by now. All raise Unavailable."""

    database: Database

    async def create(self, macs: Sequence[bytes], pending: Pending, new: NewToken, now: datetime) -> ApiKey | None:
        """The new key. The code is not used up while the mailbox' account is being deleted."""
        async with self._taken(macs, pending, now) as conn:
            return None if conn is None else await add_key(conn, pending.email, new, _ACTOR)

    async def reveal(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> Sequence[ApiKey] | None:
        """The mailbox' keys that are in force, the newest first."""
        async with self._taken(macs, pending, now) as conn:
            return None if conn is None else await keys_of(conn, pending.email)

    async def destroy_all(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> int | None:
        """How many there were, in force or not."""
        async with self._taken(macs, pending, now) as conn:
            return None if conn is None else await destroy_keys(conn, pending.email, _ACTOR)

    @asynccontextmanager
    async def _taken(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> AsyncIterator[Connection | None]:
        """A transaction at whose end the code is used up."""
        async with self.database.connection() as conn, conn.transaction():
            held = await take(conn, macs, now)
            if held is None or held.id != pending.id:
                yield None
                return
            yield conn
            await settle(conn, held.id, now)
