"""Recipients as their owner reads them: all and one. One statement for each answer."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, LiteralString
from uuid import UUID

from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.own_recipients import OwnRecipient
from mailrelay.store.database import Database, compact
from mailrelay.store.manage import records

# Of a recipient `r` beside what it is the recipient of; `embedded` reads them, and `account_uuid` of the same row.
EMBEDDED: LiteralString = """
    r.id as r_id, r.uuid as r_uuid, r.address_folded as r_address, r.description as r_description,
    r.can_reply_send as r_can_reply_send, r.should_encrypt as r_should_encrypt,
    r.inline_encryption as r_inline_encryption, r.protected_headers as r_protected_headers,
    r.remove_pgp_keys as r_remove_pgp_keys, r.remove_pgp_signatures as r_remove_pgp_signatures,
    r.fingerprint as r_fingerprint, r.verified_at as r_verified_at, r.created_at as r_created_at,
    r.updated_at as r_updated_at
"""
_EMBEDDED_FIELDS = tuple(
    field.name for field in fields(OwnRecipient) if field.name not in ("account_uuid", "aliases_count")
)
_FOUND = compact("""
    select r.id, r.uuid, acc.uuid as account_uuid, r.address_folded as address, r.description, r.can_reply_send,
           r.should_encrypt, r.inline_encryption, r.protected_headers, r.remove_pgp_keys, r.remove_pgp_signatures,
           r.fingerprint, r.verified_at, r.created_at, r.updated_at,
           case when %(counted)s then (
               select count(*) from alias_recipient ar join alias a on a.id = ar.alias_id
               where ar.recipient_id = r.id and a.state in ('active', 'inactive')) end as aliases_count
    from recipient r join account acc on acc.id = r.account_id
    where r.account_id = %(account)s and not r.pending
      and (%(uuid)s::uuid is null or r.uuid = %(uuid)s)
      and (%(verified)s::bool is null or (r.verified_at is not null) = %(verified)s)
    order by r.created_at desc, r.id desc
""")


@dataclass(frozen=True, slots=True)
class OwnRecipients:
    """Raises Unavailable. counted: whether their aliases are."""

    database: Database

    async def every(
        self, account: AccountId, *, verified: bool | None = None, counted: bool = True
    ) -> list[OwnRecipient]:
        """All of an account's, the newest first. verified None: whether they are or not."""
        return await self._found(account, None, verified, counted)

    async def one(self, account: AccountId, uuid: UUID, *, counted: bool = True) -> OwnRecipient:
        """Raises Absent, also for what belongs to others."""
        found = await self._found(account, uuid, None, counted)
        if not found:
            raise Absent(f"there is no recipient {uuid}")
        return found[0]

    async def _found(
        self, account: AccountId, uuid: UUID | None, verified: bool | None, counted: bool
    ) -> list[OwnRecipient]:
        values = {"account": account, "uuid": uuid, "verified": verified, "counted": counted}
        return await records(self.database, OwnRecipient, _FOUND, values)


def embedded(row: Mapping[str, Any]) -> OwnRecipient | None:
    """The recipient in a row with the columns EMBEDDED, whose aliases nobody counted; None if there is none."""
    if row["r_id"] is None:
        return None
    values = {name: row[f"r_{name}"] for name in _EMBEDDED_FIELDS}
    return OwnRecipient(**values, account_uuid=row["account_uuid"], aliases_count=None)
