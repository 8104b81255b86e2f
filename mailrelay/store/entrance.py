"""Who signs in to the dashboard: what is known of them, and the session that they get."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from mailrelay.core.facts import AccountId
from mailrelay.core.ledger import storable
from mailrelay.core.people import User
from mailrelay.core.sessions import Entry, NewSession
from mailrelay.core.signin import Person
from mailrelay.store.database import Database, compact
from mailrelay.store.manage import note
from mailrelay.store.sessions import add, end_oldest
from mailrelay.store.userrow import FROM, VERIFIED, read_user

# Whose an address is: the account's that has it as its own; else the oldest account's whose default recipient it is.
OF_EMAIL: LiteralString = """
    select id from (
        select a.id, 0 as place from account a where a.email = %(identifier)s and a.name is not null
        union all
        select a.id, 1 from recipient m
        join account a on a.id = m.account_id and a.default_recipient_id = m.id
        where m.address_folded = %(identifier)s and m.verified_at is not null and not m.pending
          and a.email is null and a.name is not null
    ) found
    order by place, id limit 1
"""
_PERSON = compact(f"""
    select acc.id, acc.uuid, case when acc.state = 'active' and not acc.external_auth then acc.password_hash end,
           {VERIFIED} is not null, acc.totp_secret, acc.totp_last_step,
           exists (select from security_key k where k.account_id = acc.id and k.enabled),
           exists (select from session s where s.account_id = acc.id
                                           and s.request_ip <<= nullif(%(network)s, '')::inet)
    from {FROM}
    where acc.id = case when strpos(%(identifier)s, '@') > 0 then ({OF_EMAIL})
                        else (select id from account where name = %(identifier)s) end
""")
_LOCK = """
    select state, password_hash, totp_secret is not null, totp_last_step from account where id = %(id)s
    for no key update
"""
_ENTERED = """
    update account set last_login_at = %(now)s, totp_last_step = coalesce(%(step)s, totp_last_step) where id = %(id)s
"""
_BETTER = "update account set password_hash = %(better)s where id = %(id)s"


@dataclass(frozen=True, slots=True)
class EntranceStore:
    """Both raise Unavailable."""

    database: Database

    async def person(self, identifier: str, network: str) -> Person | None:
        """Who is called so. identifier: a folded mailbox or name; network: of the client, '' if unknown."""
        row = await self.database.row(_PERSON, {"identifier": storable(identifier), "network": network})
        return None if row is None else Person(AccountId(row[0]), *row[1:])

    async def enter(self, entry: Entry, new: NewSession, keep: int, now: datetime) -> User | None:
        """Begin a session; None: password or second factor are others by now, or the code was used before.

        keep: sign-ins that may last, this one included; the oldest end.
        """
        account = entry.account
        async with self.database.connection() as conn, conn.transaction():
            row = await (await conn.execute(_LOCK, {"id": account})).fetchone()
            if row is None or row[0] != "active" or row[1] != entry.password_hash or row[2] != (entry.step is not None):
                return None
            if entry.step is not None and row[3] is not None and entry.step <= row[3]:
                return None
            if entry.better is not None:
                await conn.execute(_BETTER, {"id": account, "better": entry.better})
            await conn.execute(_ENTERED, {"id": account, "now": now, "step": entry.step})
            await end_oldest(conn, account, keep - 1, now)
            number = await add(conn, account, new, now)
            await note(conn, f"admin:{account}", account, "session.begin", "session", number)
            return await read_user(conn, account)
