"""Aliases and handles that a new ban hits, deactivated in its transaction (haltman-api.md section 5.4).

An alias that still reaches a mailbox which is not banned stays active, and so does one whose handle is deactivated: it
takes no mail as long as that is so.
"""

from typing import LiteralString

from mailrelay.core.bans import BanId, BanType
from mailrelay.store.manage import Connection

# As choose_targets of core/judge.py finds who gets the mail: attached mailboxes, else the handle's, username's or
# domain's own, else the account's. One that is not verified counts only where there is nobody else.
_USABLE: LiteralString = "r.verified_at is not null and not r.pending"
_HIT: LiteralString = """
    hit as materialized (
        select r.id, r.account_id from recipient r
        where %(type)s = 'email' and r.address_folded = %(value)s
           or %(type)s = 'domain' and (substring(r.address_folded from '[^@]*$') = %(value)s
                                       or r.address_folded like %(below)s)
    )
"""
_OWN: LiteralString = f"(select r.id from recipient r where r.id = {{}} and {_USABLE})"
_HANDLES_BY_MAILBOX: LiteralString = f"""
    select h.id from handle h join account acc on acc.id = h.account_id
    where h.state = 'active' and h.account_id in (select account_id from hit)
      and coalesce({_OWN.format("h.recipient_id")}, acc.default_recipient_id) in (select id from hit)
"""
_HANDLES_BY_NAME: LiteralString = """
    select h.id from handle h where h.state = 'active' and h.local_part = %(value)s
"""
_ALIASES_BY_MAILBOX: LiteralString = f"""
    select a.id from alias a
    join account acc on acc.id = a.account_id
    left join handle h on h.id = a.handle_id
    left join username u on u.id = a.username_id
    left join domain d on d.id = a.domain_id
    where a.state = 'active' and a.account_id in (select account_id from hit) and coalesce(h.state, 'active') = 'active'
      and case when exists (
              select from alias_recipient ar join recipient r on r.id = ar.recipient_id
              where ar.alias_id = a.id and {_USABLE})
          then not exists (
              select from alias_recipient ar join recipient r on r.id = ar.recipient_id
              where ar.alias_id = a.id and {_USABLE} and r.id not in (select id from hit))
          else coalesce({_OWN.format("coalesce(h.recipient_id, u.default_recipient_id, d.default_recipient_id)")},
                        acc.default_recipient_id) in (select id from hit) end
"""
_ALIASES_BY_NAME: LiteralString = """
    select a.id from alias a left join handle h on h.id = a.handle_id
    where a.state = 'active' and a.local_part = %(value)s and coalesce(h.state, 'active') = 'active'
"""
# Rows are locked in the order of their ids, as by everybody who changes several.
_DISABLE: LiteralString = """
    with {hit}, found as materialized ({found}), locked as materialized (
        select t.id from {table} t where t.id in (select id from found) and t.state = 'active' order by t.id for update
    ), changed as (
        update {table} set state = 'inactive' where id in (select id from locked) returning id, account_id
    ), noted as (
        insert into audit (actor, account_id, action, object_table, object_id, detail)
        select %(actor)s, account_id, '{table}.deactivate', '{table}', id, jsonb_build_object('ban', %(ban)s::bigint)
        from changed
    )
    select count(*) from changed
"""
_NO_TIMEOUT = "set local statement_timeout = 0"
_SEARCHED: dict[str, tuple[LiteralString, LiteralString]] = {
    "name": (_HANDLES_BY_NAME, _ALIASES_BY_NAME),
    "email": (_HANDLES_BY_MAILBOX, _ALIASES_BY_MAILBOX),
    "domain": (_HANDLES_BY_MAILBOX, _ALIASES_BY_MAILBOX),
}


async def disable(conn: Connection, ban: BanId, kind: BanType, value: str, actor: str) -> tuple[int, int]:
    """How many aliases and handles were deactivated. A ban of clients hits none. Call it within a transaction."""
    if kind == "ip":
        return 0, 0
    await conn.execute(_NO_TIMEOUT)
    handles, aliases = _SEARCHED[kind]
    below = "%." + value.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    values = {"type": kind, "value": value, "below": below, "actor": actor, "ban": ban}
    found = []
    for table, query in (("handle", handles), ("alias", aliases)):  # which aliases stay depends on their handles
        statement = _DISABLE.format(hit=_HIT, found=query, table=table)
        row = await (await conn.execute(statement, values)).fetchone()
        assert row is not None  # it counts
        found.append(int(row[0]))
    return found[1], found[0]
