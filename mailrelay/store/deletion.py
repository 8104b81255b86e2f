"""What becomes of an account that is being deleted, piece by piece: a hundred thousand aliases take their time."""

from dataclasses import dataclass
from typing import LiteralString

from psycopg.errors import ForeignKeyViolation

from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.jobs import ACCOUNT_DELETION
from mailrelay.store import alias_rows
from mailrelay.store.database import Database
from mailrelay.store.manage import note

_BATCH_ROWS = 200
# One alias can have the ids of a year's mail.
_PATIENCE = "set local statement_timeout = '60s'"
_DELETING = "select state = 'deleting' from account where id = %(account)s"

_SOME = """
    select id, reserved_as is not null from alias where account_id = %(account)s
    order by id limit %(limit)s for update
"""
# A trigger of theirs ends what the ledger has as held.
_FAILED = """
    delete from failed_delivery where id = any (array(
        select id from failed_delivery where account_id = %(account)s order by created_at desc, id desc
        limit %(limit)s))
    returning 1
"""
_RELEASE = """
    update handle set state = 'released', account_id = null, recipient_id = null, released_at = now(),
                      description = null, from_name = null, forward_mode = null, block_behaviour = null
    where account_id = %(account)s
"""
_UNCOUNT: tuple[LiteralString, ...] = (
    "delete from rate_window where account_id = %(account)s",
    "delete from notification_limit where account_id = %(account)s",
)
# Everything else refers to it `on delete cascade`.
_LAST = "delete from account where id = %(account)s and state = 'deleting' returning id"
# Of those whose job was given up, or lost.
_POST = """
    insert into job (kind, payload, dedupe_key)
    select %(kind)s, jsonb_build_object('account_id', id), %(kind)s || ':' || id from account where state = 'deleting'
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
    returning 1
"""


@dataclass(frozen=True, slots=True)
class Deletions:
    """Accounts in the state `deleting`. All methods raise Unavailable and may be repeated."""

    database: Database

    async def is_due(self, account: AccountId) -> bool:
        """False: it is gone, or nobody wants it deleted."""
        row = await self.database.row(_DELETING, {"account": account})
        return row is not None and bool(row[0])

    async def clear(self, account: AccountId) -> bool:
        """Forget some aliases, and delete some records of failures. False: there are none left."""
        values = {"account": account, "limit": _BATCH_ROWS}
        async with self.database.connection() as conn, conn.transaction():
            await conn.execute(_PATIENCE)
            found = await (await conn.execute(_SOME, values)).fetchall()
            if not found:
                return bool(await (await conn.execute(_FAILED, values)).fetchall())
            await alias_rows.erase(
                conn,
                shared=[number for number, reserved in found if reserved],
                others=[number for number, reserved in found if not reserved],
            )
            return True

    async def finish(self, account: AccountId) -> None:
        """Delete the rest. Addresses on shared domains, handles and usernames stay taken for ever.

        Raises Unavailable if there is an alias again.
        """
        try:
            async with self.database.connection() as conn, conn.transaction():
                await conn.execute(_PATIENCE)
                for statement in (_RELEASE, *_UNCOUNT):
                    await conn.execute(statement, {"account": account})
                row = await (await conn.execute(_LAST, {"account": account})).fetchone()
                if row is not None:
                    await note(conn, "worker", account, "account.delete", "account", account)
        except ForeignKeyViolation as error:
            raise Unavailable(f"account {account} has something again: {error.diag.constraint_name}") from error

    async def post(self) -> int:
        """Have a job for each such account. Gives how many that made."""
        return len(await self.database.rows(_POST, {"kind": ACCOUNT_DELETION}))
