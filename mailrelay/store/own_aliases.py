"""Aliases as their owners read them: one, several by their ids, and pages of a list. One statement for each answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.own_aliases import AttachedRecipient, Belongs, OwnAlias
from mailrelay.store.database import Database, compact

# A row for each attached recipient of an alias, and one without for an alias that has none.
_COLUMNS: LiteralString = """
    a.id, a.uuid, acc.uuid as account_uuid, a.local_part, a.domain, a.extension, u.uuid as username_uuid,
    d.uuid as domain_uuid, a.state, a.pinned, a.description, a.from_name, a.attached_recipients_only,
    a.emails_forwarded, a.emails_blocked, a.emails_replied, a.emails_sent, a.last_forwarded, a.last_blocked,
    a.last_replied, a.last_sent, a.created_at, a.updated_at, a.deleted_at,
    r.id as r_id, r.uuid as r_uuid, r.address as r_address, r.description as r_description,
    r.can_reply_send as r_can_reply_send, r.should_encrypt as r_should_encrypt,
    r.inline_encryption as r_inline_encryption, r.protected_headers as r_protected_headers,
    r.remove_pgp_keys as r_remove_pgp_keys, r.remove_pgp_signatures as r_remove_pgp_signatures,
    r.fingerprint as r_fingerprint, r.verified_at as r_verified_at, r.created_at as r_created_at,
    r.updated_at as r_updated_at
"""
_AROUND: LiteralString = """
    join account acc on acc.id = a.account_id
    left join username u on u.id = a.username_id
    left join domain d on d.id = a.domain_id and not d.shared
    left join (alias_recipient ar join recipient r on r.id = ar.recipient_id and not r.pending) on ar.alias_id = a.id
"""
_SEVERAL: LiteralString = compact(f"""
    select {_COLUMNS}
    from unnest(%(uuids)s::uuid[]) with ordinality as asked(uuid, n)
    join alias a on a.uuid = asked.uuid and a.account_id = %(account)s
    {_AROUND}
    order by asked.n, ar.created_at, r.id
""")


@dataclass(frozen=True, slots=True)
class OwnAliases:
    """Everything raises Unavailable when the database is in trouble."""

    database: Database

    async def one(self, account: AccountId, uuid: UUID) -> OwnAlias:
        """One alias, deleted ones too. Raises Absent, also for what belongs to others."""
        found = await self.several(account, (uuid,))
        if not found:
            raise Absent(f"there is no alias {uuid}")
        return found[0]

    async def several(self, account: AccountId, uuids: Sequence[UUID]) -> list[OwnAlias]:
        """Those of them that there are, deleted ones too, in the order asked for; the ids are different ones."""
        async with self.database.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_SEVERAL, {"account": account, "uuids": list(uuids)})
            return _aliases(await cursor.fetchall())


def _aliases(rows: Iterable[Mapping[str, Any]]) -> list[OwnAlias]:
    """Aliases of rows whose columns are those above; the rows of an alias follow each other."""
    seen: dict[int, AttachedRecipient] = {}
    found: list[tuple[Mapping[str, Any], list[AttachedRecipient]]] = []
    for row in rows:
        if not found or found[-1][0]["id"] != row["id"]:
            found.append((row, []))
        number = row["r_id"]
        if number is not None:
            if number not in seen:
                seen[number] = _recipient(row)
            found[-1][1].append(seen[number])
    return [_alias(row, recipients) for row, recipients in found]


_ALIAS_FIELDS = tuple(field.name for field in fields(OwnAlias) if field.name not in ("belongs", "recipients"))
_RECIPIENT_FIELDS = tuple(field.name for field in fields(AttachedRecipient) if field.name != "account_uuid")


def _alias(row: Mapping[str, Any], recipients: Iterable[AttachedRecipient]) -> OwnAlias:
    belongs = None
    if row["username_uuid"] is not None:
        belongs = Belongs("username", row["username_uuid"])
    elif row["domain_uuid"] is not None:
        belongs = Belongs("domain", row["domain_uuid"])
    return OwnAlias(**{name: row[name] for name in _ALIAS_FIELDS}, belongs=belongs, recipients=tuple(recipients))


def _recipient(row: Mapping[str, Any]) -> AttachedRecipient:
    return AttachedRecipient(**{name: row[f"r_{name}"] for name in _RECIPIENT_FIELDS}, account_uuid=row["account_uuid"])
