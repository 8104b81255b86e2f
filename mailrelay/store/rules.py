"""The rules of accounts as mail needs them: the active ones of several accounts at once, and their counters."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mailrelay.core.facts import AccountId
from mailrelay.core.rules.model import RuleId, StoredRule
from mailrelay.store.database import Database

# As text: what only PostgreSQL takes for JSON must not keep the rules of others from being read.
_ACTIVE = """
    select account_id, id, name, conditions::text, actions::text, operator, forwards, replies, sends
    from rule
    where account_id = any (%(accounts)s::bigint[]) and active and (forwards or replies or sends)
    order by position, created_at, id
"""
_COUNT = """
    update rule set applied = rule.applied + s.n, last_applied = now()
    from (
        select rule.id, c.n
        from json_to_recordset(%(counts)s) as c(id bigint, n bigint) join rule on rule.id = c.id
        order by rule.id for no key update of rule
    ) s
    where rule.id = s.id
"""


@dataclass(frozen=True, slots=True)
class RuleReader:
    """Everything raises Unavailable when the database is in trouble."""

    database: Database

    async def active(self, accounts: Iterable[AccountId]) -> Mapping[AccountId, Sequence[StoredRule]]:
        """Rules that are switched on for any flow, by account, in the order of evaluation (spec section 5.5).

        Accounts without such rules are not in it.
        """
        found: dict[AccountId, list[StoredRule]] = defaultdict(list)
        for account, number, name, conditions, actions, *more in await self.database.rows(
            _ACTIVE, {"accounts": list(accounts)}
        ):
            rule = StoredRule(RuleId(number), name, json_value(conditions), json_value(actions), *more)
            found[AccountId(account)].append(rule)
        return found

    async def count(self, matched: Sequence[Sequence[RuleId]]) -> list[None]:
        """Count rules that matched, once for each message they are listed for, in one statement."""
        counts = Counter(number for rules in matched for number in set(rules))
        if counts:
            entries = [{"id": number, "n": times} for number, times in counts.items()]
            await self.database.rows(_COUNT, {"counts": json.dumps(entries)})
        return [None] * len(matched)


def json_value(text: str) -> object:
    """The value of a jsonb column; None for numbers and depths that are beyond us."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value
