"""Requests for codes that go to whoever has an alias or handle: counted, and handed to the worker, in one statement."""

from dataclasses import dataclass
from datetime import timedelta

from psycopg.types.json import Jsonb

from mailrelay.core.jobs import OWNER_REQUEST
from mailrelay.core.owner_request import OwnerRequest
from mailrelay.store.database import Database

# Whether it is the first one in that time, and with that the work; or neither.
_PUT = f"""
    with first as (
        insert into request_window as w (name, subject, seconds, opened_at, hits)
        values (%(name)s, %(subject)s, %(seconds)s, now(), 1)
        on conflict on constraint request_window_pkey do update
            set opened_at = excluded.opened_at, seconds = excluded.seconds
            where w.opened_at + make_interval(secs => w.seconds) <= now()
        returning true
    )
    insert into job (kind, payload) select '{OWNER_REQUEST}', %(payload)s from first returning true
"""


@dataclass(frozen=True, slots=True)
class OwnerRequests:
    """Requests that are waiting. Raises Unavailable."""

    database: Database

    async def put(self, request: OwnerRequest, cooldown: timedelta) -> bool:
        """False: there was the same one less than a cooldown ago. The same is done whatever it is about."""
        values = {
            "name": request.intent.value,
            "subject": request.about,
            "seconds": round(cooldown.total_seconds()),
            "payload": Jsonb(request.to_json()),
        }
        return await self.database.row(_PUT, values) is not None
