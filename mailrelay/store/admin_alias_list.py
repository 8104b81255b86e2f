"""All aliases, as administrators list and filter them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

from mailrelay.core.admin_lists import AliasFilter, ListedAlias
from mailrelay.core.facts import AliasId
from mailrelay.store.database import Database, compact
from mailrelay.store.goto import GOTO
from mailrelay.store.listing import BLOCK, contains, found, literal, page, plan, read_on
from mailrelay.store.manage import Connection, record

COLUMNS: LiteralString = f"""
    a.id, a.local_part || '@' || a.domain as address,
    case when a.state in ('active', 'inactive') then {GOTO} end as goto,
    a.state = 'active' as active, a.domain_id, a.created_at, a.updated_at as modified_at
"""
_ONE = compact(f"select {COLUMNS} from alias a left join account acc on acc.id = a.account_id where a.id = %(id)s")
_SHARED = "select id, name from domain where shared"
# How much of what there is a text finds, told from some of it.
_SAMPLE = "select goto from alias_route order by id desc limit 500"


@dataclass(frozen=True, slots=True)
class AdminAliasList:
    """tombstone: what stands for the destination of deleted aliases. All methods raise Unavailable."""

    database: Database
    tombstone: str

    async def one(self, number: AliasId) -> ListedAlias | None:
        """An alias in whatever state."""
        async with self.database.connection() as conn:
            return await one(conn, number)

    async def page(self, wanted: AliasFilter, limit: int, offset: int) -> tuple[list[ListedAlias], int]:
        """Those aliases, the newest first, and how many there are."""
        async with self.database.connection() as conn, conn.transaction():
            query = _Query(wanted)
            if query.is_searched:
                await plan(conn, scan=wanted.goto is None)  # where mail goes, an index tells for each way
                shared = await (await conn.execute(_SHARED)).fetchall()
                query = _Query(wanted, shared, self.tombstone, await _mostly(conn, wanted.goto))
            statement = query.statement()
            values = {**query.values, "limit": limit, "offset": offset}
            return await read_on(conn, ListedAlias, statement, values)


async def one(conn: Connection, number: AliasId) -> ListedAlias | None:
    """An alias in whatever state."""
    return await record(conn, ListedAlias, _ONE, {"id": number})


async def _mostly(conn: Connection, goto: str | None) -> bool:
    """Whether most ways that aliases take lead to such mailboxes."""
    if goto is None:
        return False
    rows = await (await conn.execute(_SAMPLE)).fetchall()
    return sum(goto in (mailbox or "") for (mailbox,) in rows) * 2 > len(rows)


@dataclass(slots=True)
class _Query:
    """A filter as SQL over alias_listed, `t`.

    shared: ids and names of shared domains: what is on one of these that a text is part of needs no look at the alias,
    and is counted already. mostly: the destination finds more than it leaves out.
    """

    wanted: AliasFilter
    shared: Sequence[Sequence[Any]] = ()
    tombstone: str = ""
    mostly: bool = False
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def is_searched(self) -> bool:
        wanted = self.wanted
        return any(one is not None for one in (wanted.goto, wanted.domain, wanted.handle, wanted.address))

    def statement(self) -> LiteralString:
        wanted = self.wanted
        where: list[LiteralString] = self._active()
        if wanted.domain is not None:
            where.append(self._on(self._domains(wanted.domain), self._contains("t.domain", "domain", wanted.domain)))
        if wanted.handle is not None:
            where.append(self._contains("t.local_part", "handle", wanted.handle))
        if wanted.address is not None:
            where.append(self._address(wanted.address))
        if wanted.goto is not None:
            where.append(self._goto(wanted.goto))
        joined: LiteralString = "join alias a on a.id = t.id left join account acc on acc.id = a.account_id"
        condition: LiteralString = " and ".join(where)
        return page("alias_listed", COLUMNS, joined, condition, self._counted(condition))

    # What is counted, block by block.

    def _counted(self, where: LiteralString) -> LiteralString:
        wanted = self.wanted
        if wanted.handle is None and wanted.goto is None:
            if wanted.address is None and wanted.domain is None:
                return self._tally()
            if wanted.address is not None and "@" not in wanted.address:
                return self._counted_with_part(wanted.address)
            if wanted.address is not None and wanted.domain is None and wanted.address.rfind("@") == 0:
                begun = self._begun(wanted.address[1:])
                return self._counted_on(begun, "t.domain like %(begins)s")
            if wanted.address is None and wanted.domain is not None:
                elsewhere = self._contains("t.domain", "domain", wanted.domain)
                return self._counted_on(self._domains(wanted.domain), elsewhere)
            if wanted.address is None:
                return self._tally()
        elif wanted.goto is not None and wanted.handle is None and wanted.domain is None and wanted.address is None:
            return self._counted_going(wanted.goto)
        return found("alias_listed", where)

    def _counted_on(self, domains: list[int], elsewhere: LiteralString) -> LiteralString:
        """On shared domains, and on those elsewhere."""
        other: LiteralString = " and ".join(["t.domain_id = 0", elsewhere, *self._active()])
        return f"{self._tally(domains)} union all {found('alias_listed', other)}"

    def _counted_with_part(self, text: str) -> LiteralString:
        """A part of the address: it may be in the domain, and so in all addresses there, or in the local part."""
        allowed = self._domains(self.wanted.domain or "")
        whole = [one for one in self._domains(text) if one in allowed]
        rest = [one for one in allowed if one not in whole]
        local = self._contains("t.local_part", "address", text)
        counts = [self._tally(whole)]
        if rest:
            self.values["rest"] = rest
            there: LiteralString = "<> 0" if len(rest) == len(self.shared) else "= any (%(rest)s)"
            counts.append(found("alias_listed", " and ".join([f"t.domain_id {there}", local, *self._active()])))
        other: list[LiteralString] = ["t.domain_id = 0", f"({local} or {self._contains('t.domain', 'address', text)})"]
        if self.wanted.domain is not None:
            other.append(self._contains("t.domain", "domain", self.wanted.domain))
        counts.append(found("alias_listed", " and ".join([*other, *self._active()])))
        return " union all ".join(counts)

    def _counted_going(self, goto: str) -> LiteralString:
        """Of the ways that lead there; or all, less those that lead elsewhere."""
        active: LiteralString = " and ".join(["", *self._active()])
        self.values["goto_part"] = goto
        sign: LiteralString = "-" if self.mostly else ""
        leads: LiteralString = "= 0" if self.mostly else "> 0"
        counts: list[LiteralString] = [
            f"""
            select t.id / {BLOCK} as block, {sign}count(*) as rows
            from alias_route r join alias_listed t on t.route_id = r.id
            where strpos(coalesce(r.goto, ''), %(goto_part)s) {leads} {active} group by 1
            """
        ]
        if self._is_tombstone() != self.mostly:
            counts.append(f"""
                select t.id / {BLOCK} as block, {sign}count(*) as rows from alias_listed t
                where t.route_id is null {active} group by 1
            """)
        return " union all ".join([*([self._tally()] if self.mostly else []), *counts])

    def _tally(self, domains: list[int] | None = None) -> LiteralString:
        rows: LiteralString = "rows"
        if self.wanted.active is not None:
            rows = "active" if self.wanted.active else "rows - active"
        parts: LiteralString = ""
        if domains is not None:
            self.values["parts"] = domains
            parts = "and part = any (%(parts)s)"
        return f"select block, {rows} as rows from list_tally where list = 'alias' {parts}"

    # Conditions.

    def _active(self) -> list[LiteralString]:
        active = self.wanted.active
        return [] if active is None else ["t.active" if active else "not t.active"]

    def _domains(self, text: str) -> list[int]:
        """Shared domains that it is a part of."""
        return [number for number, name in self.shared if text in name]

    def _on(self, domains: Iterable[int], elsewhere: LiteralString) -> LiteralString:
        """On one of these shared domains, or such another domain."""
        name: LiteralString = f"on{len(self.values)}"
        self.values[name] = list(domains)
        return f"(t.domain_id = any (%({name})s) or t.domain_id = 0 and {elsewhere})"

    def _address(self, text: str) -> LiteralString:
        local, at, domain = text.partition("@")
        if not at:
            part = self._contains("t.local_part", "address", text)
            return f"({part} or {self._on(self._domains(text), self._contains('t.domain', 'address', text))})"
        if "@" in domain:
            return "false"
        self.values["ends"] = f"%{literal(local)}"
        return f"t.local_part like %(ends)s and {self._on(self._begun(domain), 't.domain like %(begins)s')}"

    def _begun(self, text: str) -> list[int]:
        """Shared domains that begin with it."""
        self.values["begins"] = f"{literal(text)}%"
        return [number for number, name in self.shared if name.startswith(text)]

    def _goto(self, text: str) -> LiteralString:
        there: LiteralString = f"select id from alias_route where {self._contains('goto', 'goto', text)}"
        if self._is_tombstone():
            return f"(t.route_id is null or t.route_id in ({there}))"
        return f"t.route_id in ({there})"

    def _is_tombstone(self) -> bool:
        return self.wanted.goto is not None and self.wanted.goto in self.tombstone

    def _contains(self, column: LiteralString, name: LiteralString, text: str) -> LiteralString:
        return contains(column, name, text, self.values)
