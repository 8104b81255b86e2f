"""What the mail log causes, written together with how far it was read: so every line counts once."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.errors import ForeignKeyViolation

from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, AliasId, RecipientId
from mailrelay.core.failed import INBOUND_REJECTION
from mailrelay.core.held import place
from mailrelay.core.ledger import storable
from mailrelay.core.maillog import Position
from mailrelay.core.rejection import Question, Rejection, Target
from mailrelay.core.sealed import NONCE_OCTETS, Vault, seal
from mailrelay.core.verp import EmailType
from mailrelay.core.watched import Arrived, CopyNews, Written
from mailrelay.store.database import constraint
from mailrelay.store.leader import Leader
from mailrelay.store.ledger import signed, unsigned

_POSITION: LiteralString = "select inode, position_octets, cursor from log_position where source = %(source)s"

# Times in the log are of whole seconds, and our refusals are written a moment after they were said. Queue ids come back
# after days.
_TARGETS: LiteralString = """
    select q.n, a.account_id, a.id, a.state,
           case when u.active is false then 'username' when d.active is false then 'domain'
                when h.state <> 'active' then 'handle' else '' end,
           exists (
               select from blocked_sender s
               where s.account_id = a.account_id and (s.alias_id is null or s.alias_id = a.id)
                 and (s.type = 'email' and s.value = q.sender
                      or s.type = 'domain' and s.value = any (q.sender_domains))),
           exists (
               select from ledger l
               where l.queue_id = q.queue_id and l.queue_id <> ''
                 and l.at between q.at - interval '1 hour' and q.at + interval '1 hour')
           or exists (
               select from ledger l
               where l.rcpt = q.rcpt and l.at between q.at - interval '2 s' and q.at + interval '3 s'
                 and lower(l.sender) = q.sender and l.client_address is not distinct from q.client)
    from json_to_recordset(%(questions)s) as q(
        n int, local_part text, domain text, rcpt text, sender text, sender_domains text[], client inet, queue_id text,
        at timestamptz)
    join alias a on a.local_part = q.local_part and a.domain = q.domain and a.account_id is not null
    left join username u on u.id = a.username_id
    left join domain d on d.id = a.domain_id
    left join handle h on h.id = a.handle_id
"""

# Whoever knows one of our return paths could imitate a copy, but not deliver to where the real one goes.
_NEWS = """
    news as (
        select * from json_to_recordset(%(news)s) as n(
            id bigint, at timestamptz, rcpts text[], remote text, sent bool)
    )"""
_ITS_OWN = "o.id = news.id and lower(o.destination) = any (news.rcpts)"

_ARRIVED: LiteralString = f"""
    with {_NEWS}
    select o.id, o.email_type, o.recipient_id
    from news join outbound o on {_ITS_OWN}
    where news.sent and o.sent_at is null
"""

# Nothing happens if another process has moved the position: it did all this.
_WRITE: LiteralString = f"""
    with moved as (
        insert into log_position (source, inode, position_octets, cursor)
        values (%(source)s, %(inode)s, %(octets)s, %(mark)s)
        on conflict (source) do update
        set inode = excluded.inode, position_octets = excluded.position_octets, cursor = excluded.cursor,
            updated_at = now()
        where (log_position.inode, log_position.position_octets, log_position.cursor)
              is not distinct from (%(old_inode)s::bigint, %(old_octets)s::bigint, %(old_mark)s::text)
        returning 1
    ), records as (
        insert into failed_delivery (uuid, account_id, alias_id, email_type, bounce_type, status, code, remote_mta,
                                     sender, destination, key_id, ir_dedupe_key, attempted_at)
        select r.uuid, r.account_id, r.alias_id, %(type)s, r.bounce_type, r.status, r.code, r.remote_mta, r.sender,
               r.destination, %(key_id)s, r.key, r.at
        from json_to_recordset(%(records)s) as r(
            uuid uuid, account_id bigint, alias_id bigint, bounce_type text, status text, code text, remote_mta text,
            sender bytea, destination bytea, key text, at timestamptz)
        join alias a on a.id = r.alias_id and a.account_id = r.account_id
        where exists (select from moved)
        on conflict on constraint failed_delivery_once do nothing
    ), {_NEWS}, told as (
        update outbound o
        set sent_at = case when news.sent then coalesce(o.sent_at, news.at) else o.sent_at end, remote = news.remote
        from news where {_ITS_OWN} and exists (select from moved)
    )
    select count(*) from moved
"""


class WatchStore:
    """One log of one host: a single process leads. Every method raises Unavailable when the database is in trouble.

    source: host and log. random: so many unpredictable octets.
    """

    def __init__(self, dsn: str, source: str, vault: Vault, random: Callable[[int], bytes]) -> None:
        digest = hashlib.sha256(b"maillog\0" + source.encode("utf-8", "replace")).digest()
        self._leader = Leader(dsn, int.from_bytes(digest[:8], "big", signed=True), "log watcher")
        self._source = storable(source)
        self._vault = vault
        self._random = random

    async def lead(self) -> bool:
        """True: this process is the one that reads this log."""
        return await self._leader.lead()

    async def close(self) -> None:
        """Give up the lead; another `lead` connects again."""
        await self._leader.close()

    async def position(self) -> Position:
        """How far the log was read; the empty position if never."""
        rows = await self._leader.rows(_POSITION, {"source": self._source})
        return Position(rows[0][0], rows[0][1] or 0, rows[0][2] or "") if rows else Position()

    async def targets(self, questions: Sequence[Question]) -> Mapping[int, Target]:
        """The aliases that were meant, by position in `questions`; others are none, or nobody's any more."""
        asked = [_question(n, one) for n, one in enumerate(questions)]
        rows = await self._leader.rows(_TARGETS, {"questions": json.dumps(asked)})
        return {n: Target(AccountId(account), AliasId(alias), *rest) for n, account, alias, *rest in rows}

    async def arrived(self, news: Sequence[CopyNews]) -> list[Arrived]:
        """Of copies that were sent, those of which it was not known."""
        rows = await self._leader.rows(_ARRIVED, {"news": _news(news)})
        return [
            Arrived(unsigned(number), EmailType(kind), None if recipient is None else RecipientId(recipient))
            for number, kind, recipient in rows
        ]

    async def write(self, batch: Written) -> bool:
        """Write all of it, in one transaction; False: somebody else did, and reading begins anew at `position`."""
        before, after = batch.before, batch.after
        values = {
            "source": self._source,
            "inode": after.inode,
            "octets": after.octets,
            "mark": after.mark,
            "old_inode": before.inode,
            "old_octets": before.octets,
            "old_mark": before.mark,
            "type": INBOUND_REJECTION,
            "key_id": self._vault.key_id,
            "records": json.dumps([self._record(rejection) for rejection in batch.rejections]),
            "news": _news(batch.news),
        }
        try:
            async with self._leader.transaction() as conn:
                # Mail that touches the same copies goes first: it would fail after a second (deadlock_timeout), we may
                # wait.
                await conn.execute("set local lock_timeout = '300ms'")
                row = await (await conn.execute(_WRITE, values)).fetchone()
        except ForeignKeyViolation as error:
            raise Unavailable(f"a rejection cannot be recorded now: {constraint(error)}") from error
        return row is not None and row[0] == 1

    def _record(self, rejection: Rejection) -> dict[str, Any]:
        uuid = UUID(bytes=self._random(16), version=4)
        return {
            "uuid": str(uuid),
            "account_id": rejection.account_id,
            "alias_id": rejection.alias_id,
            "bounce_type": rejection.bounce_type,
            "status": rejection.status,
            "code": rejection.code,
            "remote_mta": rejection.remote_mta,
            "sender": self._sealed("author", uuid, rejection.sender),
            "destination": self._sealed("destination", uuid, rejection.destination),
            "key": rejection.key,
            "at": _time(rejection.at),
        }

    def _sealed(self, column: str, record: UUID, text: str) -> str:
        clear = text.encode("utf-8", "replace")
        return f"\\x{seal(self._vault, self._random(NONCE_OCTETS), place(column, record), clear).hex()}"


def _question(n: int, asked: Question) -> dict[str, Any]:
    return {
        "n": n,
        "local_part": storable(asked.alias.local),
        "domain": asked.alias.domain,
        "rcpt": storable(asked.rcpt),
        "sender": storable(asked.sender),
        "sender_domains": [storable(domain) for domain in asked.sender_domains],
        "client": asked.client,
        "queue_id": asked.rejected.queue_id,
        "at": _time(asked.rejected.at),
    }


def _news(news: Sequence[CopyNews]) -> str:
    return json.dumps(
        [
            {
                "id": signed(one.outbound_id),
                "at": _time(one.at),
                "rcpts": [storable(rcpt) for rcpt in one.rcpts],
                "remote": storable(one.remote),
                "sent": one.sent,
            }
            for one in news
        ]
    )


def _time(at: datetime) -> str:
    return at.isoformat()
