"""Receivers that want rewritten copies, as the database remembers them (spec section 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from mailrelay.core.receivers import Receiver, refuse
from mailrelay.store.database import Database

# For queries that read recipients as `r`, such as that of store/facts.py: whether copies to one are to be rewritten.
REWRITES_ONLY: LiteralString = """
    exists (select from receiver_memory where receiver = substring(r.address_folded from '[^@]*$')
                                          and rewrite_only_until > now())"""

_MARKED = """
    select receiver from receiver_memory where receiver = any (%(receivers)s::text[]) and rewrite_only_until > now()
"""
_MAKE = "insert into receiver_memory (receiver) values (%(receiver)s) on conflict do nothing"
_READ = "select refused_at, rewrite_only_until from receiver_memory where receiver = %(receiver)s for update"
_WRITE = """
    update receiver_memory set refused_at = %(refused_at)s, rewrite_only_until = %(until)s, updated_at = now()
    where receiver = %(receiver)s
"""


@dataclass(frozen=True, slots=True)
class ReceiverStore:
    """Everything raises Unavailable when the database is in trouble."""

    database: Database

    async def note(self, receiver: str, refused_at: datetime, now: datetime) -> Receiver:
        """One more authentication refusal by a receiver; gives what is remembered now.

        receiver: folded domain of the destination; refused_at: when the refused copy was made, so that a report that
        comes twice counts once.
        """
        async with self.database.connection() as conn, conn.transaction():
            await conn.execute(_MAKE, {"receiver": receiver})
            row = await (await conn.execute(_READ, {"receiver": receiver})).fetchone()
            known = Receiver(tuple(row[0]), row[1]) if row is not None else Receiver()
            new = refuse(known, refused_at, now)
            if new != known:
                values = {"refused_at": list(new.refused_at), "until": new.rewrite_only_until, "receiver": receiver}
                await conn.execute(_WRITE, values)
            return new

    async def rewrites_only(self, receivers: Sequence[str]) -> frozenset[str]:
        """Which of these folded domains are to get rewritten copies only."""
        rows = await self.database.rows(_MARKED, {"receivers": list(receivers)})
        return frozenset(row[0] for row in rows)
