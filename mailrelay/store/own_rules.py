"""The rules of an account as their owner reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Owned
from mailrelay.core.rules.model import RuleId
from mailrelay.core.rules.record import OwnRule
from mailrelay.store.database import Database
from mailrelay.store.rules import json_value

# Of `rule r`, in the order of OwnRule's fields.
OWN_COLUMNS: LiteralString = """
    r.id, r.uuid, r.position, r.name, r.active, r.forwards, r.replies, r.sends, r.operator, r.conditions::text,
    r.actions::text, r.applied, r.last_applied, r.created_at, r.updated_at"""
OWN_COLUMNS_COUNT = 15
ORDER: LiteralString = "order by r.account_id, r.position, r.created_at, r.id"

_ALL: LiteralString = f"select {OWN_COLUMNS} from rule r where r.account_id = %(account)s {ORDER}"
_ONE: LiteralString = f"select {OWN_COLUMNS} from rule r where r.uuid = %(uuid)s and r.account_id = %(account)s"


@dataclass(frozen=True, slots=True)
class OwnRules:
    """Nothing is compiled here: an owner may have more patterns than a request should take."""

    database: Database

    async def all(self, account: AccountId) -> list[OwnRule]:
        """In the order of evaluation."""
        return [OwnRule(*own_fields(row)) for row in await self.database.rows(_ALL, {"account": account})]

    async def one(self, which: Owned) -> OwnRule:
        """Raises Absent."""
        row = await self.database.row(_ONE, {"uuid": which.uuid, "account": which.account})
        if row is None:
            raise Absent(f"the account has no rule {which.uuid}")
        return OwnRule(*own_fields(row))


def own_fields(row: Sequence[Any]) -> list[Any]:
    """What OWN_COLUMNS give, as OwnRule has it; what follows them is left out."""
    fields = list(row[:OWN_COLUMNS_COUNT])
    fields[0] = RuleId(fields[0])
    fields[9], fields[10] = json_value(fields[9]), json_value(fields[10])
    return fields
