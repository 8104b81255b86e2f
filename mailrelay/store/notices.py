"""What notifications need of the database: whom to tell, how many went out already, and what they are about."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import TupleRow

from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.held import place
from mailrelay.core.jobs import NOTICE, JobId
from mailrelay.core.noticefailure import Setback
from mailrelay.core.noticeroute import Admission, Ground, Mailbox
from mailrelay.core.notices import Code, Notice
from mailrelay.core.sealed import Vault, unseal
from mailrelay.store.database import Database

_MAILBOX_COLUMNS = 6


def _mailbox(table: LiteralString) -> LiteralString:
    return f"""{table}.id, {table}.uuid, {table}.address, {table}.verified_at is not null and not {table}.pending,
               {table}.failing_since is not null, {table}.never_plaintext"""


_GROUNDS: LiteralString = f"""
    select acc.state, acc.failed_delivery_notification_preference, acc.never_plaintext, f.quarantined, f.missed,
           {_mailbox("r")}, {_mailbox("d")}, {_mailbox("o")}
    from json_to_recordset(%(notices)s) as q(n int, account_id bigint, recipient_id bigint, failed_id bigint)
    left join account acc on acc.id = q.account_id
    left join recipient r on r.id = q.recipient_id and r.account_id = q.account_id
    left join recipient d on d.id = acc.default_recipient_id
    left join lateral (
        select quarantined,
               case when email_type = 'F' and bounce_type in ('hard', 'soft') then recipient_id end as missed
        from failed_delivery where id = q.failed_id and account_id = q.account_id
    ) f on true
    left join lateral (
        select * from recipient
        where recipient.account_id = acc.id and verified_at is not null and not pending and failing_since is null
          and id is distinct from f.missed
        order by exists (select from domain where domain.name = split_part(recipient.address_folded, '@', 2)), id
        limit 1
    ) o on true
    order by q.n
"""

# Whoever counts for the same things waits here, so that the statement after it sees what they have counted. In one
# order, so that nobody waits for somebody who waits for him. The lock ends with the transaction.
_TURN = """
    select pg_advisory_xact_lock(key)
    from (select distinct hashtextextended('notification_limit:' || account_id, 0) as key
          from json_to_recordset(%(entries)s) as q(account_id bigint) order by 1 offset 0) k
"""

# A window begins with the first notice in it. What passes is marked in its job, so that a second try of the same job
# counts nothing; what does not is done.
_ADMIT = f"""
    with q as (
        select q.* from json_to_recordset(%(entries)s) as q(
            n int, job_id bigint, account_id bigint, kind text, subject text, amount int, seconds int, digest jsonb,
            digest_key text)
        join job on job.id = q.job_id and job.leased_by = %(worker)s and job.finished_at is null
                    and job.failed_at is null
    ), open as (
        select g.*, w.window_start, coalesce(w.sent, 0) as sent
        from (select account_id, kind, subject, max(amount) as amount, max(seconds) * interval '1 second' as length
              from q group by 1, 2, 3) g
        left join lateral (
            select l.window_start, l.sent from notification_limit l
            where l.account_id = g.account_id and l.kind = g.kind and l.subject = g.subject
              and l.window_start > now() - g.length
            order by l.window_start desc limit 1
        ) w on true
    ), ranked as (
        select q.n, q.job_id, q.digest, q.digest_key, o.*,
               row_number() over (partition by q.account_id, q.kind, q.subject order by q.n) <= o.amount - o.sent
                   as passes
        from q join open o on o.account_id = q.account_id and o.kind = q.kind and o.subject = q.subject
    ), counted as (
        insert into notification_limit (account_id, kind, subject, window_start, sent, suppressed)
        select account_id, kind, subject, coalesce(window_start, now()), count(*) filter (where passes),
               count(*) filter (where not passes)
        from ranked group by account_id, kind, subject, window_start
        on conflict on constraint notification_limit_pkey do update
            set sent = notification_limit.sent + excluded.sent,
                suppressed = notification_limit.suppressed + excluded.suppressed
    ), marked as (
        update job set payload = payload || '{{"admitted": true}}' from ranked
        where job.id = ranked.job_id and passes
    ), ended as (
        update job set finished_at = now(), leased_until = null, leased_by = null, payload = payload - 'data'
        from ranked where job.id = ranked.job_id and not passes
    ), digests as (
        insert into job (kind, payload, dedupe_key, run_at)
        select distinct on (digest_key) '{NOTICE}',
               jsonb_set(digest, '{{data}}', jsonb_build_object('since', coalesce(window_start, now()))), digest_key,
               coalesce(window_start, now()) + length
        from ranked where not passes and digest_key is not null
        on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
    )
    select job_id from ranked where passes
"""

_SUPPRESSED = """
    select coalesce(sum(suppressed), 0) from notification_limit
    where account_id = %(account)s and kind = %(kind)s and subject = %(subject)s and window_start >= %(since)s
"""

_SETBACKS: LiteralString = """
    select f.uuid, f.sender, f.destination, f.subject, s.evidence, f.email_type, f.bounce_type, f.status, f.code,
           f.remote_mta, f.quarantined, f.is_stored, coalesce(s.partial, false), f.attempted_at, f.created_at, a.uuid,
           a.local_part || '@' || a.domain
    from failed_delivery f
    left join stored_message s on s.failed_delivery_id = f.id
    left join alias a on a.id = f.alias_id
"""
_ONE: LiteralString = f"{_SETBACKS} where f.id = %(id)s and f.account_id = %(account)s"
_LATEST: LiteralString = f"""
    {_SETBACKS}
    where f.account_id = %(account)s and f.created_at >= %(since)s and (f.email_type = 'IR') = %(inbound)s
    order by f.created_at desc, f.id desc limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class NoticeStore:
    """All methods raise Unavailable. worker: as the queue knows it."""

    database: Database
    vault: Vault
    worker: str

    async def grounds(self, notices: Sequence[Notice]) -> list[Ground]:
        """What decides where they go, in their order."""
        asked = [
            {
                "n": n,
                "account_id": notice.account_id,
                "recipient_id": notice.recipient_id,
                "failed_id": failed if type(failed := notice.data.get("failed_id")) is int else None,
            }
            for n, notice in enumerate(notices)
        ]
        return [_ground(row) for row in await self.database.rows(_GROUNDS, {"notices": json.dumps(asked)})]

    async def admit(self, admissions: Sequence[Admission]) -> set[JobId]:
        """Count them, those first that come first, and give those that may go out.

        The others are done. If they are failed deliveries, a job tells how many there were when the window ends.
        """
        entries = json.dumps([_entry(n, admission) for n, admission in enumerate(admissions)])
        async with self.database.connection() as conn, conn.transaction():
            await conn.execute(_TURN, {"entries": entries})
            cursor = await conn.execute(_ADMIT.encode(), {"entries": entries, "worker": self.worker})
            return {JobId(row[0]) for row in await cursor.fetchall()}

    async def suppressed(self, account: AccountId, code: Code, subject: str, since: datetime) -> int:
        """How many were not told of since the window that began then."""
        values = {"account": account, "kind": code.value, "subject": subject, "since": since}
        row = await self.database.row(_SUPPRESSED, values)
        return 0 if row is None else int(row[0])

    async def setback(self, account: AccountId, failed_id: int) -> Setback | None:
        """A failed delivery; None: it is gone."""
        row = await self.database.row(_ONE, {"id": failed_id, "account": account})
        return None if row is None else self._setback(row)

    async def latest(self, account: AccountId, since: datetime, *, inbound: bool, limit: int) -> list[Setback]:
        """Failed deliveries, the latest first. inbound: those that were turned away when they came; else all others."""
        values = {"account": account, "since": since, "inbound": inbound, "limit": limit}
        return [self._setback(row) for row in await self.database.rows(_LATEST, values)]

    def _setback(self, row: TupleRow) -> Setback:
        uuid, sender, destination, subject, evidence, *known = row
        return Setback(
            self._readable("author", uuid, sender),
            self._readable("destination", uuid, destination),
            self._readable("subject", uuid, subject),
            self._readable("evidence", uuid, evidence),
            *known,
        )

    def _readable(self, column: str, record: UUID, sealed: bytes | None) -> str:
        try:
            clear = b"" if sealed is None else unseal(self.vault, place(column, record), sealed)
        except Malformed:
            return ""  # the key is gone
        return clear.decode("utf-8", "replace")


def _entry(n: int, admission: Admission) -> Mapping[str, object]:
    notice, limit = admission.notice, admission.limit
    digest = None
    if notice.code is Code.FDN:
        digest = Notice(Code.FDN_DIGEST, notice.account_id, admission.mailbox, admission.subject)
    return {
        "n": n,
        "job_id": admission.job_id,
        "account_id": notice.account_id or 0,
        "kind": notice.code.value,
        "subject": admission.subject,
        "amount": limit.amount,
        "seconds": round(limit.window.total_seconds()),
        "digest": None if digest is None else digest.to_json(),
        # The same whenever its window began: failures of the next are told along with it.
        "digest_key": None if digest is None else f"notice:{digest.code}:{digest.account_id}:{digest.about}",
    }


def _ground(row: Sequence[Any]) -> Ground:
    state, preference, never_plaintext, quarantined, missed, *mailboxes = row
    starts = range(0, 3 * _MAILBOX_COLUMNS, _MAILBOX_COLUMNS)
    recipient, default, other = (_read_mailbox(mailboxes[at : at + _MAILBOX_COLUMNS]) for at in starts)
    return Ground(state, preference or 0, bool(never_plaintext), recipient, default, other, quarantined, missed)


def _read_mailbox(columns: Sequence[Any]) -> Mailbox | None:
    number, *rest = columns
    return None if number is None else Mailbox(RecipientId(number), *rest)
