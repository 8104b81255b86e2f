"""Which logins of the host's submission service may send with an address."""

from dataclasses import dataclass

from mailrelay.core.address import Address
from mailrelay.core.ledger import storable
from mailrelay.store.database import Database, compact
from mailrelay.store.manage import folded

# An alias may send as spec section 1.10 has it: also while it or its parent is inactive, and after it has expired.
# The limit keeps the answer within a socketmap reply; nobody has so many mailboxes.
_SENDERS = compact("""
    select r.address_folded
    from alias a
    join account acc on acc.id = a.account_id and acc.state = 'active' and acc.sends_suspended_at is null
    join recipient r on r.account_id = acc.id and r.verified_at is not null and not r.pending and r.can_reply_send
    left join domain d on d.id = a.domain_id
    left join handle h on h.id = a.handle_id
    where a.local_part = %(base)s and a.domain = %(domain)s and a.state in ('active', 'inactive')
      and (a.username_id is not null or d.shared or d.verified_at is not null)
      and h.state is distinct from 'released'
      and not exists (select from handle_domain_off o where o.handle_id = h.id and o.domain = a.domain and o.active)
      and (not a.attached_recipients_only
           or exists (select from alias_recipient ar where ar.alias_id = a.id and ar.recipient_id = r.id))
    union
    select r.address_folded
    from recipient r join account acc on acc.id = r.account_id and acc.state = 'active'
    where r.address_folded = %(whole)s and r.verified_at is not null and not r.pending
    order by 1 limit 300
""")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Reads current rows: what is revoked ends with the next message."""

    database: Database

    async def senders(self, base: str, whole: Address) -> list[str]:
        """Logins that may send with an address: folded addresses of verified recipients, in alphabetical order.

        base: local part of the alias that the address would be, folded; '' if it cannot be one. whole: the address.
        An alias is for the recipients of its account that may reply (spec sections 4.2 c and d), the address of a
        recipient for that recipient only; empty: for nobody. Raises Unavailable.
        """
        values = {"base": storable(base), "domain": storable(whole.domain), "whole": storable(folded(whole))}
        return [login for (login,) in await self.database.rows(_SENDERS, values)]
