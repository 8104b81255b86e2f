"""Aliases as their owners read them: one, several by their ids, and pages of a list. One statement for each answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.own_aliases import AliasPage, AliasQuery, AliasSort, Belongs, Deleted, OwnAlias
from mailrelay.core.own_recipients import OwnRecipient
from mailrelay.store.database import Database, compact
from mailrelay.store.own_recipients import EMBEDDED, embedded

# A row for each attached recipient of an alias, and one without for an alias that has none.
_COLUMNS: LiteralString = f"""
    a.id, a.uuid, acc.uuid as account_uuid, a.local_part, a.domain, a.extension, u.uuid as username_uuid,
    d.uuid as domain_uuid, a.state, a.pinned, a.description, a.from_name, a.attached_recipients_only,
    a.emails_forwarded, a.emails_blocked, a.emails_replied, a.emails_sent, a.last_forwarded, a.last_blocked,
    a.last_replied, a.last_sent, a.created_at, a.updated_at, a.deleted_at, {EMBEDDED}
"""
_AROUND: LiteralString = """
    join account acc on acc.id = a.account_id
    left join username u on u.id = a.username_id
    left join domain d on d.id = a.domain_id and not d.shared
    left join (alias_recipient ar join recipient r on r.id = ar.recipient_id and not r.pending) on ar.alias_id = a.id
"""
_SEVERAL: LiteralString = compact(f"""
    select {_COLUMNS}
    from unnest(%(uuids)s::uuid[]) with ordinality as asked(uuid, n)
    join alias a on a.uuid = asked.uuid and a.account_id = %(account)s
    {_AROUND}
    order by asked.n, ar.created_at, r.id
""")


# --- lists ----------------------------------------------------------------------------------------------------------

_SORTS: Mapping[AliasSort, LiteralString] = MappingProxyType(
    {
        AliasSort.LOCAL_PART: "split_part(s.address, '@', 1)",
        AliasSort.DOMAIN: "split_part(s.address, '@', 2)",
        AliasSort.EMAIL: "s.address",
        AliasSort.EMAILS_FORWARDED: "s.emails_forwarded",
        AliasSort.EMAILS_BLOCKED: "s.emails_blocked",
        AliasSort.EMAILS_REPLIED: "s.emails_replied",
        AliasSort.EMAILS_SENT: "s.emails_sent",
        AliasSort.LAST_FORWARDED: "s.last_forwarded",
        AliasSort.LAST_BLOCKED: "s.last_blocked",
        AliasSort.LAST_REPLIED: "s.last_replied",
        AliasSort.LAST_SENT: "s.last_sent",
        AliasSort.LAST_USED: "greatest(s.last_forwarded, s.last_replied, s.last_sent)",
        AliasSort.ACTIVE: "s.state = 'active'",
        AliasSort.CREATED_AT: "s.created_at",
        AliasSort.UPDATED_AT: "s.updated_at",
        AliasSort.DELETED_AT: "s.deleted_at",
    }
)
_DELETED: Mapping[Deleted, LiteralString] = MappingProxyType(
    {
        Deleted.WITHOUT: "and s.state <> 'deleted'",
        Deleted.WITH: "",
        Deleted.ONLY: "and s.state = 'deleted'",
    }
)
_SEARCH: LiteralString = """
    and (strpos(s.address, (select fold_text(%(search)s))) > 0 or strpos(s.words, (select fold_text(%(search)s))) > 0)
"""
# Where mail to an alias goes (spec section 2.1): attached recipients, else its parent's, else the account's default.
# Sub-selects that do not name `s` are looked up once.
_RECIPIENT: LiteralString = """
    and (exists (select from alias_recipient ar where ar.alias_id = s.id and ar.recipient_id = (
            select id from recipient where uuid = %(recipient)s and account_id = %(account)s and not pending))
        or not exists (select from alias_recipient ar where ar.alias_id = s.id)
           and coalesce(
               (select u.default_recipient_id from username u where u.id = s.username_id),
               (select d.default_recipient_id from domain d where d.id = s.domain_id and d.account_id = s.account_id),
               (select h.recipient_id from alias a join handle h on h.id = a.handle_id where a.id = s.id),
               (select default_recipient_id from account where id = %(account)s)
           ) = (select id from recipient where uuid = %(recipient)s and account_id = %(account)s and not pending))
"""
_DOMAIN: LiteralString = (
    "and s.domain_id = (select id from domain where uuid = %(domain)s and account_id = %(account)s)"
)
_USERNAME: LiteralString = """
    and s.username_id = (select id from username where uuid = %(username)s and account_id = %(account)s)
"""


def _where(query: AliasQuery) -> LiteralString:
    parts: list[LiteralString] = ["where s.account_id = %(account)s", _DELETED[query.deleted]]
    if query.active is not None:
        parts.append("and (s.state = 'active') = %(active)s")
    if query.pinned is not None:
        parts.append("and s.pinned = %(pinned)s")
    if query.search is not None:
        parts.append(_SEARCH)
    if query.recipient is not None:
        parts.append(_RECIPIENT)
    if query.domain is not None:
        parts.append(_DOMAIN)
    if query.username is not None:
        parts.append(_USERNAME)
    return " ".join(parts)


_OLDEST_FIRST: LiteralString = "order by s.pinned desc, s.created_at, s.id desc"


def _order(query: AliasQuery) -> LiteralString:
    if query.sort is AliasSort.CREATED_AT:  # never null; as the index has it
        return "order by s.pinned desc, s.created_at desc, s.id desc" if query.descending else _OLDEST_FIRST
    direction: LiteralString = "desc nulls last" if query.descending else "asc nulls first"
    return f"order by s.pinned desc, {_SORTS[query.sort]} {direction}, s.created_at desc, s.id desc"


def _list(query: AliasQuery) -> LiteralString:
    """One page and how many aliases there are on all.

    Where nothing is searched for, the index ends a page of the newest as soon as it is full, and counting is a reading
    of its own; otherwise all are read anyway. An empty page does not know.
    """
    where = _where(query)
    indexed = query.sort is AliasSort.CREATED_AT and query.descending and query.search is None
    total: LiteralString = "null::bigint" if indexed else "count(*) over ()"
    return compact(f"""
        with page as materialized (
            select p.id, p.total, row_number() over () as n from (
                select s.id, {total} as total from alias_search s {where} {_order(query)}
                limit %(limit)s offset %(offset)s
            ) p
        )
        select coalesce((select total from page limit 1), (select count(*) from alias_search s {where})) as total,
               {_COLUMNS}
        from (select) one left join page on true left join (alias a {_AROUND}) on a.id = page.id
        order by page.n, ar.created_at, r.id
    """)


@dataclass(frozen=True, slots=True)
class OwnAliases:
    """Everything raises Unavailable when the database is in trouble."""

    database: Database

    async def one(self, account: AccountId, uuid: UUID) -> OwnAlias:
        """One alias, deleted ones too. Raises Absent, also for what belongs to others."""
        found = await self.several(account, (uuid,))
        if not found:
            raise Absent(f"there is no alias {uuid}")
        return found[0]

    async def several(self, account: AccountId, uuids: Sequence[UUID]) -> list[OwnAlias]:
        """Those of them that there are, deleted ones too, in the order asked for; the ids are different ones."""
        async with self.database.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_SEVERAL, {"account": account, "uuids": list(uuids)})
            return _aliases(await cursor.fetchall())

    async def page(self, account: AccountId, query: AliasQuery, number: int, size: int) -> AliasPage:
        """Page `number`, from 1, of `size` aliases; beyond the last one it is empty."""
        values = {
            "account": account,
            "active": query.active,
            "pinned": query.pinned,
            "search": query.search,
            "recipient": query.recipient,
            "domain": query.domain,
            "username": query.username,
            "limit": size,
            "offset": (max(number, 1) - 1) * size,
        }
        async with self.database.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_list(query), values)
            rows = await cursor.fetchall()
        return AliasPage(tuple(_aliases(row for row in rows if row["id"] is not None)), rows[0]["total"])


def _aliases(rows: Iterable[Mapping[str, Any]]) -> list[OwnAlias]:
    """Aliases of rows whose columns are those above; the rows of an alias follow each other."""
    seen: dict[int, OwnRecipient] = {}
    found: list[tuple[Mapping[str, Any], list[OwnRecipient]]] = []
    for row in rows:
        if not found or found[-1][0]["id"] != row["id"]:
            found.append((row, []))
        recipient = seen.get(row["r_id"]) or embedded(row)
        if recipient is not None:
            found[-1][1].append(seen.setdefault(recipient.id, recipient))
    return [_alias(row, recipients) for row, recipients in found]


_ALIAS_FIELDS = tuple(field.name for field in fields(OwnAlias) if field.name not in ("belongs", "recipients"))


def _alias(row: Mapping[str, Any], recipients: Iterable[OwnRecipient]) -> OwnAlias:
    belongs = None
    if row["username_uuid"] is not None:
        belongs = Belongs("username", row["username_uuid"])
    elif row["domain_uuid"] is not None:
        belongs = Belongs("domain", row["domain_uuid"])
    return OwnAlias(**{name: row[name] for name in _ALIAS_FIELDS}, belongs=belongs, recipients=tuple(recipients))
