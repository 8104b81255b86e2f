"""Mail about what a transaction does: it goes out if that is done, and not otherwise."""

from psycopg.types.json import Jsonb

from mailrelay.core.jobs import NOTICE
from mailrelay.core.notices import Notice
from mailrelay.store.manage import Connection

_JOB = """
    insert into job (kind, payload, dedupe_key)
    select %(kind)s, told.payload, told.key from unnest(%(payloads)s::jsonb[], %(keys)s::text[]) as told(payload, key)
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
"""


async def announce(conn: Connection, *notices: Notice) -> None:
    """Let the worker mail them once the caller's transaction is through."""
    if notices:
        payloads, keys = [Jsonb(one.to_json()) for one in notices], [one.dedupe_key for one in notices]
        await conn.execute(_JOB, {"kind": NOTICE, "payloads": payloads, "keys": keys})
