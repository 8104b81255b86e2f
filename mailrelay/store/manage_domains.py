"""Domains, as the management commands and the HTTP APIs change them."""

from dataclasses import dataclass
from typing import LiteralString

from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.records import DomainChange, DomainRecord, Keep, NewDomain
from mailrelay.store.database import Database
from mailrelay.store.manage import OWNER_NAME, Connection, conflicts, owning_account, record, records, settings

_SELECT: LiteralString = f"""
    select d.id, d.uuid, d.name, case when acc.id is not null then {OWNER_NAME} end as account, d.shared, d.active,
           d.visible, d.catch_all, d.auto_create_regex, r.address as default_recipient, d.verified_at,
           d.mx_verified_at, d.sending_verified_at, d.created_at
    from domain d
    left join account acc on acc.id = d.account_id
    left join recipient r on r.id = d.default_recipient_id
"""
_ONE: LiteralString = f"{_SELECT} where d.name = %(name)s"
_LIST: LiteralString = f"""
    {_SELECT} where %(account)s::text is null or {OWNER_NAME} = %(account)s
    order by d.shared desc, d.position, d.name
"""
# Adding one looks at others: two that race must not both see the ground free.
_LOCK = "lock table domain in share row exclusive mode"
# Whoever is at the name, or above or below it: domains of others, usernames that give that domain, verified mailboxes.
_CLASHES: LiteralString = f"""
    (select format('domain %%s %%s', d.name,
                   case when d.shared then 'is shared by everybody' else 'belongs to account ' || {OWNER_NAME} end)
    from domain d left join account acc on acc.id = d.account_id
    where d.name = %(name)s
       or (%(name)s like '%%.' || d.name or d.name like '%%.' || %(name)s)
          and d.account_id is distinct from %(account)s
    order by length(d.name) desc limit 1)
    union all
    select format('username %%s has the domain %%s', u.name, %(name)s)
    from username_used u join domain d on d.shared
    where u.name = split_part(%(name)s, '.', 1) and %(name)s = u.name || '.' || d.name
    limit 1
"""
_MAILBOXES = """
    select r.address from recipient r
    where r.verified_at is not null
      and (r.address_folded like '%%@' || %(name)s or %(shared)s and r.address_folded like '%%@%%.' || %(name)s)
    limit 1
"""
_ADD = """
    insert into domain (name, account_id, catch_all, verified_at, mx_verified_at)
    values (%(name)s, %(account)s, %(catch_all)s, case when %(verified)s then now() end,
            case when %(verified)s then now() end)
"""
_VERIFY = """
    update domain set verified_at = coalesce(verified_at, now()), mx_verified_at = coalesce(mx_verified_at, now()),
                      sending_verified_at = case when %(sending)s then coalesce(sending_verified_at, now())
                                                 else sending_verified_at end
    where name = %(name)s
"""
_OWNER = "select id, account_id from domain where name = %(name)s for update"
_CHANGE = """
    update domain
    set active = coalesce(%(active)s, active), visible = coalesce(%(visible)s, visible),
        catch_all = coalesce(%(catch_all)s, catch_all),
        auto_create_regex = case when %(set_regex)s then %(regex)s else auto_create_regex end,
        default_recipient_id = case when %(set_recipient)s then %(recipient)s else default_recipient_id end
    where id = %(id)s
"""
_COUNT = "select count(*) from alias where domain_id = %(id)s"
# Their rows stay, so that nobody else gets the addresses if the domain comes back.
_NO_TIMEOUT = "set local statement_timeout = 0"
_ALIASES = """
    update alias set domain_id = null, deleted_at = coalesce(deleted_at, now()),
                     state = case state when 'forgotten' then state else 'deleted' end
    where domain_id = %(id)s
"""
_REMOVE = "delete from domain where id = %(id)s"


@dataclass(frozen=True, slots=True)
class Domains:
    """The domain table."""

    database: Database

    async def add(self, new: NewDomain) -> DomainRecord:
        """The new domain. Raises Conflict naming what holds it or stands in its way, Absent without that account."""
        with conflicts({"domain_name_unique": f"domain {new.name} is here already"}):
            async with self.database.connection() as conn, conn.transaction():
                await conn.execute(_LOCK)
                account = await _checked(conn, new)
                values = {
                    "name": new.name,
                    "account": account,
                    "catch_all": new.catch_all,
                    "verified": new.verified or account is None,
                }
                await conn.execute(_ADD, values)
                return await _one(conn, new.name)

    async def check(self, new: NewDomain) -> None:
        """Raises as add does, as far as one can know beforehand."""
        async with self.database.connection() as conn, conn.transaction():
            await _checked(conn, new)

    async def page(self, account: str | None = None) -> list[DomainRecord]:
        """All domains, shared ones first; those of one account if it is named."""
        return await records(self.database, DomainRecord, _LIST, {"account": account})

    async def show(self, name: str) -> DomainRecord:
        """One domain. Raises Absent."""
        async with self.database.connection() as conn:
            return await _one(conn, name)

    async def verify(self, name: str, sending: bool) -> DomainRecord:
        """Ownership and MX, and on request the sending records, count as checked. Raises Absent and Conflict."""
        async with self.database.connection() as conn, conn.transaction():
            found = await _one(conn, name)
            await _refuse_mailboxes(conn, name, found.shared)
            await conn.execute(_VERIFY, {"name": name, "sending": sending})
            return await _one(conn, name)

    async def change(self, name: str, change: DomainChange) -> DomainRecord:
        """Apply a change. Raises Absent, and Conflict for what a shared domain cannot have."""
        words = {"domain_shared_is_plain": f"{name} is shared: nobody owns new names there"}
        with conflicts(words):
            async with self.database.connection() as conn, conn.transaction():
                domain, account = await _locked(conn, name)
                values = await settings(conn, account, change.auto_create_regex, change.default_recipient)
                for field in ("active", "visible", "catch_all"):
                    value = getattr(change, field)
                    values[field] = None if isinstance(value, Keep) else value
                await conn.execute(_CHANGE, {"id": domain, **values})
                return await _one(conn, name)

    async def remove(self, name: str, with_aliases: bool) -> tuple[DomainRecord, int]:
        """Remove a domain; its aliases, which are counted, are deleted. Raises Absent.

        with_aliases: False raises Conflict if there are any.
        """
        async with self.database.connection() as conn, conn.transaction():
            domain, _ = await _locked(conn, name)
            row = await (await conn.execute(_COUNT, {"id": domain})).fetchone()
            count = int(row[0]) if row is not None else 0
            if count and not with_aliases:
                raise Conflict(f"{name} has {count} aliases, which would be deleted")
            found = await _one(conn, name)
            await conn.execute(_NO_TIMEOUT)
            await conn.execute(_ALIASES, {"id": domain})
            await conn.execute(_REMOVE, {"id": domain})
        return found, count


async def _checked(conn: Connection, new: NewDomain) -> AccountId | None:
    """Whose the new domain will be. Raises Conflict for what stands in its way, Absent without that account."""
    account = None if new.account is None else await owning_account(conn, new.account)
    row = await (await conn.execute(_CLASHES, {"name": new.name, "account": account})).fetchone()
    if row is not None:
        raise Conflict(f"{new.name} cannot be added: {row[0]}")
    if new.verified or account is None:
        await _refuse_mailboxes(conn, new.name, account is None)
    return account


async def _refuse_mailboxes(conn: Connection, name: str, shared: bool) -> None:
    row = await (await conn.execute(_MAILBOXES, {"name": name, "shared": shared})).fetchone()
    if row is not None:
        raise Conflict(f"{row[0]} is a verified recipient: mail to it would come back here")


async def _locked(conn: Connection, name: str) -> tuple[int, AccountId | None]:
    row = await (await conn.execute(_OWNER, {"name": name})).fetchone()
    if row is None:
        raise Absent(f"there is no domain {name}")
    return int(row[0]), None if row[1] is None else AccountId(row[1])


async def _one(conn: Connection, name: str) -> DomainRecord:
    found = await record(conn, DomainRecord, _ONE, {"name": name})
    if found is None:
        raise Absent(f"there is no domain {name}")
    return found
