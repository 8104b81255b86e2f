"""The queue of work that is done later, in a table: shared by all workers, surviving each of them.

A worker takes jobs for a time, the lease, and prolongs it while it works. The jobs of one that was killed are free
again when their lease has ended, so everything that a job does must be safe to do twice.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

from psycopg import AsyncConnection, Error
from psycopg.conninfo import make_conninfo

from mailrelay import log
from mailrelay.core.errors import Unavailable
from mailrelay.core.jobs import LOOKING, MAX_ERROR_CHARACTERS, NOTICE, Depth, Job, JobEnd, JobId
from mailrelay.core.ledger import storable
from mailrelay.core.notices import Notice
from mailrelay.store.database import Database

_RETRY_SECONDS = 1.0
_TRIES = 5
_KEEPALIVE = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 30_000}

# `run_at` null: now. Of those with one key that have not ended there is one; kinds in LOOKING lose theirs when taken.
_PUT: LiteralString = """
    insert into job (kind, payload, dedupe_key, run_at)
    values (%(kind)s, %(payload)s, %(key)s, coalesce(%(run_at)s, now()))
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
"""

# For inserts next to the change that a job of LOOKING is to see: one that waits is locked, so that nobody takes it
# before the change is committed.
ONE_THAT_WAITS: LiteralString = """
    on conflict (dedupe_key) where finished_at is null and failed_at is null do update set run_at = job.run_at"""

# Another one's that is just being written shows as neither.
_ASK: LiteralString = f"""
    with made as ({_PUT} returning id)
    select id from made union all
    select id from job where dedupe_key = %(key)s and finished_at is null and failed_at is null
"""
_END = """
    select case when failed_at is not null then coalesce(last_error, 'it was given up') else '' end
    from job where id = %(id)s and (finished_at is not null or failed_at is not null)
"""
_WITHDRAW = """
    delete from job where id = %(id)s and leased_until is null and finished_at is null and failed_at is null
"""

# A job whose workers were killed every time, perhaps by the job itself, is given up as well. `array(…)`, so that what
# is locked is found first and touched once. The lease grows with the attempts: workers that end again and again, for
# whatever reason, shall not use them up in some minutes.
_TAKE = """
    with worn as (
        update job set failed_at = now(), leased_until = null, leased_by = null,
                       last_error = coalesce(last_error, 'its worker ended each time')
        where id = any (array(
            select id from job
            where finished_at is null and failed_at is null and run_at <= now() and kind = any (%(kinds)s)
              and attempts >= max_attempts and (leased_until is null or leased_until < now())
            order by run_at limit 100 for update skip locked))
    )
    update job set attempts = attempts + 1, leased_until = now() + (attempts + 1) * %(lease)s,
                   leased_by = %(worker)s,
                   dedupe_key = case when kind <> all (%(looking)s::text[]) then dedupe_key end
    where id = any (array(
        select id from job
        where finished_at is null and failed_at is null and run_at <= now() and kind = any (%(kinds)s)
          and attempts < max_attempts and (leased_until is null or leased_until < now())
        order by run_at, id limit %(limit)s for update skip locked))
    returning id, kind, payload, attempts, max_attempts, created_at
"""

# Only while the lease is still this worker's: another one may have begun anew, and its end counts.
_MINE = "id = any (%(ids)s::bigint[]) and leased_by = %(worker)s and finished_at is null and failed_at is null"

# What it was about may be somebody's; once it is done, nobody needs it.
_FINISH = f"""
    update job set finished_at = now(), leased_until = null, leased_by = null, payload = payload - 'data'
    where {_MINE}
"""
# Within the patience the last attempt is made again and again.
_FAIL = f"""
    update job set leased_until = null, leased_by = null, last_error = %(error)s,
                   run_at = now() + coalesce(%(rest)s::interval, interval '0'),
                   attempts = case when attempts >= max_attempts and created_at > now() - %(patience)s::interval
                                   then max_attempts - 1 else attempts end,
                   failed_at = case when attempts >= max_attempts and created_at <= now() - %(patience)s::interval
                                         or %(rest)s::interval is null then now() end
    where {_MINE}
"""
_EXTEND = f"update job set leased_until = greatest(leased_until, now() + %(lease)s) where {_MINE} returning id"
_GIVE_BACK = f"update job set leased_until = null, leased_by = null, attempts = attempts - 1 where {_MINE}"

_DEPTH = """
    select count(*), count(*) filter (where run_at <= now()),
           coalesce(extract(epoch from now() - min(run_at)), 0)
    from job where finished_at is null and failed_at is null
"""


@dataclass(frozen=True, slots=True)
class JobStore:
    """The queue as one worker sees it. worker: its name, unlike that of any other. All methods raise Unavailable."""

    database: Database
    worker: str = ""

    async def post(self, notice: Notice, /) -> None:
        """Tell somebody, soon. An equal notice that still waits will do."""
        await self.put(NOTICE, notice.to_json(), notice.dedupe_key)

    async def put(
        self, kind: str, payload: Mapping[str, object], dedupe_key: str | None = None, run_at: datetime | None = None
    ) -> None:
        """Add a job, unless one with this key waits already. run_at: not before; None: now."""
        values = {"kind": kind, "payload": json.dumps(payload), "key": dedupe_key, "run_at": run_at}
        await self.database.rows(_PUT, values)

    async def ask(self, kind: str, payload: Mapping[str, object], dedupe_key: str) -> JobId:
        """Add a job, or find the one with this key that has not ended, to wait for its end."""
        values = {"kind": kind, "payload": json.dumps(payload), "key": dedupe_key, "run_at": None}
        for _ in range(_TRIES):
            row = await self.database.row(_ASK, values)
            if row is not None:
                return JobId(row[0])
        raise Unavailable(f"job {dedupe_key} comes and goes")

    async def end(self, job_id: JobId) -> JobEnd | None:
        """How it ended; None while it has not."""
        row = await self.database.row(_END, {"id": job_id})
        return None if row is None else JobEnd(row[0])

    async def withdraw(self, job_id: JobId) -> None:
        """Not wanted any more, unless somebody is at it."""
        await self.database.rows(_WITHDRAW, {"id": job_id})

    async def take(self, limit: int, lease: timedelta, kinds: Sequence[str]) -> list[Job]:
        """The jobs of these kinds that are due, the oldest first, for this worker alone until the lease ends.

        lease: of a first attempt; that of the second is twice as long, and so on.
        """
        values = {"limit": limit, "lease": lease, "kinds": list(kinds), "worker": self.worker, "looking": list(LOOKING)}
        rows = await self.database.rows(_TAKE, values)
        return sorted((Job(JobId(row[0]), *row[1:]) for row in rows), key=lambda job: job.id)

    async def finish(self, ids: Sequence[JobId]) -> None:
        """They are done."""
        await self.database.rows(_FINISH, self._values(ids))

    async def fail(self, job_id: JobId, error: str, rest: timedelta | None, patience: timedelta = timedelta(0)) -> None:
        """It did not work: again after `rest`, unless that was its last attempt. None: never again.

        patience: a job that is younger has no last attempt.
        """
        words = storable(" ".join(error.split()), MAX_ERROR_CHARACTERS)
        await self.database.rows(_FAIL, {**self._values([job_id]), "error": words, "rest": rest, "patience": patience})

    async def extend(self, ids: Sequence[JobId], lease: timedelta) -> set[JobId]:
        """Keep them until a new lease ends. Gives those that are still this worker's."""
        rows = await self.database.rows(_EXTEND, {**self._values(ids), "lease": lease})
        return {JobId(row[0]) for row in rows}

    async def give_back(self, ids: Sequence[JobId]) -> None:
        """Not begun after all: others may take them at once."""
        await self.database.rows(_GIVE_BACK, self._values(ids))

    async def depth(self) -> Depth:
        """How much waits."""
        row = await self.database.row(_DEPTH)
        assert row is not None  # a count gives one row
        return Depth(row[0], row[1], max(0.0, float(row[2])))

    def _values(self, ids: Sequence[JobId]) -> dict[str, object]:
        return {"ids": list(ids), "worker": self.worker}


async def listen(dsn: str, wake: Callable[[], None]) -> None:
    """Call `wake` whenever jobs were added, and when that may have been missed. Until cancelled."""
    while True:
        try:
            async with await AsyncConnection.connect(
                make_conninfo(dsn, **_KEEPALIVE),
                autocommit=True,
                connect_timeout=5,
                application_name="mailrelay jobs",
            ) as conn:
                await conn.execute("listen mailrelay_job")
                wake()
                async for _ in conn.notifies():
                    wake()
        except (Error, OSError) as error:
            log.logger().warning("jobs.deaf", problem=" ".join(str(error).split()))
        await asyncio.sleep(_RETRY_SECONDS)
