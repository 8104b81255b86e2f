"""Which Message-IDs of ours stand for which of the owner's (spec section 3.6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailrelay.core.facts import AliasId
from mailrelay.core.ledger import storable
from mailrelay.store.database import Database

_OURS = """
    select our_id, original_id from message_id
    where alias_id = %(alias)s and our_id = any (%(ids)s::text[])
"""


@dataclass(frozen=True, slots=True)
class MessageIds:
    """For one alias; store/context.py asks it together with the rest of what a rewritten copy needs."""

    database: Database

    async def originals(self, alias_id: AliasId, ids: Sequence[str]) -> Mapping[str, str]:
        """Our id to the owner's, for those of the ids that are ours. ids: with angle brackets. Raises Unavailable."""
        wanted = [storable(one, 998) for one in ids]
        return dict(await self.database.rows(_OURS, {"alias": alias_id, "ids": wanted}))
