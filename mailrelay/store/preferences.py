"""What accounts want done with mail that fails checks. Asked for such mail only."""

from collections.abc import Mapping, Sequence

from mailrelay.core.eom import Preferences
from mailrelay.core.facts import AccountId
from mailrelay.store.database import Database

_PREFERENCES = """
    select id, dmarc_reject_action, store_failed_deliveries from account where id = any (%(ids)s::bigint[])
"""


class PreferencesReader:
    """Reads them from the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, accounts: Sequence[AccountId]) -> Mapping[AccountId, Preferences]:
        """Those of the accounts that exist. Raises Unavailable."""
        rows = await self._database.rows(_PREFERENCES, {"ids": list(accounts)})
        return {AccountId(number): Preferences(action, stores) for number, action, stores in rows}
