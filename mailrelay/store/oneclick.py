"""What signed links look at and change: one transaction with its audit record and the owner's notice (section 8.2)."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from mailrelay.core.address import client_ip
from mailrelay.core.errors import Conflict
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.held import HeldId
from mailrelay.core.links import Action
from mailrelay.core.notices import Code, Notice
from mailrelay.core.oneclick import NOTICES, AliasSight, Change, HeldSight, RecipientSight, Sight, Visitor, Wish
from mailrelay.core.verp import EmailType
from mailrelay.store.announcements import announce
from mailrelay.store.database import Database
from mailrelay.store.failing import WORKS
from mailrelay.store.manage import Connection, conflicts

MAX_PER_MINUTE = 6

# Clock minutes rather than sliding ones: so the statement that counts also decides, whoever else counts meanwhile.
_ADMIT = """
    with taken as (
        insert into rate_window (account_id, kind, subject, window_start, amount)
        values (0, 'http', %(subject)s, date_trunc('minute', now()), 1)
        on conflict on constraint rate_window_pkey do update set amount = rate_window.amount + 1
        where rate_window.amount < %(limit)s
        returning amount
    )
    select case when exists (select from taken) then 0
                else greatest(1, ceil(60 - extract(second from now())))::int end
"""

# Entries for one alias alone are none that links make.
_ALIAS: LiteralString = """
    select a.id, a.account_id, a.uuid, a.local_part || '@' || a.domain, a.state, acc.banner_link_login,
           exists (select from blocked_sender s
                   where s.account_id = acc.id and s.type = %(type)s and s.value = %(value)s
                     and s.alias_id is not distinct from case when %(narrow)s then a.id end),
           h.state = 'released'
    from alias a
    join account acc on acc.id = a.account_id
    left join handle h on h.id = a.handle_id
    where a.uuid = %(about)s
"""
_LOCK_ALIAS: LiteralString = f"{_ALIAS} for no key update of a"
_RECIPIENT: LiteralString = """
    select r.id, r.account_id, r.uuid, r.address, r.verified_at is not null and not r.pending,
           r.failing_since is not null, acc.default_recipient_id is not distinct from r.id
    from recipient r join account acc on acc.id = r.account_id
    where r.uuid = %(about)s
"""
_LOCK_RECIPIENT: LiteralString = f"{_RECIPIENT} for no key update of r"
# As store/held.py tells the states apart.
_HELD = """
    select f.id, a.local_part || '@' || a.domain, f.email_type, s.kind,
           case when f.resent then 'released' when l.outcome = 'held' then 'held' else 'discarded' end,
           coalesce(s.expires_at > now(), false), f.created_at
    from failed_delivery f
    left join ledger l on l.id = f.ledger_id
    left join stored_message s on s.failed_delivery_id = f.id
    left join alias a on a.id = f.alias_id
    where f.uuid = %(about)s and f.ledger_id is not null
"""

# Each gives the id of the row that changed, and nothing if none did.
_DEACTIVATE = "update alias set state = 'inactive' where id = %(id)s and state = 'active' returning id"
_ACTIVATE = "update alias set state = 'active' where id = %(id)s and state = 'inactive' returning id"
_DELETE = """
    update alias set state = 'deleted', deleted_at = now() where id = %(id)s and state in ('active', 'inactive')
    returning id
"""
# Naming the domain makes the trigger alias_reserve look it up and check its owner: both may have changed meanwhile.
_RESTORE = """
    update alias set state = 'active', deleted_at = null, domain = domain where id = %(id)s and state = 'deleted'
    returning id, domain_id is not null or username_id is not null
"""
_BLOCK = """
    insert into blocked_sender (account_id, type, value) values (%(account)s, %(type)s, %(value)s)
    on conflict do nothing returning id
"""
_UNBLOCK = """
    delete from blocked_sender
    where account_id = %(account)s and type = %(type)s and value = %(value)s
      and alias_id is not distinct from case when %(narrow)s then %(id)s end
    returning id
"""
# Who reads mail there has shown that it arrives.
_VERIFY: LiteralString = f"""
    update recipient
    set verified_at = coalesce(verified_at, now()), pending = false, {WORKS}
    where id = %(id)s and (verified_at is null or pending or failing_since is not null)
    returning id
"""
_AUDIT = """
    insert into audit (actor, account_id, action, object_table, object_id, detail, request_ip)
    values (%(actor)s, %(account)s, %(action)s, %(table)s, %(object)s, %(detail)s, %(ip)s::inet)
"""

_STATEMENTS: MappingProxyType[Action, tuple[LiteralString, str, str]] = MappingProxyType(
    {
        Action.DEACTIVATE: (_DEACTIVATE, "alias.deactivate", "alias"),
        Action.ACTIVATE: (_ACTIVATE, "alias.activate", "alias"),
        Action.DELETE: (_DELETE, "alias.delete", "alias"),
        Action.BLOCK_EMAIL: (_BLOCK, "block.add", "blocked_sender"),
        Action.BLOCK_DOMAIN: (_BLOCK, "block.add", "blocked_sender"),
        Action.UNBLOCK: (_UNBLOCK, "block.remove", "blocked_sender"),
        Action.RESTORE: (_RESTORE, "alias.restore", "alias"),
        Action.VERIFY: (_VERIFY, "recipient.verify", "recipient"),
    }
)
_NOT_RESTORED = {
    "alias_domain_owned": "its domain belongs to somebody else now",
    "alias_local_part_reserved": "its name is taken by now",
}


@dataclass(frozen=True, slots=True)
class OneClickStore:
    """Everything raises Unavailable when the database is in trouble."""

    database: Database

    async def admit(self, subject: str) -> int:
        """0 if one more request may be made in this minute, which is then counted; else seconds until the next one."""
        row = await self.database.row(_ADMIT, {"subject": subject, "limit": MAX_PER_MINUTE})
        assert row is not None  # select without from gives one row
        return int(row[0])

    async def alias_id(self, alias: UUID) -> tuple[AccountId, AliasId] | None:
        """Whose alias it is, and its id; None for unknown and forgotten ones."""
        query = "select account_id, id from alias where uuid = %(about)s and account_id is not null"
        row = await self.database.row(query, {"about": alias})
        return None if row is None else (AccountId(row[0]), AliasId(row[1]))

    async def sight(self, wish: Wish) -> Sight | None:
        """What a wish is about, None if there is no such thing."""
        if wish.action is Action.SEND:
            return await self.held(wish.about)
        query = _RECIPIENT if wish.action is Action.VERIFY else _ALIAS
        row = await self.database.row(query, _about(wish))
        return None if row is None else _sight(wish, row)

    async def held(self, record: UUID) -> HeldSight | None:
        """A held message by the uuid of its failed delivery."""
        row = await self.database.row(_HELD, {"about": record})
        if row is None:
            return None
        number, alias, email_type, *rest = row
        return HeldSight(HeldId(number), alias or "", EmailType(email_type), *rest)

    async def act(self, wish: Wish, visitor: Visitor) -> Change | None:
        """Carry out a wish about an alias or recipient, and note who did. None if there is no such thing.

        Raises Conflict for an alias that cannot come back.
        """
        lock = _LOCK_RECIPIENT if wish.action is Action.VERIFY else _LOCK_ALIAS
        with conflicts(_NOT_RESTORED):
            async with self.database.connection() as conn, conn.transaction():
                row = await (await conn.execute(lock, _about(wish))).fetchone()
                if row is None:
                    return None
                if wish.action is Action.RESTORE and row[7]:
                    raise Conflict("it belonged to a handle that was given up for good")
                values = {**_about(wish), "id": row[0], "account": row[1]}
                sight = _sight(wish, row)
                changed = await _carry_out(conn, wish, visitor, values)
                if changed:
                    await _tell(conn, wish, visitor, row)
                return Change(sight, changed)


def _about(wish: Wish) -> dict[str, Any]:
    entry = wish.entry
    return {
        "about": wish.about,
        "type": entry.type if entry is not None else None,
        "value": entry.value if entry is not None else None,
        "narrow": wish.narrow,
    }


def _sight(wish: Wish, row: TupleRow) -> AliasSight | RecipientSight:
    if wish.action is Action.VERIFY:
        return RecipientSight(*row[3:6])
    return AliasSight(*row[3:7])


async def _carry_out(conn: Connection, wish: Wish, visitor: Visitor, values: dict[str, Any]) -> bool:
    statement, action, table = _STATEMENTS[wish.action]
    row = await (await conn.execute(statement, values)).fetchone()
    if row is None:
        return False
    if wish.action is Action.RESTORE and not row[1]:
        raise Conflict("its domain is not here any more")
    detail = {"type": wish.entry.type, "value": wish.entry.value} if wish.entry is not None else {}
    ip = client_ip(visitor.ip)
    record = {
        "actor": visitor.actor,
        "account": values["account"],
        "action": action,
        "table": table,
        "object": row[0],
        "detail": Jsonb(detail),
        "ip": None if ip is None else str(ip),
    }
    await conn.execute(_AUDIT, record)
    return True


async def _tell(conn: Connection, wish: Wish, visitor: Visitor, row: TupleRow) -> None:
    """The owner hears of what others may have done, once an hour for each alias."""
    account, uuid, address = AccountId(row[1]), str(row[2]), row[3]
    whence = {"at": visitor.at.isoformat(timespec="seconds"), "ip": visitor.ip}
    if wish.action is Action.VERIFY:
        if row[4] or row[6]:  # not new, or there is nobody else to tell
            return
        notice = Notice(Code.NRV, account, data={"recipient": address, **whence})
    elif wish.action in NOTICES:
        data = {"alias": address, "alias_uuid": uuid, **whence, "user_agent": visitor.user_agent}
        notice = Notice(NOTICES[wish.action], account, data=data)
    else:
        return
    await announce(conn, notice)
