"""Who signs in: what is known of them, and the token that they get, in the transaction that uses up ticket and code."""

from dataclasses import dataclass
from typing import LiteralString

from mailrelay.core.facts import AccountId
from mailrelay.core.ledger import storable
from mailrelay.core.records import NewToken, TokenRecord
from mailrelay.core.signin import Admission, Person, Refused
from mailrelay.store.database import Database
from mailrelay.store.manage import Connection
from mailrelay.store.manage_tokens import add_token

_PERSON: LiteralString = """
    select acc.id, acc.uuid,
           case when acc.state = 'active' and not acc.external_auth and {may} then acc.password_hash end,
           coalesce(r.verified_at is not null and not r.pending, false), acc.totp_secret, acc.totp_last_step,
           exists (select from security_key k where k.account_id = acc.id and k.enabled),
           exists (select from token t where t.account_id = acc.id and t.kind = 'addy'
                                             and t.created_ip <<= nullif(%(network)s, '')::inet)
    from account acc
    left join recipient r on r.id = acc.default_recipient_id
"""
_BY_NAME: LiteralString = (
    _PERSON.replace("{may}", "u.can_login") + "join username u on u.account_id = acc.id where u.name = %(name)s"
)
_BY_ACCOUNT: LiteralString = _PERSON.replace("{may}", "true") + "where acc.id = %(account)s"

_PASSWORD_OF = "select password_hash, external_auth from account where id = %(account)s"  # noqa: S105
_LOCK = """
    select state, password_hash, totp_secret is not null, totp_last_step from account where id = %(id)s
    for no key update
"""
_ENTERED = """
    update account set last_login_at = now(), totp_last_step = coalesce(%(step)s, totp_last_step) where id = %(id)s
"""
# Known as long as it would be good; that a code is good once holds even if this is forgotten in a crash.
_USE_TICKET = """
    insert into request_window (name, subject, seconds, opened_at, hits)
    values ('sign-in-ticket', %(ticket)s, 600, now(), 1)
    on conflict on constraint request_window_pkey do nothing
    returning true
"""


@dataclass(frozen=True, slots=True)
class SignInStore:
    """All methods raise Unavailable. network: of the client, '' if unknown."""

    database: Database

    async def by_name(self, username: str, network: str) -> Person | None:
        """Whose username this is; without a password if it, or its account, is not for signing in."""
        row = await self.database.row(_BY_NAME, {"name": storable(username), "network": network})
        return None if row is None else Person(AccountId(row[0]), *row[1:])

    async def by_account(self, account: AccountId, network: str) -> Person | None:
        """One account; None: it is gone."""
        row = await self.database.row(_BY_ACCOUNT, {"account": account, "network": network})
        return None if row is None else Person(AccountId(row[0]), *row[1:])

    async def password_of(self, account: AccountId) -> tuple[str | None, bool]:
        """The hash of an account's password, None if it has none; and whether somebody else signs people in to it."""
        row = await self.database.row(_PASSWORD_OF, {"account": account})
        return (None, False) if row is None else (row[0], row[1])

    async def admit(self, admission: Admission, new: NewToken) -> TokenRecord | Refused:
        """The new token, unless ticket or code are used by now, or the password is another one."""
        account = admission.account
        async with self.database.connection() as conn, conn.transaction():
            refused = await _refused(conn, admission)
            if refused is not None:
                return refused
            await conn.execute(_ENTERED, {"id": account, "step": admission.step})
            return await add_token(conn, account, new, f"account:{account}")


async def _refused(conn: Connection, admission: Admission) -> Refused | None:
    """Two who come with the same wait for each other at the account's row."""
    row = await (await conn.execute(_LOCK, {"id": admission.account})).fetchone()
    if row is None or row[0] != "active" or row[1] != admission.password_hash:
        return Refused.CREDENTIALS if admission.ticket is None else Refused.TICKET
    _, _, has_factor, last_step = row
    if admission.ticket is None or admission.step is None:
        return Refused.CREDENTIALS if has_factor else None  # it got one in this moment
    if not has_factor:
        return Refused.TICKET
    if last_step is not None and admission.step <= last_step:
        return Refused.CODE
    used = await (await conn.execute(_USE_TICKET, {"ticket": admission.ticket.hex()})).fetchone()
    return Refused.TICKET if used is None else None
