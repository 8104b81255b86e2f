"""The rules of accounts for those who manage them."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from psycopg.rows import TupleRow

from mailrelay.core.errors import Absent, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, Owned
from mailrelay.core.rules import stored
from mailrelay.core.rules.model import Broken, RuleId, StoredRule
from mailrelay.core.rules.record import MAX_RULES, NewRule, OwnRule, RuleRecord, TooManyRules
from mailrelay.store.database import Database
from mailrelay.store.manage import OWNER_NAME, Connection, account_id, note
from mailrelay.store.own_rules import ORDER, OWN_COLUMNS, OWN_COLUMNS_COUNT, own_fields
from mailrelay.store.rules import json_value

Which = str | Owned

_SELECT: LiteralString = f"""
    select {OWN_COLUMNS}, {OWNER_NAME}, r.account_id
    from rule r join account acc on acc.id = r.account_id
"""
_ONE: LiteralString = f"""
    {_SELECT} where (r.id = %(id)s or r.uuid = %(uuid)s) and (%(account)s::bigint is null or r.account_id = %(account)s)
"""
_LOCKED: LiteralString = f"{_ONE} for no key update of r"
_LIST: LiteralString = f"{_SELECT} where %(account)s::text is null or {OWNER_NAME} = %(account)s {ORDER}"
_LIST_OWN: LiteralString = f"{_SELECT} where r.account_id = %(account)s {ORDER}"
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
# Its place, its counters and whether it is switched on are no part of what is replaced.
_REPLACE = """
    update rule
    set name = %(name)s, conditions = %(conditions)s::jsonb, actions = %(actions)s::jsonb, operator = %(operator)s,
        forwards = %(forwards)s, replies = %(replies)s, sends = %(sends)s
    where id = %(id)s
      and (name, conditions, actions, operator, forwards, replies, sends) is distinct from
          (%(name)s, %(conditions)s::jsonb, %(actions)s::jsonb, %(operator)s, %(forwards)s, %(replies)s, %(sends)s)
    returning id
"""
_REMOVE = "delete from rule where id = %(id)s"
_SET_ACTIVE = "update rule set active = %(active)s where id = %(id)s and active <> %(active)s returning id"
_OWN = "select id, uuid from rule where account_id = %(account)s order by id for no key update"
_PLACE = """
    with moved as (
        update rule set position = w.n - 1
        from unnest(%(ids)s::bigint[]) with ordinality as w(id, n)
        where rule.id = w.id and rule.position <> w.n - 1
        returning rule.id, rule.position
    )
    insert into audit (actor, account_id, action, object_table, object_id, detail)
    select %(actor)s, %(account)s, 'rule.move', 'rule', id, jsonb_build_object('position', position) from moved
"""
_RECIPIENTS = """
    select address_folded, uuid from recipient
    where account_id = %(account)s and verified_at is not null and not pending
"""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule table. which: the id or UUID of a rule, or an account's by its UUID. actor: who it is, for the audit."""

    database: Database

    async def recipients(self, owner: Named | AccountId) -> Mapping[str, UUID]:
        """Verified recipients of an account, by folded mailbox. Raises Absent and Conflict."""
        async with self.database.connection() as conn:
            cursor = await conn.execute(_RECIPIENTS, {"account": await account_id(conn, owner)})
            return dict(await cursor.fetchall())

    async def add(self, owner: Named | AccountId, new: NewRule, actor: str) -> RuleRecord:
        """The new rule. Raises Absent, and TooManyRules."""
        async with self.database.connection() as conn, conn.transaction():
            account = await account_id(conn, owner)
            values = {**_values(new), "account": account, "limit": MAX_RULES}
            await conn.execute(_LOCK, values)
            row = await (await conn.execute(_ADD, values)).fetchone()
            if row is None:
                raise TooManyRules(f"an account has at most {MAX_RULES} rules")
            await note(conn, actor, account, "rule.add", "rule", row[0])
            return await _one(conn, str(row[0]))

    async def replace(self, which: Which, new: NewRule, actor: str) -> RuleRecord:
        """Another rule in the same place, switched on or off and counted as before. Raises Absent."""
        return await self._change(which, "rule.change", _REPLACE, _values(new), actor)

    async def page(self, account: str | None = None) -> list[RuleRecord]:
        """All rules in the order of evaluation; those of one account if it is named."""
        return [_record(row) for row in await self.database.rows(_LIST, {"account": account})]

    async def show(self, which: Which) -> RuleRecord:
        """One rule. Raises Absent."""
        async with self.database.connection() as conn:
            return await _one(conn, which)

    async def stored(self, ref: str) -> tuple[AccountId, StoredRule]:
        """One rule as mail has it, and whose it is. ref: its id or UUID. Raises Absent."""
        row = await self.database.row(_STORED, _key(ref))
        if row is None:
            raise _absent(ref)
        account, number, name, conditions, actions, *more = row
        return AccountId(account), StoredRule(RuleId(number), name, json_value(conditions), json_value(actions), *more)

    async def remove(self, which: Which, actor: str) -> RuleRecord:
        """Delete a rule; gives what it was. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            account, gone = await _locked(conn, which)
            await conn.execute(_REMOVE, {"id": gone.id})
            await note(conn, actor, account, "rule.remove", "rule", gone.id)
            return gone

    async def set_active(self, which: Which, active: bool, actor: str) -> RuleRecord:
        """Switch a rule on or off. Raises Absent."""
        action = "rule.activate" if active else "rule.deactivate"
        return await self._change(which, action, _SET_ACTIVE, {"active": active}, actor)

    async def reorder(self, owner: Named | AccountId, refs: Iterable[str], actor: str) -> list[RuleRecord]:
        """Give rules of an account the positions 0, 1, … and its other rules none; gives all of them, in order.

        refs: ids or UUIDs. Raises Absent for what is no rule of the account, Malformed for a rule that is named twice.
        """
        async with self.database.connection() as conn, conn.transaction():
            account = await account_id(conn, owner)
            own = await (await conn.execute(_OWN, {"account": account})).fetchall()
            known = {str(name): number for number, uuid in own for name in (number, uuid)}
            wanted = [_known(known, ref) for ref in refs]
            if len(set(wanted)) < len(wanted):
                raise Malformed("a rule has one place, and one is named twice")
            await conn.execute(_PLACE, {"ids": wanted, "account": account, "actor": actor})
            cursor = await conn.execute(_LIST_OWN, {"account": account})
            return [_record(row) for row in await cursor.fetchall()]

    async def _change(
        self, which: Which, action: str, query: LiteralString, values: Mapping[str, object], actor: str
    ) -> RuleRecord:
        """query: gives a row if it changes something."""
        async with self.database.connection() as conn, conn.transaction():
            account, found = await _locked(conn, which)
            if await (await conn.execute(query, {**values, "id": found.id})).fetchone() is None:
                return found
            await note(conn, actor, account, action, "rule", found.id)
            return await _one(conn, str(found.id))


def _values(new: NewRule) -> dict[str, object]:
    return {
        "name": new.name,
        "conditions": json.dumps(new.conditions),
        "actions": json.dumps(new.actions),
        "operator": new.operator,
        "forwards": new.forwards,
        "replies": new.replies,
        "sends": new.sends,
        "active": new.active,
        "position": new.position,
    }


def _known(known: Mapping[str, int], ref: str) -> int:
    number = known.get(ref.lower())
    if number is None:
        raise Absent(f"the account has no rule {ref}")
    return number


async def _one(conn: Connection, which: Which) -> RuleRecord:
    row = await (await conn.execute(_ONE, _key(which))).fetchone()
    if row is None:
        raise _absent(which)
    return _record(row)


async def _locked(conn: Connection, which: Which) -> tuple[AccountId, RuleRecord]:
    """A rule that nobody else changes until the end of the transaction, and whose it is."""
    row = await (await conn.execute(_LOCKED, _key(which))).fetchone()
    if row is None:
        raise _absent(which)
    return AccountId(row[-1]), _record(row)


def _absent(which: Which) -> Absent:
    return Absent(f"there is no rule {which.uuid if isinstance(which, Owned) else which}")


def _key(which: Which) -> Mapping[str, int | UUID | None]:
    """What a reference may mean; nothing for one that is neither an id nor a UUID."""
    if isinstance(which, Owned):
        return {"id": None, "uuid": which.uuid, "account": which.account}
    nothing = {"id": None, "uuid": None, "account": None}
    if which.isascii() and which.isdigit() and len(which) < 19:
        return {**nothing, "id": int(which)}
    with suppress(ValueError):
        return {**nothing, "uuid": UUID(which)}
    return nothing


def _record(row: TupleRow) -> RuleRecord:
    own = OwnRule(*own_fields(row))
    read = stored.read(
        StoredRule(own.id, own.name, own.conditions, own.actions, own.operator, own.forwards, own.replies, own.sends)
    )
    faults = (read.reason,) if isinstance(read, Broken) else read.faults
    fields = [*own_fields(row), row[OWN_COLUMNS_COUNT], faults]
    return RuleRecord(*fields)
