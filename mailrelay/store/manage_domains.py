"""Domains, as the management commands and the HTTP APIs change them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.jobs import DOMAIN_KEYS
from mailrelay.core.parents import DomainClash
from mailrelay.core.records import DomainChange, DomainRecord, NewDomain, Owned
from mailrelay.store import manage_parents, rechecks
from mailrelay.store.database import Database, constraint
from mailrelay.store.manage import OWNER_NAME, Connection, conflicts, note, owning_account, record, records

_SELECT: LiteralString = f"""
    select d.id, d.uuid, d.name, case when acc.id is not null then {OWNER_NAME} end as account, d.shared, d.active,
           d.visible, d.catch_all, d.auto_create_regex, r.address as default_recipient, d.description, d.from_name,
           d.verified_at, d.mx_verified_at, d.sending_verified_at, d.created_at
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
    (select format('domain %%s %%s', d.name, case when d.shared then 'is shared by everybody'
                                                  else 'belongs to account ' || {OWNER_NAME} end), d.shared
    from domain d left join account acc on acc.id = d.account_id
    where d.name = %(name)s
       or (%(name)s like '%%.' || d.name or d.name like '%%.' || %(name)s)
          and d.account_id is distinct from %(account)s
    order by length(d.name) desc limit 1)
    union all
    select format('username %%s has the domain %%s', u.name, %(name)s), true
    from username_used u join domain d on d.shared
    where u.name = split_part(%(name)s, '.', 1) and %(name)s = u.name || '.' || d.name
    limit 1
"""
_MAILBOXES = """
    select r.address from recipient r
    where r.verified_at is not null and substring(r.address_folded from '[^@]*$') = %(name)s
    limit 1
"""
# Usernames give domains below a shared one.
_MAILBOXES_BELOW: LiteralString = _MAILBOXES.replace("= %(name)s", "like '%%.' || %(name)s")
_ADD = """
    insert into domain (name, account_id, catch_all, active, visible, verified_at, mx_verified_at, ui_verified_at)
    values (%(name)s, %(account)s, %(catch_all)s, %(active)s, %(visible)s, case when %(verified)s then now() end,
            case when %(verified)s and %(with_mx)s then now() end, case when %(with_ui)s then now() end)
    returning id
"""
# Aliases that were on a shared domain of this name.
_TAKE_BACK = """
    update alias set domain_id = %(id)s
    where domain = %(name)s and domain_id is null and username_id is null and reserved_as is not null
"""
_MAKE_KEYS = """
    insert into job (kind, payload, dedupe_key) values (%(kind)s, %(payload)s, %(key)s)
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
"""
_SIGNER = "select name, shared from domain where id = %(id)s"
_VERIFY = """
    update domain set verified_at = coalesce(verified_at, now()), mx_verified_at = coalesce(mx_verified_at, now()),
                      sending_verified_at = case when %(sending)s then coalesce(sending_verified_at, now())
                                                 else sending_verified_at end
    where name = %(name)s
"""
_COUNT = "select count(*) from alias where domain_id = %(id)s"
_NO_TIMEOUT = "set local statement_timeout = 0"
# The addresses belong to the domain, and whoever brings it here again proves that it is theirs. What hangs on the
# aliases goes along.
_ERASE_ALIASES = "delete from alias where domain_id = %(id)s"
# On a shared domain the rows stay, so that nobody else gets the addresses if the domain comes back.
_DELETE_ALIASES = """
    update alias set domain_id = null, deleted_at = coalesce(deleted_at, now()),
                     state = case state when 'forgotten' then state else 'deleted' end
    where domain_id = %(id)s
"""
_REMOVE = "delete from domain where id = %(id)s"


@dataclass(frozen=True, slots=True)
class Domains:
    """The domain table."""

    database: Database

    async def add(self, new: NewDomain, actor: str) -> DomainRecord:
        """The new domain. Raises DomainClash naming what holds it or stands in its way, Absent without that account."""
        with taken(new.name):
            async with self.database.connection() as conn, conn.transaction():
                await bring(conn, new, actor)
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

    async def signer(self, domain: int) -> tuple[str, bool] | None:
        """Name of the domain with this id and whether it is shared, None: it is gone."""
        row = await self.database.row(_SIGNER, {"id": domain})
        return None if row is None else (str(row[0]), bool(row[1]))

    async def verify(self, name: str, sending: bool, actor: str) -> DomainRecord:
        """Ownership and MX, and on request the sending records, count as checked. Raises Absent and DomainClash."""
        async with self.database.connection() as conn, conn.transaction():
            parent = await manage_parents.locked(conn, "domain", name)
            await refuse_mailboxes(conn, name, parent.account is None)
            await conn.execute(_VERIFY, {"name": name, "sending": sending})
            if parent.account is not None:
                await rechecks.begin(conn, parent.id)
            await rechecks.forgive(conn, parent.id, "EMAIL", *(("SENDING",) if sending else ()))
            await note(conn, actor, parent.account, "domain.verify", "domain", parent.id, {"sending": sending})
            return await _one(conn, name)

    async def change(self, which: str | Owned, change: DomainChange, actor: str) -> DomainRecord:
        """Apply a change. Raises Absent, NoRecipient, and Conflict for what a shared domain cannot have."""
        words = {"domain_shared_is_plain": f"{which} is shared: nobody owns new names there"}
        with conflicts(words):
            async with self.database.connection() as conn, conn.transaction():
                parent = await manage_parents.locked(conn, "domain", which)
                await manage_parents.change(conn, parent, change, actor)
                return await _one(conn, parent.name)

    async def remove(self, which: str | Owned, with_aliases: bool, actor: str) -> tuple[DomainRecord, int]:
        """Remove a domain and its aliases, which are counted; of a shared one their addresses stay taken.

        with_aliases: False raises Conflict if there are any. Raises Absent.
        """
        async with self.database.connection() as conn, conn.transaction():
            parent = await manage_parents.locked(conn, "domain", which, to_go=True)
            await conn.execute(_NO_TIMEOUT)
            row = await (await conn.execute(_COUNT, {"id": parent.id})).fetchone()
            count = int(row[0]) if row is not None else 0
            if count and not with_aliases:
                raise Conflict(f"{parent.name} has {count} aliases, which would be deleted")
            found = await _one(conn, parent.name)
            statement = _DELETE_ALIASES if parent.account is None else _ERASE_ALIASES
            await conn.execute(statement, {"id": parent.id})
            await conn.execute(_REMOVE, {"id": parent.id})
            detail = {"name": parent.name, "aliases": count}
            await note(conn, actor, parent.account, "domain.remove", "domain", parent.id, detail)
        return found, count


@contextmanager
def taken(name: str) -> Iterator[None]:
    """Raises DomainClash for the name of a domain that is here already."""
    try:
        yield
    except UniqueViolation as error:
        if constraint(error) == "domain_name_unique":
            raise DomainClash("taken", f"domain {name} is here already") from error
        raise


async def bring(conn: Connection, new: NewDomain, actor: str) -> int:
    """Id of the new domain; aliases that it had when it was here before are its again. Call it within a transaction.

    Raises as Domains.add.
    """
    await lock(conn)
    account = await _checked(conn, new)
    values = {
        "name": new.name,
        "account": account,
        "catch_all": new.catch_all,
        "active": new.active,
        "visible": new.visible,
        "verified": new.verified or account is None,
        "with_mx": new.with_mx,
        "with_ui": new.with_ui,
    }
    row = await (await conn.execute(_ADD, values)).fetchone()
    assert row is not None  # returning gives one row or an exception
    domain = int(row[0])
    await note(conn, actor, account, "domain.add", "domain", domain, {"name": new.name})
    if account is None:
        await take_back(conn, domain, new.name)
    elif new.verified:
        await rechecks.begin(conn, domain)
    if new.keys_later:
        job = {"kind": DOMAIN_KEYS, "payload": Jsonb({"domain_id": domain})}
        await conn.execute(_MAKE_KEYS, {**job, "key": f"{DOMAIN_KEYS}:{domain}"})
    return domain


async def take_back(conn: Connection, domain: int, name: str) -> None:
    """A shared domain gets the aliases that it had when it was here before."""
    await conn.execute(_NO_TIMEOUT)
    await conn.execute(_TAKE_BACK, {"id": domain, "name": name})


async def lock(conn: Connection) -> None:
    """Nobody else brings a domain here until the transaction ends."""
    await conn.execute(_LOCK)


async def check_ground(conn: Connection, new: NewDomain) -> None:
    """Nothing stands in the way of a name. Raises DomainClash."""
    await _checked(conn, new)


async def _checked(conn: Connection, new: NewDomain) -> AccountId | None:
    """Whose the new domain will be. Raises DomainClash for what stands in its way, Absent without that account."""
    account = None if new.account is None else await owning_account(conn, new.account)
    row = await (await conn.execute(_CLASHES, {"name": new.name, "account": account})).fetchone()
    if row is not None:
        raise DomainClash("local" if row[1] else "taken", f"{new.name} cannot be added: {row[0]}")
    if new.verified or account is None:
        await refuse_mailboxes(conn, new.name, account is None)
    return account


async def refuse_mailboxes(conn: Connection, name: str, shared: bool) -> None:
    """Raises DomainClash while a verified recipient is there; shared: or below it."""
    for query in (_MAILBOXES, _MAILBOXES_BELOW) if shared else (_MAILBOXES,):
        row = await (await conn.execute(query, {"name": name})).fetchone()
        if row is not None:
            raise DomainClash("mailbox", f"{row[0]} is a verified recipient: mail to it would come back here")


async def _one(conn: Connection, name: str) -> DomainRecord:
    found = await record(conn, DomainRecord, _ONE, {"name": name})
    if found is None:
        raise Absent(f"there is no domain {name}")
    return found
