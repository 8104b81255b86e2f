"""How recipients want their copies encrypted, and the end of that where a key has become useless."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailrelay.core.certificate import Unusable
from mailrelay.core.facts import RecipientId
from mailrelay.core.jobs import NOTICE
from mailrelay.core.locks import Lock
from mailrelay.core.notices import Code
from mailrelay.store.database import Database

_LOCKS = """
    select r.id, r.public_key, r.fingerprint, r.inline_encryption, r.protected_headers,
           coalesce(r.encryption_failure, acc.encryption_failure), r.never_plaintext or acc.never_plaintext
    from recipient r join account acc on acc.id = r.account_id
    where r.id = any (%(ids)s) and r.should_encrypt and r.public_key is not null
"""
# Only the key that was found useless: a new one may be there by now. Its owner is told in the same breath.
_GIVE_UP = f"""
    with off as (
        update recipient set should_encrypt = false
        where id = %(id)s and fingerprint = %(fingerprint)s and should_encrypt
        returning id, account_id, address
    ), told as (
        insert into job (kind, payload)
        select '{NOTICE}', jsonb_build_object(
            'code', '{Code.GKE}', 'account_id', account_id, 'recipient_id', id, 'about', '',
            'data', jsonb_build_object(
                'recipient', address, 'fingerprint', %(fingerprint)s::text, 'problem', %(problem)s::text))
        from off
    )
    insert into audit (actor, account_id, action, object_table, object_id, detail)
    select 'lmtp', account_id, 'recipient.encryption', 'recipient', id, '{{"should_encrypt": false}}' from off
"""


@dataclass(frozen=True, slots=True)
class LockStore:
    """Raises Unavailable when the database is in trouble."""

    database: Database

    async def read(self, recipients: Sequence[RecipientId]) -> Mapping[RecipientId, Lock]:
        """Of those that want encryption."""
        rows = await self.database.rows(_LOCKS, {"ids": list(recipients)})
        return {RecipientId(row[0]): Lock(RecipientId(row[0]), bytes(row[1]), *row[2:]) for row in rows}

    async def give_up(self, lock: Lock, why: Unusable) -> None:
        """Send to this recipient unencrypted from now on, as it wants that where its key is of no use; it is told."""
        values = {"id": lock.recipient_id, "fingerprint": lock.fingerprint, "problem": f"key_{why.value}"}
        await self.database.rows(_GIVE_UP, values)
