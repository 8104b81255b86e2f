"""The rules of accounts for those who manage them."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from psycopg.rows import TupleRow

from mailrelay.core.errors import Absent, Conflict, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named
from mailrelay.core.rules import stored
from mailrelay.core.rules.model import Broken, RuleId, StoredRule
from mailrelay.core.rules.record import MAX_RULES, NewRule, RuleRecord
from mailrelay.store.database import Database
from mailrelay.store.manage import OWNER_NAME, Connection, account_id
from mailrelay.store.rules import json_value

_SELECT: LiteralString = f"""
    select r.id, r.uuid, {OWNER_NAME}, r.position, r.name, r.active, r.forwards, r.replies, r.sends, r.operator,
           r.conditions::text, r.actions::text, r.applied, r.last_applied, r.created_at, r.updated_at
    from rule r join account acc on acc.id = r.account_id
"""
_ORDER: LiteralString = "order by r.account_id, r.position, r.created_at, r.id"
_ONE: LiteralString = f"{_SELECT} where r.id = %(id)s or r.uuid = %(uuid)s"
_LIST: LiteralString = f"{_SELECT} where %(account)s::text is null or {OWNER_NAME} = %(account)s {_ORDER}"
_LIST_OWN: LiteralString = f"{_SELECT} where r.account_id = %(account)s {_ORDER}"
_STORED = """
    select account_id, id, name, conditions::text, actions::text, operator, forwards, replies, sends
    from rule where id = %(id)s or uuid = %(uuid)s
"""
# Two who add at once are counted one after the other.
_LOCK = "select from account where id = %(account)s for no key update"
_ADD = """
    insert into rule (account_id, name, conditions, actions, operator, forwards, replies, sends, active, position)
    select %(account)s, %(name)s, %(conditions)s::jsonb, %(actions)s::jsonb, %(operator)s, %(forwards)s, %(replies)s,
           %(sends)s, %(active)s, %(position)s
    where (select count(*) from rule where account_id = %(account)s) < %(limit)s
    returning id
"""
_REMOVE = "delete from rule where id = %(id)s"
_SET_ACTIVE = "update rule set active = %(active)s where id = %(id)s and active <> %(active)s"
_OWN = "select id, uuid from rule where account_id = %(account)s order by id for no key update"
_PLACE = """
    update rule set position = w.n - 1
    from unnest(%(ids)s::bigint[]) with ordinality as w(id, n)
    where rule.id = w.id and rule.position <> w.n - 1
"""
_RECIPIENTS = """
    select address_folded, uuid from recipient
    where account_id = %(account)s and verified_at is not null and not pending
"""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule table. ref, wherever it is asked for: the id or UUID of a rule."""

    database: Database

    async def recipients(self, owner: Named | AccountId) -> Mapping[str, UUID]:
        """Verified recipients of an account, by folded mailbox. Raises Absent and Conflict."""
        async with self.database.connection() as conn:
            cursor = await conn.execute(_RECIPIENTS, {"account": await account_id(conn, owner)})
            return dict(await cursor.fetchall())

    async def add(self, owner: Named | AccountId, new: NewRule) -> RuleRecord:
        """The new rule. Raises Absent, and Conflict if the account has as many as it may have."""
        values = {
            "name": new.name,
            "conditions": json.dumps(new.conditions),
            "actions": json.dumps(new.actions),
            "operator": new.operator,
            "forwards": new.forwards,
            "replies": new.replies,
            "sends": new.sends,
            "active": new.active,
            "position": new.position,
            "limit": MAX_RULES,
        }
        async with self.database.connection() as conn, conn.transaction():
            values["account"] = await account_id(conn, owner)
            await conn.execute(_LOCK, values)
            row = await (await conn.execute(_ADD, values)).fetchone()
            if row is None:
                raise Conflict(f"an account has at most {MAX_RULES} rules")
            return await _one(conn, str(row[0]))

    async def page(self, account: str | None = None) -> list[RuleRecord]:
        """All rules in the order of evaluation; those of one account if it is named."""
        return [_record(row) for row in await self.database.rows(_LIST, {"account": account})]

    async def show(self, ref: str) -> RuleRecord:
        """One rule. Raises Absent."""
        async with self.database.connection() as conn:
            return await _one(conn, ref)

    async def stored(self, ref: str) -> tuple[AccountId, StoredRule]:
        """One rule as mail has it, and whose it is. Raises Absent."""
        row = await self.database.row(_STORED, _key(ref))
        if row is None:
            raise Absent(f"there is no rule {ref}")
        account, number, name, conditions, actions, *more = row
        return AccountId(account), StoredRule(RuleId(number), name, json_value(conditions), json_value(actions), *more)

    async def remove(self, ref: str) -> RuleRecord:
        """Delete a rule; gives what it was. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            gone = await _one(conn, ref)
            await conn.execute(_REMOVE, {"id": gone.id})
            return gone

    async def set_active(self, ref: str, active: bool) -> RuleRecord:
        """Switch a rule on or off. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            found = await _one(conn, ref)
            await conn.execute(_SET_ACTIVE, {"id": found.id, "active": active})
            return await _one(conn, ref)

    async def reorder(self, owner: Named | AccountId, refs: Iterable[str]) -> list[RuleRecord]:
        """Give rules of an account the positions 0, 1, … and its other rules none; gives all of them, in order.

        Raises Absent for what is no rule of the account, Malformed for a rule that is named twice.
        """
        async with self.database.connection() as conn, conn.transaction():
            account = await account_id(conn, owner)
            own = await (await conn.execute(_OWN, {"account": account})).fetchall()
            known = {str(name): number for number, uuid in own for name in (number, uuid)}
            wanted = [_known(known, ref) for ref in refs]
            if len(set(wanted)) < len(wanted):
                raise Malformed("a rule has one place, and one is named twice")
            await conn.execute(_PLACE, {"ids": wanted})
            cursor = await conn.execute(_LIST_OWN, {"account": account})
            return [_record(row) for row in await cursor.fetchall()]


def _known(known: Mapping[str, int], ref: str) -> int:
    number = known.get(ref.lower())
    if number is None:
        raise Absent(f"the account has no rule {ref}")
    return number


async def _one(conn: Connection, ref: str) -> RuleRecord:
    row = await (await conn.execute(_ONE, _key(ref))).fetchone()
    if row is None:
        raise Absent(f"there is no rule {ref}")
    return _record(row)


def _key(ref: str) -> Mapping[str, int | UUID | None]:
    """What a reference may mean; nothing for one that is neither an id nor a UUID."""
    if ref.isascii() and ref.isdigit() and len(ref) < 19:
        return {"id": int(ref), "uuid": None}
    with suppress(ValueError):
        return {"id": None, "uuid": UUID(ref)}
    return {"id": None, "uuid": None}


def _record(row: TupleRow) -> RuleRecord:
    number, uuid, account, position, name, active, forwards, replies, sends, operator, *rest = row
    conditions, actions, applied, last_applied, created_at, updated_at = rest
    as_stored = StoredRule(
        RuleId(number), name, json_value(conditions), json_value(actions), operator, forwards, replies, sends
    )
    read = stored.read(as_stored)
    return RuleRecord(
        id=as_stored.id,
        uuid=uuid,
        account=account,
        position=position,
        name=name,
        active=active,
        forwards=forwards,
        replies=replies,
        sends=sends,
        operator=operator,
        conditions=as_stored.conditions,
        actions=as_stored.actions,
        faults=(read.reason,) if isinstance(read, Broken) else read.faults,
        applied=applied,
        last_applied=last_applied,
        created_at=created_at,
        updated_at=updated_at,
    )
