"""Domains and usernames as their owners read them, and where these may have aliases. One statement each."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, LiteralString, TypeVar

from psycopg.rows import dict_row

from mailrelay.core.errors import Absent, NoAccount
from mailrelay.core.facts import AccountId
from mailrelay.core.own_parents import AliasDomains, OwnDomain, OwnParent, OwnUsername
from mailrelay.core.records import Owned
from mailrelay.store.database import Database, compact
from mailrelay.store.offered import usable
from mailrelay.store.own_recipients import EMBEDDED, embedded

Kind = TypeVar("Kind", bound=OwnParent)

_PARENT: LiteralString = f"""
    p.uuid, acc.uuid as account_uuid, p.name, p.description, p.from_name, p.active, p.catch_all, p.auto_create_regex,
    p.created_at, p.updated_at, {EMBEDDED}
"""
_WHICH: LiteralString = """
    join account acc on acc.id = p.account_id
    left join recipient r on r.id = p.default_recipient_id
    where p.account_id = %(account)s and p.uuid = coalesce(%(uuid)s::uuid, p.uuid)
    order by p.created_at desc, p.id desc
"""
_DOMAINS: LiteralString = compact(f"""
    select {_PARENT}, p.verified_at, p.mx_verified_at, p.sending_verified_at,
           (select count(*) from alias a where a.domain_id = p.id and a.deleted_at is null) as aliases
    from domain p {_WHICH}
""")
_USERNAMES: LiteralString = compact(f"""
    select {_PARENT}, p.can_login,
           (select count(*) from alias a where a.username_id = p.id and a.deleted_at is null) as aliases
    from username p {_WHICH}
""")
_ALIAS_DOMAINS: LiteralString = compact(f"""
    select acc.is_admin, acc.default_alias_domain, coalesce(acc.default_alias_format, 'random_characters'), u.name,
           array(select name from username where account_id = acc.id and active order by id),
           array(select name from domain where account_id = acc.id and active and verified_at is not null order by id),
           array(select name from domain where {usable("domain")} order by position, id)
    from account acc left join username u on u.id = acc.default_username_id
    where acc.id = %(account)s
""")


@dataclass(frozen=True, slots=True)
class OwnDomains:
    """Raises Unavailable when the database is in trouble."""

    database: Database

    async def page(self, account: AccountId) -> list[OwnDomain]:
        """All of them, the newest first."""
        return await _parents(self.database, OwnDomain, _DOMAINS, {"account": account, "uuid": None})

    async def one(self, which: Owned) -> OwnDomain:
        """Raises Absent."""
        return await _one(self.database, OwnDomain, _DOMAINS, which)


@dataclass(frozen=True, slots=True)
class OwnUsernames:
    """Raises Unavailable when the database is in trouble."""

    database: Database

    async def page(self, account: AccountId) -> list[OwnUsername]:
        """All of them, the newest first."""
        return await _parents(self.database, OwnUsername, _USERNAMES, {"account": account, "uuid": None})

    async def one(self, which: Owned) -> OwnUsername:
        """Raises Absent."""
        return await _one(self.database, OwnUsername, _USERNAMES, which)


@dataclass(frozen=True, slots=True)
class AliasDomainReader:
    """direct: everybody may have aliases on shared domains; below: on their usernames' subdomains. Admins always may.

    domain: what is called the default where there is no shared domain.
    """

    database: Database
    domain: str
    direct: bool = True
    below: bool = True

    async def read(self, account: AccountId) -> AliasDomains:
        """Where this account may make aliases. Raises NoAccount and Unavailable."""
        row = await self.database.row(_ALIAS_DOMAINS, {"account": account})
        if row is None:
            raise NoAccount(f"there is no account {account}")
        is_admin, chosen, default_format, first, usernames, custom, shared = row
        direct = self.direct or is_admin
        home = shared[0] if shared else self.domain
        return AliasDomains(
            tuple(usernames),
            tuple(custom),
            tuple(shared),
            direct=direct,
            below=self.below or is_admin,
            default=chosen or (home if direct or first is None else f"{first}.{home}"),
            default_format=default_format,
        )


async def _one(database: Database, kind: type[Kind], query: LiteralString, which: Owned) -> Kind:
    found = await _parents(database, kind, query, {"account": which.account, "uuid": which.uuid})
    if not found:
        raise Absent(f"there is no {kind.__name__} {which.uuid}")
    return found[0]


async def _parents(
    database: Database, kind: type[Kind], query: LiteralString, values: Mapping[str, object]
) -> list[Kind]:
    async with database.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, values)
        return [_parent(kind, row) for row in await cursor.fetchall()]


def _parent(kind: type[Kind], row: Mapping[str, Any]) -> Kind:
    own = {field.name: row[field.name] for field in fields(kind) if field.name != "default_recipient"}
    return kind(**own, default_recipient=embedded(row))
