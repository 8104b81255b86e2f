"""Webhooks as deliveries see them: who is due, what comes next, and how far each has come."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import TupleRow

from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.sealed import Vault, unseal
from mailrelay.core.webhooks import Entry, Occurrence, Position, Webhook, WebhookId, place
from mailrelay.store.database import Database

# Longer than an attempt takes, so that nobody else makes it at the same time; what a process that died had in hand is
# delivered so much later.
LEASE = timedelta(minutes=1)
_PAGE_ROWS = 100  # so few that the planner walks the index instead of sorting all that an account has
_RENUMBERING_SECONDS = 600

# A transaction gets its number when it first writes and becomes visible when it ends, so numbers come out of order.
# Below the oldest that still runs nothing comes any more: up to there events are final, and (xact, id) is their order.
_FINAL: LiteralString = "o.xact < pg_snapshot_xmin(pg_current_snapshot())"


def first_after(what: LiteralString, known: LiteralString = _FINAL) -> LiteralString:
    """SQL: something of the first event behind the position of webhook `w` that may concern it; null for none.

    known: which events count.
    """
    events: LiteralString = f"select {what} from outbox o where (o.xact, o.id) > (w.position_xact, w.position_id)"
    return f"""
        case when w.account_id is null
             then ({events} and {known} order by o.xact, o.id limit 1)
             else ({events} and {known} and o.account_id = w.account_id order by o.xact, o.id limit 1) end"""


_TAKE: LiteralString = f"""
    with due as (
        select w.id from webhook w
        where w.active and w.next_try_at <= now() and {first_after("o.id")} is not null
        order by w.next_try_at limit %(limit)s
        for update skip locked
    )
    update webhook w set next_try_at = now() + %(lease)s from due where w.id = due.id
    returning w.id, w.uuid, w.account_id, w.url, w.events, w.secret, w.position_xact::text, w.position_id, w.failures
"""

_PAGE_OF: LiteralString = f"""
    select o.xact::text, o.id, o.uuid, o.event, o.created_at, acc.uuid,
           case when %(events)s::text[] = '{{}}' or o.event = any (%(events)s) then o.payload::text end
    from outbox o left join account acc on acc.id = o.account_id
    where (o.xact, o.id) > (%(xact)s::xid8, %(id)s::bigint) and {_FINAL}
"""
_PAGE: LiteralString = f"{_PAGE_OF} order by o.xact, o.id limit %(limit)s"
_OWN_PAGE: LiteralString = f"""
    {_PAGE_OF} and o.account_id = %(account)s order by o.xact, o.id limit %(limit)s
"""

# Whoever changes the position says where it believes it to be: after a replay, or when another process has taken over,
# it is elsewhere.
_STILL: LiteralString = """
    where id = %(webhook)s and active and position_xact = %(from_xact)s::xid8 and position_id = %(from_id)s
    returning id
"""
_TO: LiteralString = "position_xact = %(xact)s::xid8, position_id = %(id)s"
_ADVANCE: LiteralString = f"""
    update webhook
    set {_TO}, failures = 0, last_error = null, delivered_at = now(), next_try_at = now() + %(lease)s
    {_STILL}
"""
_RELEASE: LiteralString = f"update webhook set {_TO}, next_try_at = now() {_STILL}"
_FAIL: LiteralString = f"""
    update webhook set {_TO}, failures = failures + 1, last_error = %(problem)s, next_try_at = now() + %(pause)s
    {_STILL}
"""
_GIVE_UP: LiteralString = f"""
    update webhook set {_TO}, failures = failures + 1, last_error = %(problem)s, active = false
    {_STILL}
"""

# Those that are not final yet count as well: if a transaction keeps them from it, this is where it shows.
_LAG: LiteralString = f"""
    select w.account_id is null, extract(epoch from now() - min({first_after("o.created_at", "true")}))
    from webhook w where w.active group by 1
"""

# In a cluster that a dump was loaded into, transactions are numbered anew: what came along has numbers of the future.
_IS_FOREIGN: LiteralString = """
    select exists (select from outbox where xact >= pg_snapshot_xmax(pg_current_snapshot()))
        or exists (select from webhook where position_xact > pg_snapshot_xmax(pg_current_snapshot()))
"""
# All that is there goes before what will come, in the order of ids, which is that of time, nearly. Both parts see the
# old numbers.
_RENUMBER = """
    with renumbered as (update outbox set xact = '1' where xact <> '1')
    update webhook w
    set position_xact = '1',
        position_id = coalesce(
            (select min(o.id) - 1 from outbox o where (o.xact, o.id) > (w.position_xact, w.position_id)),
            (select max(o.id) from outbox o),
            0)
"""


@dataclass(frozen=True, slots=True)
class WebhookStore:
    """Everything raises Unavailable when the database is in trouble."""

    database: Database
    vault: Vault

    async def renumber(self) -> bool:
        """Once, before anything else: mend the order of events if the database came from another cluster.

        True: it did. Events may then be delivered a second time, none is lost.
        """
        async with self.database.connection() as conn, conn.transaction():
            row = await (await conn.execute(_IS_FOREIGN)).fetchone()
            foreign = row is not None and bool(row[0])
            if foreign:
                await conn.execute(f"set local statement_timeout = '{_RENUMBERING_SECONDS}s'".encode())
                await conn.execute(_RENUMBER)
            return foreign

    async def take(self, limit: int) -> Sequence[Webhook]:
        """Webhooks that are due and have something to hear, those first that wait longest.

        Each belongs to the caller for LEASE, and again so long from every `advance`.
        """
        rows = await self.database.rows(_TAKE, {"limit": limit, "lease": LEASE})
        return [self._webhook(row) for row in rows]

    async def page(self, webhook: Webhook, after: Position) -> Sequence[Entry]:
        """The next places behind a position, in order; none: that is all for now."""
        values = {
            "xact": str(after.xact),
            "id": after.id,
            "events": list(webhook.events),
            "account": webhook.account,
            "limit": _PAGE_ROWS,
        }
        return [
            _entry(row) for row in await self.database.rows(_PAGE if webhook.account is None else _OWN_PAGE, values)
        ]

    async def advance(self, webhook: WebhookId, expected: Position, to: Position) -> bool:
        """The event at `to` was delivered. False: the webhook is not where it was expected, or was switched off; then
        it belongs to the caller no longer. The others answer in the same way."""
        return await self._move(_ADVANCE, webhook, expected, to, lease=LEASE)

    async def release(self, webhook: WebhookId, expected: Position, to: Position) -> bool:
        """Nothing more for now; what lies up to `to` was delivered or is not for this one."""
        return await self._move(_RELEASE, webhook, expected, to)

    async def fail(
        self, webhook: WebhookId, expected: Position, to: Position, problem: str, pause: timedelta | None
    ) -> bool:
        """What comes after `to` could not be delivered. pause: until it is tried again; None: the webhook is switched
        off."""
        query = _GIVE_UP if pause is None else _FAIL
        return await self._move(query, webhook, expected, to, problem=problem, pause=pause)

    async def lag(self) -> Mapping[bool, float]:
        """The age in seconds of the oldest event that waits; True: for one of the installation's webhooks, False: for
        one of an account's. 0: nothing waits."""
        rows = await self.database.rows(_LAG)
        return {True: 0.0, False: 0.0, **{of_all: max(0.0, float(seconds or 0)) for of_all, seconds in rows}}

    async def _move(
        self, query: LiteralString, webhook: WebhookId, expected: Position, to: Position, **more: Any
    ) -> bool:
        values = {
            "webhook": webhook,
            "from_xact": str(expected.xact),
            "from_id": expected.id,
            "xact": str(to.xact),
            "id": to.id,
            **more,
        }
        return await self.database.row(query, values) is not None

    def _webhook(self, row: TupleRow) -> Webhook:
        number, uuid, account, url, events, sealed, xact, event_id, failures = row
        return Webhook(
            id=WebhookId(number),
            uuid=uuid,
            account=None if account is None else AccountId(account),
            url=url,
            events=tuple(events),
            secret=opened(self.vault, uuid, sealed),
            position=Position(int(xact), event_id),
            failures=failures,
        )


def opened(vault: Vault, webhook: UUID, sealed: bytes) -> str | None:
    """A secret from its row; None if it cannot be decrypted."""
    try:
        return unseal(vault, place(webhook), sealed).decode("ascii")
    except (Malformed, UnicodeDecodeError):
        return None


def _entry(row: TupleRow) -> Entry:
    xact, number, uuid, event, created_at, account, payload = row
    position = Position(int(xact), number)
    return Entry(position, None if payload is None else _occurrence(uuid, event, created_at, account, payload))


def _occurrence(uuid: UUID, event: str, created_at: datetime, account: UUID | None, payload: str) -> Occurrence:
    return Occurrence(uuid, event, created_at, account, json.loads(payload))
