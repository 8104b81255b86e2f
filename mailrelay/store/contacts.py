"""Correspondents and their opaque reverse addresses (spec section 1.7)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.errors import CheckViolation, ForeignKeyViolation, UniqueViolation

from mailrelay.core.address import Address
from mailrelay.core.context import Contact, Wanted
from mailrelay.core.errors import Unavailable
from mailrelay.core.ledger import storable
from mailrelay.store.database import Database, constraint

# A contact may be there without a reverse address, or with one that somebody else made a moment ago: then `do update`
# keeps it, and unlike `do nothing` it gives it back. In order, so that two messages do not lock each other.
_MAKE = """
    with q as (
        select * from json_to_recordset(%(wanted)s) as q(
            n int, account_id bigint, alias_id bigint, address text, display_name text, domain text, local text)
    ), made as (
        insert into contact (account_id, alias_id, address, display_name, reverse_local_part, reverse_domain)
        select account_id, alias_id, address, nullif(display_name, ''), local, domain
        from (select distinct on (alias_id, address) * from q order by alias_id, address, n) u
        order by alias_id, address
        on conflict on constraint contact_address_unique do update
            set display_name = coalesce(contact.display_name, excluded.display_name),
                reverse_local_part = coalesce(contact.reverse_local_part, excluded.reverse_local_part),
                reverse_domain = coalesce(contact.reverse_domain, excluded.reverse_domain)
        returning alias_id, address, reverse_local_part, reverse_domain
    )
    select made.reverse_local_part, made.reverse_domain
    from q join made on made.alias_id = q.alias_id and made.address = q.address
    order by q.n
"""

_FIND = """
    select q.n, c.id, c.account_id, c.alias_id, a.local_part, a.domain, c.address, coalesce(c.display_name, '')
    from json_to_recordset(%(asked)s) as q(n int, local text, domain text)
    join contact c on c.reverse_local_part = q.local and c.reverse_domain = q.domain
    join alias a on a.id = c.alias_id
"""


@dataclass(frozen=True, slots=True)
class Contacts:
    """Many at once, so that concurrent messages share a statement. Everything raises Unavailable in trouble."""

    database: Database

    async def reverse(self, wanted: Sequence[Wanted]) -> list[Address]:
        """The opaque reverse address of each, in their order; made where there is none. Repeated, it stays the same.

        Raises Unavailable also when an alias goes at this moment, or if the letters belong to somebody else: the next
        try draws others.
        """
        entries = [
            {
                "n": n,
                "account_id": one.account_id,
                "alias_id": one.alias_id,
                "address": storable(one.address),
                "display_name": storable(one.display_name, 500),
                "domain": one.domain,
                "local": f"r-{one.letters}",
            }
            for n, one in enumerate(wanted)
        ]
        try:
            rows = await self.database.rows(_MAKE, {"wanted": json.dumps(entries)})
        except (ForeignKeyViolation, UniqueViolation, CheckViolation) as error:
            raise Unavailable(f"no reverse address: {constraint(error)}") from error
        return [Address(local, domain) for local, domain in rows]

    async def find(self, asked: Sequence[Address]) -> list[Contact | None]:
        """Whom these reverse addresses mean, by the whole address in either case; None for those that mean nobody."""
        entries = [
            {"n": n, "local": storable(one.local.lower()), "domain": storable(one.domain)}
            for n, one in enumerate(asked)
        ]
        found: list[Contact | None] = [None] * len(asked)
        for n, number, account, alias_id, local, domain, address, name in await self.database.rows(
            _FIND, {"asked": json.dumps(entries)}
        ):
            found[n] = Contact(number, account, alias_id, Address(local, domain), address, name)
        return found
