"""Holders of API keys: who they are, in one round trip, and what they did (haltman-api.md section 1.7)."""

from dataclasses import dataclass

from psycopg.types.json import Jsonb

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId
from mailrelay.core.ledger import storable
from mailrelay.core.people import KeyHolder, KeyUse
from mailrelay.core.records import TokenId
from mailrelay.store.database import Database, compact

_MAX_ROUTE = 128
_MAX_USER_AGENT = 255

# An account with a name is the key's as long as the mailbox is its default: else somebody else is its owner.
# Whoever comes second waits for the first and then compares with what that one wrote: nothing is renewed twice. Most
# requests renew nothing, and those leave `updated_at` alone. The look-up's time tells nothing: hashes are random.
_HOLDER = compact("""
    with who as materialized (
        select t.id, t.owner_email,
               case when acc.name is null or exists (
                        select from recipient r
                        where r.id = acc.default_recipient_id and r.address_folded = t.owner_email
                          and r.verified_at is not null and not r.pending)
                    then t.account_id end as account_id
        from token t join account acc on acc.id = t.account_id and acc.state = 'active'
        where t.hash = %(hash)s and t.kind = 'api_key' and t.revoked_at is null
          and (t.expires_at is null or t.expires_at > now())
    ), renewed as (
        update token set expires_at = token.expires_at + interval '90 days', last_used_at = date_trunc('second', now())
        from who
        where token.id = who.id and token.automatic_renew and token.expires_at < now() + interval '7 days'
    ), used as (
        update token set last_used_at = date_trunc('second', now())
        from who
        where token.id = who.id
          and not (token.automatic_renew and coalesce(token.expires_at < now() + interval '7 days', false))
          and (token.last_used_at is null or token.last_used_at < date_trunc('second', now()))
    )
    select account_id, id, owner_email from who
""")
# A key that was deleted meanwhile is none, its owner's log goes on.
_LOG = """
    insert into api_log (token_id, owner_email, route, body, request_ip, user_agent)
    values ((select id from token where id = %(token)s), %(owner)s, %(route)s, %(body)s, %(ip)s::inet, %(agent)s)
"""


@dataclass(frozen=True, slots=True)
class KeyHolders:
    """The API keys of the token table, and the api_log table. Both methods raise Unavailable."""

    database: Database

    async def holder(self, key_hash: bytes) -> KeyHolder | None:
        """Whose usable key has this SHA-256; it counts as used, and is renewed if that is due and wanted."""
        row = await self.database.row(_HOLDER, {"hash": key_hash})
        if row is None:
            return None
        local, _, domain = row[2].rpartition("@")
        return KeyHolder(None if row[0] is None else AccountId(row[0]), TokenId(row[1]), Address(local, domain))

    async def log(self, use: KeyUse) -> None:
        """A request that was made with a key: never its query, its body or a secret."""
        body = {
            "operation": use.operation,
            "status_code": use.status,
            "outcome": use.outcome,
            "request_id": use.request_id,
            "resource": {"alias": use.alias or None},
        }
        values = {
            "token": use.holder.token,
            "owner": use.holder.email.folded,
            "route": storable(use.route)[:_MAX_ROUTE],
            "body": Jsonb(body),
            "ip": use.ip or None,
            "agent": storable(use.user_agent, _MAX_USER_AGENT) or None,
        }
        await self.database.rows(_LOG, values)
