"""One round trip for what replies and sends ask about the addresses and ids that they name."""

import json
from dataclasses import dataclass

from mailrelay.core.address import Address, split_extension
from mailrelay.core.context import Contact, ContactId
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.ledger import storable
from mailrelay.core.sending.context import NamedFacts, NamedInquiry
from mailrelay.core.sending.ids import Known
from mailrelay.store.database import Database, compact

# Of several of our ids for one of the owner's that of this alias counts, then the oldest. What an alias was forwarded
# has a mode in the ledger; what was sent from it has not, as its ids are the owner's own.
_NAMED = compact("""
    with a as (
        select * from json_to_recordset(%(addresses)s) as a(asked text, base text, domain text)
    ), i as (
        select value as asked from json_array_elements_text(%(ids)s)
    )
    select 'alias', a.asked, null::bigint, null::bigint, null, null, null, null
    from a join alias on alias.local_part = a.base and alias.domain = a.domain
    where alias.account_id = %(account)s
    union all
    select 'alias', a.asked, null, null, null, null, null, null
    from a join handle h on h.local_part = a.base join domain d on d.name = a.domain
    where h.account_id = %(account)s and d.account_id is null
    union all
    select 'contact', a.asked, c.id, c.alias_id, alias.local_part, alias.domain, c.address, c.display_name
    from a join contact c on c.reverse_local_part = lower(a.base) and c.reverse_domain = a.domain
    join alias on alias.id = c.alias_id
    where c.account_id = %(account)s
    union all
    (select distinct on (i.asked) 'ours', i.asked, null, null, m.our_id, null, null, null
     from i join message_id m on m.account_id = %(account)s and m.original_id = i.asked
     order by i.asked, m.alias_id <> %(alias)s, m.id)
    union all
    select 'seen', i.asked, null, null, null, null, null, null
    from i where exists (
        select from ledger l where l.message_id = i.asked and l.alias_id = %(alias)s and l.mode is not null)
""")


@dataclass(frozen=True, slots=True)
class NamedReader:
    """Raises Unavailable when the database is in trouble."""

    database: Database

    async def read(self, inquiry: NamedInquiry) -> NamedFacts:
        """What is known about these names."""
        asked = [storable(address) for address in inquiry.addresses]
        addresses = [{"asked": one, **_parts(one)} for one in asked]
        values = {
            "addresses": json.dumps(addresses),
            "ids": json.dumps([storable(one, 998) for one in inquiry.ids]),
            "account": inquiry.account_id,
            "alias": inquiry.alias_id,
        }
        aliases: set[str] = set()
        contacts: dict[str, Contact] = {}
        ours: dict[str, str] = {}
        seen: set[str] = set()
        for kind, name, number, alias_id, first, domain, address, display_name in await self.database.rows(
            _NAMED, values
        ):
            match kind:
                case "alias":
                    aliases.add(name)
                case "contact":
                    alias = Address(first, domain)
                    contacts[name] = Contact(
                        ContactId(number),
                        AccountId(inquiry.account_id),
                        AliasId(alias_id),
                        alias,
                        address,
                        display_name or "",
                    )
                case "ours":
                    ours[name] = first
                case _:
                    seen.add(name)
        return NamedFacts(frozenset(aliases), contacts, Known(ours, frozenset(seen)))


def _parts(address: str) -> dict[str, str]:
    local, _, domain = address.rpartition("@")
    return {"base": split_extension(local)[0], "domain": domain}
