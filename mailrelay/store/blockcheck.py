"""Whether an account blocks a sender, for a spam filter that asks before we see the mail."""

from dataclasses import dataclass

from mailrelay.core.address import Address, folded_mailbox, parents, split_extension
from mailrelay.core.ledger import storable
from mailrelay.store.database import Database, compact

# Whose the address is: as an alias, as a handle, below a username, at a custom domain, in this order.
_HIT = compact("""
    with owner as (
        select 0 as rank, a.account_id, a.id as alias_id from alias a
        where a.local_part = %(local)s and a.domain = %(domain)s and a.account_id is not null
        union all
        select 1, h.account_id, null from handle h
        where h.local_part = %(local)s and h.account_id is not null
          and exists (select from domain d where d.name = %(domain)s and d.shared)
        union all
        select 2, u.account_id, null from username u
        where u.name = %(label)s and exists (select from domain d where d.name = %(rest)s and d.shared)
        union all
        select 3, d.account_id, null from domain d
        where d.name = %(domain)s and d.account_id is not null and d.verified_at is not null
        order by 1 limit 1
    ), hit as (
        select s.id, owner.account_id, owner.alias_id
        from owner join blocked_sender s on s.account_id = owner.account_id
        where (s.alias_id is null or s.alias_id = owner.alias_id)
          and (s.type = 'email' and s.value = %(sender)s or s.type = 'domain' and s.value = any(%(domains)s::text[]))
        order by s.type desc, s.id limit 1
    )
    update blocked_sender set blocked = blocked + 1, last_blocked = now() from hit where blocked_sender.id = hit.id
    returning hit.alias_id
""")
# A statement of its own: whoever counts mail locks these in the other order.
_COUNT = """
    update alias set emails_blocked = emails_blocked + 1, last_blocked = now()
    where id = %(id)s and account_id is not null
"""


@dataclass(frozen=True, slots=True)
class BlockCheck:
    """Raises Unavailable."""

    database: Database

    async def blocks(self, rcpt: Address, sender: str) -> bool:
        """True if whoever gets mail for `rcpt` blocks the sender or its domain, which then counts as mail that came.

        sender: an address as a client wrote it.
        """
        local, _ = split_extension(rcpt.local)
        label, _, rest = rcpt.domain.partition(".")
        sender = storable(folded_mailbox(sender))
        domain = sender.rpartition("@")[2]
        values = {
            "local": storable(local),
            "domain": rcpt.domain,
            "label": label,
            "rest": rest,
            "sender": sender,
            "domains": list(parents(domain)) if "@" in sender else [],
        }
        row = await self.database.row(_HIT, values)
        if row is not None and row[0] is not None:
            await self.database.row(_COUNT, {"id": row[0]})
        return row is not None
