"""Changes of locked aliases, one or several: what the management commands and the HTTP APIs do is done here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId, AliasId, BlockBehaviour, ForwardMode, RecipientId
from mailrelay.core.records import AliasChange, Keep, Owned
from mailrelay.store.manage import Connection, accept_mailboxes, conflicts, verified_recipients

_LOCK: LiteralString = """
    select a.id, a.uuid, a.account_id as account, a.local_part, a.domain, a.state, a.reserved_as is not null as shared,
           coalesce(h.state = 'released', false) as below_released, a.forward_mode, a.block_behaviour, a.description,
           a.from_name, a.pinned, a.attached_recipients_only
    from alias a left join handle h on h.id = a.handle_id
"""
_LOCK_ADDRESS: LiteralString = f"{_LOCK} where a.local_part = %(local)s and a.domain = %(domain)s for update of a"
# In the order of their ids, so that two who want the same ones wait for each other and not in a ring.
_LOCK_SEVERAL: LiteralString = f"""
    {_LOCK} where a.uuid = any(%(uuids)s::uuid[]) and a.account_id = %(account)s order by a.id for update of a
"""
_STATE = """
    update alias set state = %(state)s, deleted_at = case when %(state)s = 'deleted' then now() end
    where id = any(%(ids)s)
"""
# Naming the domain makes the trigger alias_reserve look it up and check its owner: both may have changed meanwhile.
_RESTORE = """
    update alias set state = 'active', deleted_at = null, domain = domain where id = %(id)s
    returning domain_id is not null or username_id is not null
"""
_CHANGE = """
    update alias
    set forward_mode = %(forward_mode)s, block_behaviour = %(block_behaviour)s, description = %(description)s,
        from_name = %(from_name)s, pinned = %(pinned)s, attached_recipients_only = %(attached_recipients_only)s
    where id = %(id)s
"""
_PIN = "update alias set pinned = %(pinned)s where id = any(%(ids)s)"
_DETACH: LiteralString = "delete from alias_recipient where alias_id = any(%(ids)s)"
# Attachment times differ, because they are the order in which recipients count.
_ATTACH = """
    insert into alias_recipient (alias_id, recipient_id, created_at)
    select a, r, now() + n * interval '1 microsecond'
    from unnest(%(ids)s::bigint[]) as t(a), unnest(%(recipients)s::bigint[]) with ordinality as u(r, n)
"""
_RECIPIENTS = """
    select uuid, id from recipient
    where account_id = %(account)s and uuid = any(%(uuids)s::uuid[]) and verified_at is not null and not pending
    for key share
"""
_DETACHMENTS: tuple[LiteralString, ...] = (
    _DETACH,
    "delete from contact where alias_id = any(%(ids)s)",
    "delete from message_id where alias_id = any(%(ids)s)",
    "delete from blocked_sender where alias_id = any(%(ids)s)",
    "update failed_delivery set alias_id = null where alias_id = any(%(ids)s)",
)
# What is left on a shared domain is the address alone, so that nobody gets it again (addy.io API, E17).
_FORGET = """
    update alias
    set state = 'forgotten', account_id = null, deleted_at = now(), username_id = null, description = null,
        from_name = null, extension = null, sender_allow_list = null, forward_mode = null, block_behaviour = null,
        pinned = false, attached_recipients_only = false, reply_via_alias = false, expires_at = null,
        max_forwards = null, emails_forwarded = 0, emails_blocked = 0, emails_replied = 0, emails_sent = 0,
        last_forwarded = null, last_blocked = null, last_replied = null, last_sent = null
    where id = any(%(ids)s)
"""
_REMOVE = "delete from alias where id = any(%(ids)s)"
_NOTE = """
    insert into audit (actor, account_id, action, object_table, object_id, detail)
    select %(actor)s, account, %(action)s, 'alias', id, %(detail)s
    from unnest(%(ids)s::bigint[], %(accounts)s::bigint[]) as t(id, account)
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A locked alias of somebody's. below_released: of a handle that nobody has any more."""

    id: AliasId
    uuid: UUID
    account: AccountId
    local_part: str
    domain: str
    state: str
    shared: bool
    below_released: bool
    forward_mode: ForwardMode | None
    block_behaviour: BlockBehaviour | None
    description: str | None
    from_name: str | None
    pinned: bool
    attached_recipients_only: bool

    @property
    def address(self) -> Address:
        return Address(self.local_part, self.domain)


async def hold(conn: Connection, which: Address | Owned) -> Held:
    """An alias, locked until the transaction ends. Raises Absent, also for a forgotten one."""
    if isinstance(which, Owned):
        found = await hold_several(conn, which.account, (which.uuid,))
        if not found:
            raise Absent(f"there is no alias {which.uuid}")
        return found[0]
    async with conn.cursor(row_factory=class_row(Held)) as cursor:
        await cursor.execute(_LOCK_ADDRESS, {"local": which.local.lower(), "domain": which.domain})
        held = await cursor.fetchone()
    if held is None:
        raise Absent(f"there is no alias {which}")
    if held.state == "forgotten":
        raise Absent(f"{which} was forgotten for good")
    return held


async def hold_several(conn: Connection, account: AccountId, uuids: Sequence[UUID]) -> list[Held]:
    """Those of them that the account has, deleted ones too, in the order of their ids."""
    async with conn.cursor(row_factory=class_row(Held)) as cursor:
        await cursor.execute(_LOCK_SEVERAL, {"account": account, "uuids": list(uuids)})
        return await cursor.fetchall()


async def set_active(conn: Connection, held: Sequence[Held], active: bool, actor: str) -> None:
    """Resume or pause aliases, none of which is deleted."""
    state = "active" if active else "inactive"
    await _set_state(conn, held, state, f"alias.{'activate' if active else 'deactivate'}", actor)


async def delete(conn: Connection, held: Sequence[Held], actor: str) -> None:
    await _set_state(conn, held, "deleted", "alias.delete", actor)


async def _set_state(conn: Connection, held: Sequence[Held], state: str, action: str, actor: str) -> None:
    changed = [one for one in held if one.state != state]
    if changed:
        await conn.execute(_STATE, {"state": state, "ids": _ids(changed)})
        await _note(conn, changed, action, actor)


async def restore(conn: Connection, held: Held, actor: str) -> None:
    """Make an alias active again. Raises Conflict for one whose domain, username or handle is not what it was."""
    words = {
        "alias_domain_owned": f"{held.domain} belongs to another account",
        "alias_local_part_reserved": f"{held.local_part} is a handle, which has the name on all shared domains",
    }
    if held.state == "active":
        return
    if held.below_released:
        raise Conflict(f"{held.address} belonged to a handle that is released for good")
    # A savepoint, so that one of many that cannot be restored keeps no other from it.
    with conflicts(words):
        async with conn.transaction():
            row = await (await conn.execute(_RESTORE, {"id": held.id})).fetchone()
            if row is None or not row[0]:
                raise Conflict(f"{held.address} has no domain here any more")
            await _note(conn, (held,), "alias.restore", actor)


async def forget(conn: Connection, held: Sequence[Held], actor: str) -> None:
    """Erase what the owner had there; of addresses on shared domains the reservation stays."""
    await _note(conn, held, "alias.forget", actor)
    await erase(conn, [one.id for one in held if one.shared], [one.id for one in held if not one.shared])


async def erase(conn: Connection, shared: Sequence[int], others: Sequence[int]) -> None:
    """Forget locked aliases, by their ids. shared: on shared domains, where the address stays taken."""
    for statement in _DETACHMENTS:
        await conn.execute(statement, {"ids": [*shared, *others]})
    if shared:
        await conn.execute(_FORGET, {"ids": list(shared)})
    if others:
        await conn.execute(_REMOVE, {"ids": list(others)})


async def pin(conn: Connection, held: Sequence[Held], pinned: bool, actor: str) -> None:
    """Pin aliases that are not, or the reverse; noted as the change of one is."""
    if held:
        await conn.execute(_PIN, {"pinned": pinned, "ids": _ids(held)})
        await _note(conn, held, "alias.change", actor, {"fields": ["pinned"]})


async def change(conn: Connection, held: Held, wanted: AliasChange, actor: str) -> None:
    """Apply a change. Raises Absent and Conflict for recipients that are no verified ones of the owner's."""
    if not isinstance(wanted.recipients, Keep):
        await attach(conn, (held,), await chosen(conn, held.account, wanted.recipients), actor)
    before: dict[str, Any] = {name: getattr(held, name) for name in _CHANGEABLE}
    values = {name: getattr(wanted, name) for name in _CHANGEABLE}
    after = {name: before[name] if isinstance(value, Keep) else value for name, value in values.items()}
    if changed := [name for name in _CHANGEABLE if before[name] != after[name]]:
        await conn.execute(_CHANGE, {"id": held.id, **after})
        await _note(conn, (held,), "alias.change", actor, {"fields": changed})


_CHANGEABLE = ("forward_mode", "block_behaviour", "description", "from_name", "pinned", "attached_recipients_only")


async def chosen(
    conn: Connection, account: AccountId, recipients: tuple[Address, ...] | tuple[UUID, ...]
) -> tuple[RecipientId, ...]:
    """Verified recipients of an account in this order, each once. Raises Absent, and Conflict for unverified ones.

    By mailbox, those of an implicit account are made if need be.
    """
    mailboxes = tuple(one for one in recipients if isinstance(one, Address))
    uuids = tuple(dict.fromkeys(one for one in recipients if isinstance(one, UUID)))
    if mailboxes:
        await accept_mailboxes(conn, account, mailboxes)
        return await verified_recipients(conn, account, mailboxes)
    if not uuids:
        return ()
    cursor = await conn.execute(_RECIPIENTS, {"account": account, "uuids": list(uuids)})
    found = {uuid: RecipientId(number) for uuid, number in await cursor.fetchall()}
    for uuid in uuids:
        if uuid not in found:
            raise Absent(f"{uuid} is no verified recipient of that account")
    return tuple(found[uuid] for uuid in uuids)


async def attach(conn: Connection, held: Sequence[Held], recipients: Sequence[RecipientId], actor: str) -> None:
    """Let these take the place of the attached recipients."""
    await conn.execute(_DETACH, {"ids": _ids(held)})
    if recipients:
        await conn.execute(_ATTACH, {"ids": _ids(held), "recipients": list(recipients)})
    await _note(conn, held, "alias.recipients", actor, {"recipients": list(recipients)})


async def _note(
    conn: Connection, held: Sequence[Held], action: str, actor: str, detail: dict[str, Any] | None = None
) -> None:
    values = {"actor": actor, "action": action, "ids": _ids(held), "accounts": [one.account for one in held]}
    await conn.execute(_NOTE, {**values, "detail": Jsonb(detail or {})})


def _ids(held: Sequence[Held]) -> list[int]:
    return [one.id for one in held]
