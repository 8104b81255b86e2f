"""What every process keeps in memory: the domains served here and the bans in force."""

from typing import LiteralString

from psycopg.rows import TupleRow

from mailrelay.core.address import Address
from mailrelay.core.bans import Ban, BanId
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.ledger import storable
from mailrelay.store.database import Database

# A custom domain that is switched off is still its owner's, who decides what mail for it hears.
_DOMAINS = "select name, shared from domain where case when shared then active else verified_at is not null end"
_IN_FORCE: LiteralString = """
    select id, type, value, scope, expires_at from ban
    where revoked_at is null and (expires_at is null or expires_at > now())
"""
_BAN: LiteralString = f"{_IN_FORCE} and id = %(id)s"
_BANS: LiteralString = f"{_IN_FORCE} and id > %(after)s order by id limit %(limit)s"
_PIECE = 5000  # bans: others get their turns between

_RECIPIENT = """
    select account_id, id from recipient
    where address_folded = %(address)s and verified_at is not null and not pending
    order by id limit 1
"""


async def read_domains(database: Database) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the shared domains, and of the verified custom ones. Raises Unavailable."""
    rows = await database.rows(_DOMAINS)
    return frozenset(name for name, shared in rows if shared), frozenset(name for name, shared in rows if not shared)


async def read_bans(database: Database) -> list[Ban]:
    """All bans in force. Those that change meanwhile are announced. Raises Unavailable."""
    found: list[Ban] = []
    while True:
        values = {"after": found[-1].id if found else 0, "limit": _PIECE}
        piece = [_ban(row) for row in await database.rows(_BANS, values)]
        found += piece
        if len(piece) < _PIECE:
            return found


async def read_ban(database: Database, ban_id: BanId) -> Ban | None:
    """One ban, None if it is not in force. Raises Unavailable."""
    row = await database.row(_BAN, {"id": ban_id})
    return _ban(row) if row is not None else None


def _ban(row: TupleRow) -> Ban:
    return Ban(*row)


async def find_recipient(database: Database, address: Address) -> tuple[AccountId, RecipientId] | None:
    """The oldest verified recipient with this address and its account, None if nobody has it. Raises Unavailable."""
    row = await database.row(_RECIPIENT, {"address": storable(address.folded)})
    return None if row is None else (AccountId(row[0]), RecipientId(row[1]))
