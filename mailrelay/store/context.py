"""One round trip for what rewritten copies ask about the addresses and ids that a message names."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailrelay.core.address import Address, split_extension
from mailrelay.core.context import Context, ContextInquiry
from mailrelay.core.ledger import storable
from mailrelay.store.database import Database, compact

# One JSON list for each kind of question, over all inquiries: n counts inquiries, `asked` is what the answer is about.
# Each branch is an index probe per question. A handle is an address on every shared domain, also before mail has made
# its row there.
_CONTEXT = compact("""
    with a as (
        select * from json_to_recordset(%(addresses)s) as a(
            n int, account_id bigint, asked text, base text, domain text)
    )
    select a.n, 'own', a.asked, null, null
    from a join recipient r on r.account_id = a.account_id and r.address_folded = a.asked
    where r.verified_at is not null and not r.pending
    union all
    select a.n, 'sibling', a.asked, null, null
    from a join alias on alias.local_part = a.base and alias.domain = a.domain
    where alias.account_id = a.account_id
    union all
    select a.n, 'sibling', a.asked, null, null
    from a join handle h on h.local_part = a.base join domain d on d.name = a.domain
    where h.account_id = a.account_id and d.account_id is null
    union all
    select i.n, 'id', i.asked, m.original_id, null
    from json_to_recordset(%(ids)s) as i(n int, alias_id bigint, asked text)
    join message_id m on m.alias_id = i.alias_id and m.our_id = i.asked
    union all
    select c.n, 'opaque', c.asked, contact.reverse_local_part, contact.reverse_domain
    from json_to_recordset(%(contacts)s) as c(n int, alias_id bigint, asked text)
    join contact on contact.alias_id = c.alias_id and contact.address = c.asked
    where contact.reverse_local_part is not null
""")


@dataclass(frozen=True, slots=True)
class ContextReader:
    """Reads contexts for many inquiries at once."""

    database: Database

    async def read(self, inquiries: Sequence[ContextInquiry]) -> list[Context]:
        """One Context per inquiry, in their order. Raises Unavailable."""
        questions = {
            "addresses": [
                _about(n, inquiry, asked) for n, inquiry in enumerate(inquiries) for asked in inquiry.addresses
            ],
            "ids": [_key(n, inquiry, asked, 998) for n, inquiry in enumerate(inquiries) for asked in inquiry.ids],
            "contacts": [
                _key(n, inquiry, asked, 1000) for n, inquiry in enumerate(inquiries) for asked in inquiry.contacts
            ],
        }
        if not any(questions.values()):
            return [Context() for _ in inquiries]
        found: dict[int, dict[str, list[tuple[str, str, str]]]] = defaultdict(lambda: defaultdict(list))
        rows = await self.database.rows(_CONTEXT, {name: json.dumps(asked) for name, asked in questions.items()})
        for n, kind, asked, first, second in rows:
            found[n][kind].append((asked, first, second))
        return [_context(found[n]) for n in range(len(inquiries))]


def _about(n: int, inquiry: ContextInquiry, asked: str) -> Mapping[str, object]:
    local, _, domain = storable(asked).rpartition("@")
    return {
        "n": n,
        "account_id": inquiry.account_id,
        "asked": storable(asked),
        "base": split_extension(local)[0],
        "domain": domain,
    }


def _key(n: int, inquiry: ContextInquiry, asked: str, octets: int) -> Mapping[str, object]:
    return {"n": n, "alias_id": inquiry.alias_id, "asked": storable(asked, octets)}


def _context(found: Mapping[str, list[tuple[str, str, str]]]) -> Context:
    return Context(
        own=frozenset(asked for asked, _, _ in found["own"]),
        siblings=frozenset(asked for asked, _, _ in found["sibling"]),
        ids={asked: original for asked, original, _ in found["id"]},
        opaque={asked: Address(local, domain) for asked, local, domain in found["opaque"]},
    )
