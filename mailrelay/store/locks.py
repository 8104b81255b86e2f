"""How recipients want their copies encrypted, and the end of that where a key has become useless."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailrelay.core.facts import RecipientId
from mailrelay.core.locks import Lock
from mailrelay.store.database import Database

_LOCKS = """
    select r.id, r.public_key, r.fingerprint, r.inline_encryption, r.protected_headers,
           coalesce(r.encryption_failure, acc.encryption_failure), r.never_plaintext or acc.never_plaintext
    from recipient r join account acc on acc.id = r.account_id
    where r.id = any (%(ids)s) and r.should_encrypt and r.public_key is not null
"""
# Only the key that was found useless: a new one may be there by now.
_GIVE_UP = """
    with off as (
        update recipient set should_encrypt = false
        where id = %(id)s and fingerprint = %(fingerprint)s and should_encrypt
        returning id, account_id
    )
    insert into audit (actor, account_id, action, object_table, object_id, detail)
    select 'lmtp', account_id, 'recipient.encryption', 'recipient', id, '{"should_encrypt": false}' from off
"""


@dataclass(frozen=True, slots=True)
class LockStore:
    """Raises Unavailable when the database is in trouble."""

    database: Database

    async def read(self, recipients: Sequence[RecipientId]) -> Mapping[RecipientId, Lock]:
        """Of those that want encryption."""
        rows = await self.database.rows(_LOCKS, {"ids": list(recipients)})
        return {RecipientId(row[0]): Lock(RecipientId(row[0]), bytes(row[1]), *row[2:]) for row in rows}

    async def give_up(self, lock: Lock) -> None:
        """Send to this recipient unencrypted from now on, as it wants that where its key is of no use."""
        await self.database.rows(_GIVE_UP, {"id": lock.recipient_id, "fingerprint": lock.fingerprint})
