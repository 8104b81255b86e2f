"""Whether a client is banned, and how often it asked: one round trip before each request (haltman-api.md 2.10)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from mailrelay.core.bans import BanId
from mailrelay.core.suspects import BanHit
from mailrelay.core.turnstile import Bucket, Passage
from mailrelay.metrics import BAN_HITS
from mailrelay.store.banned import BANNED
from mailrelay.store.database import Database, compact
from mailrelay.store.gate import COUNT

_MAX_SUBJECT = 120

# A limit is counted only if none before it refuses.
_COUNT = """
    r{n} as (
        insert into request_window as w (name, subject, seconds, opened_at, hits)
        select %(name{n})s::text, %(subject{n})s::text, %(seconds{n})s::integer, now(), 1
        where {before}
        {count}
    )
"""


@dataclass(frozen=True, slots=True)
class Turnstile:
    """The ban and request_window tables. Raises Unavailable."""

    database: Database

    async def pass_by(self, ip: str, buckets: Sequence[Bucket]) -> Passage:
        """ip: of the client, '' if unknown."""
        values: dict[str, object] = {"ip": ip or None}
        for n, bucket in enumerate(buckets):
            # Never reached, for those that refuse nobody.
            limit = bucket.limit if bucket.limit is not None else 2**31 - 1
            values |= {f"name{n}": bucket.name, f"subject{n}": counted_for(bucket)}
            values |= {f"seconds{n}": bucket.seconds, f"limit{n}": limit}
        rows = await self.database.rows(_statement(len(buckets)), values)
        ban = None
        counted = []
        for row in rows:
            if row[0] < 0:
                ban = BanHit(BanId(row[3]), row[4], row[5], row[6], row[7])
                BAN_HITS.labels("ip").inc()
            else:
                counted.append((row[1], row[2]))
        return Passage(ban, tuple(counted))


def counted_for(bucket: Bucket) -> str:
    """Its subject as the table has it: what cannot be stored is replaced, what is long is digested."""
    subject = bucket.subject.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return subject if len(subject) <= _MAX_SUBJECT else hashlib.sha256(subject.encode()).hexdigest()


@cache
def _statement(buckets: int) -> str:
    parts, rows = [BANNED], ["select -1 as n, null::integer, null::timestamptz, b.* from banned b"]
    before = "not exists (select from banned)"
    for n in range(buckets):
        parts.append(_COUNT.format(n=n, before=before, count=COUNT))
        rows.append(f"select {n}, hits, opened_at, null, null, null, null, null from r{n}")
        before = f"exists (select from r{n} where hits <= %(limit{n})s::integer)"
    return compact(f"with {', '.join(parts)} {' union all '.join(rows)} order by n")
