"""Recipients that rules name."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId, RecipientId, Target
from mailrelay.store.database import Database

_TARGETS = """
    select id, address, verified_at is not null and not pending, unverified_since, failing_since, probed_at,
           should_encrypt
    from recipient join unnest(%(uuids)s::uuid[]) with ordinality as asked(uuid, n) using (uuid)
    where account_id = %(account)s
    order by asked.n
"""


@dataclass(frozen=True, slots=True)
class TargetReader:
    """Raises Unavailable when the database is in trouble."""

    database: Database

    async def read(self, account_id: AccountId, uuids: Sequence[UUID]) -> Sequence[Target]:
        """Those that belong to the account, in the order of `uuids`."""
        found = await self.database.rows(_TARGETS, {"uuids": list(uuids), "account": account_id})
        return [_target(*row) for row in found]


def _target(number: int, address: str, verified: bool, *rest: object) -> Target:
    local, _, domain = address.rpartition("@")
    return Target(RecipientId(number), Address(local, domain.lower()), verified, *rest)  # type: ignore[arg-type]
