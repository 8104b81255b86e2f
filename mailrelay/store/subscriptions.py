"""Aliases of the public forward flow: what stands against a wish, and what a code does, once, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg import IntegrityError

from mailrelay.core.address import Address, parse_address
from mailrelay.core.codes import Pending
from mailrelay.core.facts import AliasId
from mailrelay.core.records import ImplicitFor, NewAlias
from mailrelay.core.subscriptions import Found, Refused, Subscribed, Survey, Unsubscribed
from mailrelay.store import alias_rows
from mailrelay.store.confirmations import settle, take
from mailrelay.store.database import Database, compact, constraint
from mailrelay.store.goto import GOTO, GOTO_ID
from mailrelay.store.manage import Connection
from mailrelay.store.manage_aliases import TAKEN, make
from mailrelay.store.offered import usable

_ACTOR = "public"

# A domain on which new aliases can be made.
TAKES: LiteralString = f"select 1 from domain where name = %(domain)s and {usable('domain')}"
_HANDLE: LiteralString = "select from handle where local_part = %(local)s"
_SURVEY = compact(f"""
    select exists ({TAKES}),
           exists (select from alias where local_part = %(local)s and domain = %(domain)s) or exists ({_HANDLE}),
           exists (select from alias where local_part = %(goto_local)s and domain = %(goto_domain)s)
""")
_IS_ALIAS = "select from alias where local_part = %(goto_local)s and domain = %(goto_domain)s"
# Who is one of several mailboxes of an account with a name does not end its aliases for it.
_MAY_END: LiteralString = f"coalesce(acc.name is null or acc.default_recipient_id = {GOTO_ID}, true)"
# Only what is on domains of the installation is anything to strangers.
_FIND = compact(f"""
    select a.state = 'active', {GOTO}
    from alias a left join account acc on acc.id = a.account_id
    where a.local_part = %(local)s and a.domain = %(domain)s and a.shared and a.handle_id is null and {_MAY_END}
""")
_LOCK = """
    select id, state, shared, handle_id is not null from alias
    where local_part = %(local)s and domain = %(domain)s for update
"""
_GOTO: LiteralString = f"select {GOTO} from alias a join account acc on acc.id = a.account_id where a.id = %(id)s"
_OWNS: LiteralString = f"{_GOTO} and {_MAY_END}"


@dataclass(frozen=True, slots=True)
class SubscriptionStore:
    """All methods raise Unavailable. pending: what the code was found to be for."""

    database: Database

    async def survey(self, address: Address, goto: Address) -> Survey:
        """What stands against a new alias and its destination."""
        row = await self.database.row(_SURVEY, _values(address, goto))
        assert row is not None  # without a table there is one row
        return Survey(*row)

    async def find(self, address: Address) -> Found | None:
        row = await self.database.row(_FIND, _values(address))
        return None if row is None else Found(row[0], None if row[1] is None else parse_address(row[1]))

    async def owner(self, address: Address) -> Address | None:
        """The mailbox that an active alias leads to, if that is its owner's."""
        found = await self.find(address)
        return found.goto if found is not None and found.active else None

    async def make(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> Subscribed | Refused:
        """The alias, which belongs to whoever controls the mailbox. Raises Conflict while their account is deleted."""
        address, goto = Address(pending.name, pending.domain), pending.email
        async with self.database.connection() as conn, conn.transaction():
            if not await _taken(conn, macs, pending, now):
                return Refused.NO_CODE
            done = await _made(conn, address, goto)
            if isinstance(done, Subscribed):
                await settle(conn, pending.id, now)
            return done

    async def remove(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> Unsubscribed | Refused:
        """Let an alias take no mail any more; nobody else gets it."""
        address = Address(pending.name, pending.domain)
        async with self.database.connection() as conn, conn.transaction():
            if not await _taken(conn, macs, pending, now):
                return Refused.NO_CODE
            row = await (await conn.execute(_LOCK, _values(address))).fetchone()
            if row is None or not row[2] or row[3]:
                return Refused.ABSENT
            number, state, *_ = row
            if state != "active":
                return Refused.INACTIVE
            if await _goto(conn, number, _OWNS) != pending.email:
                return Refused.OWNER_CHANGED
            await alias_rows.delete(conn, (await alias_rows.hold(conn, address),), _ACTOR)
            await settle(conn, pending.id, now)
            return Unsubscribed(address)


async def _taken(conn: Connection, macs: Sequence[bytes], pending: Pending, now: datetime) -> bool:
    """Whether the code is still there, and held now."""
    held = await take(conn, macs, now)
    return held is not None and held.id == pending.id


async def _made(conn: Connection, address: Address, goto: Address) -> Subscribed | Refused:
    values = _values(address, goto)
    # No administrator changes the domain until the alias is there.
    if await (await conn.execute(f"{TAKES} for key share", values)).fetchone() is None:
        return Refused.DOMAIN
    row = await (await conn.execute(_LOCK, values)).fetchone()
    if row is not None:
        number, state, _, of_handle = row
        if of_handle:
            return Refused.TAKEN
        if state in ("deleted", "forgotten") or await _goto(conn, number) != goto:
            return Refused.OWNER_CHANGED
        return Subscribed(address, goto, made=False) if state == "active" else Refused.TAKEN
    if await (await conn.execute(_HANDLE, values)).fetchone() is not None:
        return Refused.TAKEN
    if await (await conn.execute(_IS_ALIAS, values)).fetchone() is not None:
        return Refused.DESTINATION_IS_ALIAS
    try:
        async with conn.transaction():
            await make(conn, NewAlias(address.local, address.domain, ImplicitFor(goto), (goto,)), _ACTOR)
    except IntegrityError as error:
        if constraint(error) not in TAKEN:
            raise
        return Refused.TAKEN  # somebody was faster
    return Subscribed(address, goto, made=True)


async def _goto(conn: Connection, number: AliasId, statement: LiteralString = _GOTO) -> Address | None:
    row = await (await conn.execute(statement, {"id": number})).fetchone()
    return None if row is None or row[0] is None else parse_address(row[0])


def _values(address: Address, goto: Address | None = None) -> dict[str, object]:
    values: dict[str, object] = {"local": address.local, "domain": address.domain}
    return values if goto is None else {**values, "goto_local": goto.local, "goto_domain": goto.domain}
