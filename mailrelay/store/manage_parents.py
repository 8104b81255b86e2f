"""What the stores of domains and usernames share: one row, held and changed."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier, Placeholder

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.parents import NoRecipient
from mailrelay.core.records import DomainChange, Keep, Owned, UsernameChange
from mailrelay.store.manage import Connection, note, verified_recipients

Table = Literal["domain", "username"]

# What owners change; of a domain besides whether it is visible, of a username whether it signs in.
_COMMON: LiteralString = "active, catch_all, auto_create_regex, default_recipient_id, description, from_name"
_COLUMNS: Mapping[Table, LiteralString] = {"domain": f"{_COMMON}, visible", "username": f"{_COMMON}, can_login"}
_BY_NAME: LiteralString = "where name = %(name)s"
_BY_UUID: LiteralString = "where uuid = %(uuid)s and account_id = %(account)s"
# Held, so that it does not go before this transaction says that it is somebody's default.
_RECIPIENT = """
    select id from recipient
    where account_id = %(account)s and (id = %(id)s or uuid = %(uuid)s) and verified_at is not null and not pending
    for key share
"""
# What people write is theirs to read.
_UNTOLD = frozenset({"description", "from_name"})


@dataclass(frozen=True, slots=True)
class Parent:
    """A row that is locked until the transaction ends. account: None for a shared domain; columns: as they are."""

    table: Table
    id: int
    account: AccountId | None
    name: str
    columns: Mapping[str, Any]


async def locked(conn: Connection, table: Table, which: str | Owned, *, to_go: bool = False) -> Parent:
    """Hold a domain or username. to_go: nobody may refer to it meanwhile. Raises Absent."""
    strength: LiteralString = "for update" if to_go else "for no key update"
    if isinstance(which, Owned):
        named, values = _BY_UUID, {"uuid": which.uuid, "account": which.account}
    else:
        named, values = _BY_NAME, {"name": which}
    query = f"select id, account_id, name, {_COLUMNS[table]} from {table} {named} {strength}"
    async with conn.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(query, values)).fetchone()
    if row is None:
        raise Absent(f"there is no {table} {which.uuid if isinstance(which, Owned) else which}")
    return Parent(table, row["id"], row["account_id"], row["name"], row)


async def change(conn: Connection, parent: Parent, wanted: DomainChange | UsernameChange, actor: str) -> None:
    """Change a parent, and note what became different; nothing happens for what is so already.

    Raises NoRecipient; of a recipient that is named by its address Absent and Conflict, which say what is wrong.
    """
    chosen = {field.name: getattr(wanted, field.name) for field in fields(wanted)}
    values: dict[str, Any] = {name: value for name, value in chosen.items() if not isinstance(value, Keep)}
    if "default_recipient" in values:
        values["default_recipient_id"] = await _recipient(conn, parent.account, values.pop("default_recipient"))
    different = {name: value for name, value in values.items() if parent.columns[name] != value}
    if not different:
        return
    assignments = SQL(", ").join(SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in different)
    query = SQL("update {} set {} where id = {}").format(Identifier(parent.table), assignments, Placeholder("id"))
    await conn.execute(query, {**different, "id": parent.id})
    detail = {name: "changed" if name in _UNTOLD else value for name, value in different.items()}
    await note(conn, actor, parent.account, f"{parent.table}.set", parent.table, parent.id, detail)


async def _recipient(conn: Connection, account: AccountId | None, chosen: Address | UUID | None) -> RecipientId | None:
    """Id of a verified recipient of the account's, which stays until the transaction ends."""
    if chosen is None:
        return None
    if account is None:
        raise Conflict("a shared domain has no default recipient")
    values: dict[str, object] = {"account": account, "id": None, "uuid": None}
    if isinstance(chosen, Address):
        (values["id"],) = await verified_recipients(conn, account, (chosen,))
    else:
        values["uuid"] = chosen
    row = await (await conn.execute(_RECIPIENT, values)).fetchone()
    if row is None:
        raise NoRecipient(f"{chosen} is no verified recipient of that account")
    return RecipientId(row[0])
