"""All API keys, for administrators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from mailrelay.core.address import Address
from mailrelay.core.apikeys import ApiKey, KeyChange, KeyFilter
from mailrelay.core.ledger import storable
from mailrelay.core.records import NewToken, TokenId
from mailrelay.store.apikeys import COLUMNS, STATUS, add_key, find, key_account
from mailrelay.store.database import Database
from mailrelay.store.listing import page, read, tallied
from mailrelay.store.manage import folded, note, record

_API_KEY: LiteralString = "t.kind = 'api_key'"
_FILTERS: Mapping[str, LiteralString] = {
    "active": f"({STATUS} = 'active') = %(active)s",
    "status": f"{STATUS} = %(status)s",
    "owner": "strpos(t.owner_email, %(owner)s) > 0",
}
_CHANGE: LiteralString = f"""
    update token t set
        account_id = coalesce(%(account)s, t.account_id),
        owner_email = coalesce(%(owner)s, t.owner_email),
        expires_at = case when %(status)s = 'expired' then least(%(expires_at)s, t.expires_at, now())
                          else coalesce(%(expires_at)s, t.expires_at) end,
        revoked_at = case when %(status)s = 'revoked' and (%(stamped)s or t.revoked_at is null) then now()
                          when coalesce(%(status)s, 'revoked') = 'revoked' then t.revoked_at end,
        revoked_reason = case when %(reason)s::text is not null then nullif(%(reason)s, '')
                              when coalesce(%(status)s, 'revoked') = 'revoked' then t.revoked_reason end
    where t.id = %(id)s and t.kind = 'api_key'
    returning {COLUMNS}
"""
_DELETE: LiteralString = f"delete from token t where t.id = %(id)s and t.kind = 'api_key' returning {COLUMNS}"


@dataclass(frozen=True, slots=True)
class AdminApiKeys:
    """Keys of everybody. None: there is no such key. All raise Unavailable; actor: who does it, for the audit."""

    database: Database

    async def page(self, wanted: KeyFilter, limit: int, offset: int) -> tuple[Sequence[ApiKey], int]:
        """Keys of a page, the newest first, and how many there are."""
        owner = None if wanted.owner_email is None else storable(wanted.owner_email.lower())
        values = {"active": wanted.active, "status": wanted.status, "owner": owner}
        wishes = [_FILTERS[name] for name in values if values[name] is not None]
        where: LiteralString = " and ".join([_API_KEY, *wishes])
        statement = page("token", COLUMNS, where=where, counted="" if wishes else tallied("token"))
        return await read(self.database, ApiKey, statement, {**values, "limit": limit, "offset": offset})

    async def get(self, key: TokenId) -> ApiKey | None:
        """One key."""
        async with self.database.connection() as conn:
            return await find(conn, key)

    async def add(self, mailbox: Address, new: NewToken, actor: str) -> ApiKey:
        """A new key of a mailbox."""
        async with self.database.connection() as conn, conn.transaction():
            return await add_key(conn, mailbox, new, actor)

    async def change(self, key: TokenId, change: KeyChange, actor: str) -> ApiKey | None:
        """The key as it is then. Of another mailbox, it acts for another account."""
        async with self.database.connection() as conn, conn.transaction():
            if await find(conn, key) is None:
                return None  # no account is made for nothing
            moved = change.owner
            account = None if moved is None else await key_account(conn, moved)
            values = {
                "id": key,
                "account": account,
                "owner": None if moved is None else folded(moved),
                "status": change.status,
                "stamped": change.stamped,
                "expires_at": change.expires_at,
                "reason": None if change.reason is None else storable(change.reason, 1020),
            }
            changed = await record(conn, ApiKey, _CHANGE, values)
            if changed is not None:
                await note(conn, actor, changed.account, "token.change", "token", key, _told(change))
            return changed

    async def remove(self, key: TokenId, actor: str) -> ApiKey | None:
        """The key as it was. What it did stays on record."""
        async with self.database.connection() as conn, conn.transaction():
            gone = await record(conn, ApiKey, _DELETE, {"id": key})
            if gone is not None:
                await note(conn, actor, gone.account, "token.remove", "token", key, {"kind": "api_key"})
            return gone


def _told(change: KeyChange) -> dict[str, object]:
    """For the audit: what was changed, without mailboxes and reasons."""
    named = {"owner": change.owner, "expires_at": change.expires_at, "reason": change.reason}
    fields = [name for name, value in named.items() if value is not None]
    return {"kind": "api_key", "fields": fields, **({"status": change.status} if change.status else {})}
