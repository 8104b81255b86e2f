"""Changes of handles, in a transaction of the caller's: what the command line and the HTTP APIs do is done here."""

from dataclasses import dataclass
from typing import LiteralString

from psycopg import IntegrityError

from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.records import HandleId
from mailrelay.store.database import constraint
from mailrelay.store.manage import Connection, note

_HOLD: LiteralString = """
    select h.id, h.local_part, h.account_id, h.state, acc.implicit_mailbox,
           (select r.address_folded from recipient r
            where r.id = coalesce(h.recipient_id, acc.default_recipient_id) and r.verified_at is not null
              and not r.pending),
           h.state = 'active' and (acc.name is null or h.recipient_id is null
                                   or h.recipient_id = acc.default_recipient_id)
    from handle h left join account acc on acc.id = h.account_id
    where h.local_part = %(local)s
"""
_HOLD_LOCKED: LiteralString = f"{_HOLD} for update of h"
_ADD = """
    insert into handle (account_id, local_part, recipient_id) values (%(account)s, %(local)s, %(recipient)s)
    returning id
"""
_RELEASE = """
    update handle set state = 'released', account_id = null, recipient_id = null, released_at = now(),
                      description = null, from_name = null, forward_mode = null, block_behaviour = null
    where id = %(id)s
"""
# An alias row goes before its handle in every look-up: left alone it would keep routing.
_ALIASES = """
    update alias set state = 'deleted', deleted_at = now() where handle_id = %(id)s and state in ('active', 'inactive')
"""
# Where it says so already nothing is written, so that nobody fills the audit by asking again.
_OFF = """
    insert into handle_domain_off as o (handle_id, domain) values (%(id)s, %(domain)s)
    on conflict on constraint handle_domain_off_pkey do update set active = true, modified_at = now() where not o.active
    returning true
"""
_ON = """
    update handle_domain_off set active = false, modified_at = now()
    where handle_id = %(id)s and domain = %(domain)s and active
    returning true
"""
TAKEN = frozenset({"handle_local_part_unique", "handle_local_part_reserved"})


@dataclass(frozen=True, slots=True)
class HeldHandle:
    """A handle. account None: it is released. implicit: mailbox of an implicit account; goto: where its mail goes,
    a verified mailbox, folded. is_owners: it is active, and that is no further mailbox of an account with a name.
    """

    id: HandleId
    local_part: str
    account: AccountId | None
    state: str
    implicit: str | None
    goto: str | None
    is_owners: bool


async def look(conn: Connection, local: str) -> HeldHandle | None:
    """A handle in whatever state, None if there never was one."""
    return await _held(conn, _HOLD, local)


async def hold(conn: Connection, local: str) -> HeldHandle | None:
    """The same, locked until the transaction ends."""
    return await _held(conn, _HOLD_LOCKED, local)


async def _held(conn: Connection, query: LiteralString, local: str) -> HeldHandle | None:
    row = await (await conn.execute(query, {"local": local})).fetchone()
    return None if row is None else HeldHandle(*row)


async def add(conn: Connection, account: AccountId, local: str, recipient: RecipientId | None, actor: str) -> HandleId:
    """A new handle. recipient None: the account's default. A taken name violates a constraint: see `is_taken`."""
    values = {"account": account, "local": local, "recipient": recipient}
    row = await (await conn.execute(_ADD, values)).fetchone()
    assert row is not None  # returning gives one row or an exception
    await note(conn, actor, account, "handle.create", "handle", row[0])
    return HandleId(row[0])


def is_taken(error: IntegrityError) -> bool:
    """Whether it says that another handle, or an alias on a shared domain, has the name or once had it."""
    return constraint(error) in TAKEN


async def release(conn: Connection, held: HeldHandle, actor: str) -> None:
    """A locked handle that is not released takes no mail any more; its name is never free again."""
    await conn.execute(_RELEASE, {"id": held.id})
    await conn.execute(_ALIASES, {"id": held.id})
    await note(conn, actor, held.account, "handle.release", "handle", held.id)


async def switch(conn: Connection, held: HeldHandle, domain: str, on: bool, actor: str) -> None:
    """Whether a locked handle takes mail on a domain, which need not be one of ours."""
    cursor = await conn.execute(_ON if on else _OFF, {"id": held.id, "domain": domain})
    if await cursor.fetchone() is not None:
        action = "handle.domain_on" if on else "handle.domain_off"
        await note(conn, actor, held.account, action, "handle", held.id, {"domain": domain})
