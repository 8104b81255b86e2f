"""How many messages of an account went out, by day and type, as the ledger counts them when copies are closed."""

from dataclasses import dataclass
from datetime import date

from mailrelay.core.facts import AccountId
from mailrelay.core.verp import EmailType
from mailrelay.core.week import DayCount
from mailrelay.store.database import Database

# Some rows of the primary key, however large the ledger is. Kept for eight days (core/retention.py).
_SINCE = """
    select (window_start at time zone 'utc')::date, subject, amount from rate_window
    where account_id = %(account)s and kind = 'day' and window_start >= %(first)s::timestamp at time zone 'utc'
"""


@dataclass(frozen=True, slots=True)
class Days:
    """Raises Unavailable when the database is in trouble."""

    database: Database

    async def since(self, account: AccountId, first: date) -> list[DayCount]:
        """From this day on, in UTC; days without mail have no count."""
        rows = await self.database.rows(_SINCE, {"account": account, "first": first})
        return [DayCount(day, EmailType(kind), amount) for day, kind, amount in rows]
