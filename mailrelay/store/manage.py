"""What the stores of the management commands share: rows into values, and violated constraints into plain words."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString, TypeVar

from psycopg import AsyncConnection, IntegrityError
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict, NoAccount
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.records import ImplicitFor, Named, Owner
from mailrelay.store.database import Database, constraint

Record = TypeVar("Record")
Connection = AsyncConnection[TupleRow]

# How an account is called wherever it is shown: `acc` is the account's row.
OWNER_NAME: LiteralString = "coalesce(acc.name, acc.implicit_mailbox, acc.email, 'account ' || acc.id)"


async def records(
    database: Database, kind: type[Record], query: LiteralString, values: Mapping[str, Any]
) -> list[Record]:
    """All rows of a statement whose columns are named like the fields of `kind`."""
    async with database.connection() as conn, conn.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


async def record(
    conn: Connection, kind: type[Record], query: LiteralString, values: Mapping[str, Any]
) -> Record | None:
    """The first such row."""
    async with conn.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchone()


@contextmanager
def conflicts(words: Mapping[str, str]) -> Iterator[None]:
    """Raises Conflict, in these words, for a violated constraint that has an entry."""
    try:
        yield
    except IntegrityError as error:
        text = words.get(constraint(error))
        if text is None:
            raise
        raise Conflict(text) from error


_NOTE = """
    insert into audit (actor, account_id, action, object_table, object_id, detail)
    values (%(actor)s, %(account)s, %(action)s, %(table)s, %(id)s, %(detail)s)
"""


async def note(
    conn: Connection,
    actor: str,
    account: AccountId | None,
    action: str,
    table: str,
    object_id: int | None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Who changed what, in the transaction that changes it. action: noun.verb; detail: no secrets, no contents."""
    values = {"actor": actor, "account": account, "action": action, "table": table, "id": object_id}
    await conn.execute(_NOTE, {**values, "detail": Jsonb(dict(detail or {}))})


_ACCOUNT = "select id, state from account where name = %(name)s or implicit_mailbox = %(name)s"
_ACCOUNT_BY_ID = "select id, state from account where id = %(id)s"


async def account_id(conn: Connection, owner: Named | AccountId) -> AccountId:
    """The id of an account that exists. Raises Absent, and Conflict while it is being deleted."""
    if isinstance(owner, Named):
        row = await (await conn.execute(_ACCOUNT, {"name": owner.name})).fetchone()
        called = owner.name
    else:
        row = await (await conn.execute(_ACCOUNT_BY_ID, {"id": owner})).fetchone()
        called = str(owner)
    if row is None:
        raise NoAccount(f"there is no account {called}")
    if row[1] == "deleting":
        raise Conflict(f"account {called} is being deleted")
    return AccountId(row[0])


# A plain forward (spec section 1.1): nobody signed up, so nothing is added to the mail and nothing is kept, and whoever
# writes to an alias that is switched off hears it (haltman-api.md section 6.3).
# Who comes second waits for the first at the unique constraint and then finds the row.
_MAKE_IMPLICIT = """
    insert into account (implicit_mailbox, forward_mode, banner_location, store_failed_deliveries, block_behaviour)
    values (%(mailbox)s, 'auto', 'off', false, 'reject')
    on conflict on constraint account_implicit_mailbox_unique do nothing
"""
_FIND_IMPLICIT = "select id, state, default_recipient_id from account where implicit_mailbox = %(mailbox)s for update"
_VERIFIED_RECIPIENTS = """
    insert into recipient (account_id, address, verified_at, can_reply_send)
    select %(account)s, address, now(), false from unnest(%(addresses)s::text[]) with ordinality as m(address, n)
    order by n
    on conflict on constraint recipient_address_unique do update
        set verified_at = coalesce(recipient.verified_at, now()), pending = false
        where recipient.verified_at is null or recipient.pending
"""
_ACCEPT: LiteralString = _VERIFIED_RECIPIENTS.replace(
    "    order by n", "    where exists (select from account where id = %(account)s and name is null)\n    order by n"
)
_FIRST_IS_DEFAULT = """
    update account set default_recipient_id = (
        select id from recipient where account_id = %(account)s and address_folded = %(mailbox)s)
    where id = %(account)s
"""


async def implicit_account(conn: Connection, owner: ImplicitFor, mailboxes: tuple[Address, ...]) -> AccountId:
    """The implicit account of a mailbox, made if need be. Call it within a transaction.

    mailboxes: become verified recipients of it, besides the owner's own. Raises Conflict while it is being deleted.
    """
    mailbox = folded(owner.mailbox)
    await conn.execute(_MAKE_IMPLICIT, {"mailbox": mailbox})
    row = await (await conn.execute(_FIND_IMPLICIT, {"mailbox": mailbox})).fetchone()
    if row is None:
        raise Conflict(f"the account of {mailbox} was deleted meanwhile")
    account, state, default_recipient = row
    if state == "deleting":
        raise Conflict(f"the account of {mailbox} is being deleted")
    unique = {folded(address): str(address) for address in reversed((owner.mailbox, *mailboxes))}
    values = {"account": account, "addresses": list(reversed(unique.values()))}
    await conn.execute(_VERIFIED_RECIPIENTS, values)
    if default_recipient is None:
        await conn.execute(_FIRST_IS_DEFAULT, {"account": account, "mailbox": mailbox})
    return AccountId(account)


async def accept_mailboxes(conn: Connection, account: AccountId, mailboxes: tuple[Address, ...]) -> None:
    """In an implicit account, mailboxes that somebody vouches for become verified recipients. In others, nothing."""
    unique = {folded(address): str(address) for address in reversed(mailboxes)}
    await conn.execute(_ACCEPT, {"account": account, "addresses": list(reversed(unique.values()))})


async def owning_account(conn: Connection, owner: Owner, mailboxes: tuple[Address, ...] = ()) -> AccountId:
    """The account of an owner; an implicit one is made, with those mailboxes as verified recipients."""
    if isinstance(owner, ImplicitFor):
        return await implicit_account(conn, owner, mailboxes)
    return await account_id(conn, owner)


_RECIPIENTS = """
    select address_folded, id, verified_at is not null and not pending from recipient
    where account_id = %(account)s and address_folded = any(%(mailboxes)s::text[])
"""


async def verified_recipients(
    conn: Connection, account: AccountId, mailboxes: tuple[Address, ...]
) -> tuple[RecipientId, ...]:
    """Ids of an account's recipients, in the order of the mailboxes, each once.

    Raises Absent for a mailbox that is none of its recipients, Conflict for one that is not verified.
    """
    wanted = tuple(dict.fromkeys(folded(mailbox) for mailbox in mailboxes))
    cursor = await conn.execute(_RECIPIENTS, {"account": account, "mailboxes": list(wanted)})
    found = {address: (RecipientId(number), verified) for address, number, verified in await cursor.fetchall()}
    for mailbox in wanted:
        if mailbox not in found:
            raise Absent(f"{mailbox} is no recipient of that account; add it first")
        if not found[mailbox][1]:
            raise Conflict(f"recipient {mailbox} is not verified")
    return tuple(found[mailbox][0] for mailbox in wanted)


def folded(mailbox: Address) -> str:
    """As columns of mailboxes are folded: ASCII only, whatever the locale."""
    return str(mailbox).encode("utf-8", "replace").lower().decode("utf-8")


TAKEN_USERNAME = {
    "username_name_unique": "that name is a username already",
    "username_name_used": "that name is or was somebody's username, and is never given away again",
}
_ADD_USERNAME = """
    insert into username (account_id, name, can_login)
    select acc.id, %(name)s, not acc.external_auth from account acc
    where acc.id = %(account)s and not exists (
        select from domain d join domain s on s.shared where d.name = %(name)s || '.' || s.name)
    returning id
"""


async def add_username(conn: Connection, account: AccountId, name: str) -> int:
    """Id of the new username. Raises Conflict if its domain is here already; TAKEN_USERNAME says what else hurts.

    It is a login name unless a proxy signs the account in.
    """
    row = await (await conn.execute(_ADD_USERNAME, {"account": account, "name": name})).fetchone()
    if row is None:
        raise Conflict(f"{name}: a domain of that name below a shared one is here already")
    return int(row[0])
