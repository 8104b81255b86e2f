"""The handler of the job that every bounce of a wary account posts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.failing import AliasBounces, Bounces, Pattern
from mailrelay.core.notices import Code, Notice
from mailrelay.flows.bouncing import BouncingAliases

NOW = datetime(2026, 1, 20, 12, 30, tzinfo=UTC)
JOB = {"account_id": 1, "alias_id": 2}


@dataclass
class Aliases:
    """One alias. count: its bounces within the day, None: there is nothing to decide."""

    count: int | None
    off: list[tuple[int, int, Pattern, Notice]] = field(default_factory=list)

    async def bounces(self, account_id: AccountId, alias_id: AliasId, now: datetime) -> AliasBounces | None:
        if self.count is None:
            return None
        found = (Bounces(now, self.count),)
        return AliasBounces("a1@alias.example", UUID(int=9), found, found)

    async def deactivate(self, account_id: AccountId, alias_id: AliasId, why: Pattern, notice: Notice) -> bool:
        self.off.append((account_id, alias_id, why, notice))
        return True


@pytest.mark.parametrize("count", [None, 12])
async def test_below_the_thresholds_nothing_happens(count: int | None) -> None:
    store = Aliases(count)
    await BouncingAliases(store, lambda: NOW)(JOB)
    assert store.off == []


async def test_7_5_above_them_the_alias_is_off_and_its_owner_hears_why() -> None:
    store = Aliases(13)
    await BouncingAliases(store, lambda: NOW)(JOB)
    data = {
        "alias": "a1@alias.example",
        "alias_uuid": str(UUID(int=9)),
        "at": "2026-01-20T12:30:00+00:00",
        "ip": "",
        "user_agent": "",
        "reason": "bounces_day",
    }
    assert store.off == [(1, 2, Pattern.DAY, Notice(Code.ADUN, AccountId(1), data=data))]


@pytest.mark.parametrize("job", [{}, {"account_id": 1}, {"account_id": "1", "alias_id": 2}, {**JOB, "alias_id": True}])
async def test_a_job_without_an_alias_is_given_up(job: Mapping[str, object]) -> None:
    with pytest.raises(Malformed):
        await BouncingAliases(Aliases(13), lambda: NOW)(job)
