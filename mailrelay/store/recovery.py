"""Forgotten passwords: whose an address is, and a new password for a code that was mailed there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from mailrelay.core.codes import Intent
from mailrelay.core.facts import AccountId
from mailrelay.core.ledger import storable
from mailrelay.core.users import Act, Changed
from mailrelay.store.announcements import announce
from mailrelay.store.confirmations import settle, take
from mailrelay.store.database import Database
from mailrelay.store.entrance import OF_EMAIL
from mailrelay.store.manage import note
from mailrelay.store.sessions import end_sessions
from mailrelay.store.userrow import read_user
from mailrelay.store.users import Tell, end_resets

_WHOSE: LiteralString = f"select id from account where id = ({OF_EMAIL}) and state = 'active' and not external_auth"
_LOCK = """
    select id, state = 'active' and not external_auth from account
    where id = (select account_id from confirmation
                where code_mac = any (%(macs)s) and status = 'pending' and intent = 'password_reset'
                order by id desc limit 1)
    for no key update
"""
_PASSWORD = "update account set password_hash = %(hash)s, password_changed_at = %(now)s where id = %(id)s"  # noqa: S105


@dataclass(frozen=True, slots=True)
class RecoveryStore:
    """Both raise Unavailable."""

    database: Database

    async def whose(self, email: str) -> AccountId | None:
        """The active user of an address, folded, who may set a password here."""
        row = await self.database.row(_WHOSE, {"identifier": storable(email)})
        return None if row is None else AccountId(row[0])

    async def reset(self, macs: Sequence[bytes], password_hash: str, act: Act, tell: Tell) -> Changed | None:
        """A new password and the end of all sessions; None: there is no such code, or whose it is may not use it."""
        async with self.database.connection() as conn, conn.transaction():
            # The account first, as everybody does who ends codes of one.
            row = await (await conn.execute(_LOCK, {"macs": list(macs)})).fetchone()
            pending = await take(conn, macs, act.at)
            if row is None or pending is None or pending.account != row[0] or not row[1]:
                return None
            before = await read_user(conn, AccountId(row[0]))
            if before is None or pending.intent is not Intent.PASSWORD_RESET:
                return None
            if pending.email.folded != before.email:
                return None  # whoever gets that mail is not meant any more
            values = {"id": before.id, "hash": password_hash, "now": act.at}
            await settle(conn, pending.id, act.at)
            await end_resets(conn, before.id)
            await conn.execute(_PASSWORD, values)
            sessions = await end_sessions(conn, before.id, act.at)
            await note(conn, act.actor, before.id, "account.password_reset", "account", before.id)
            after = await read_user(conn, before.id)
            await announce(conn, *tell(before, after or before, ("password",)))
            return Changed(after or before, sessions)
