"""Numbers for the apps' dashboards (addy-api.md section 3.12, N18)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date
from typing import Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.addy.call import Call, body
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.core.facts import AccountId
from mailrelay.core.week import DayCount, first_day, week


class ChartShape(TypedDict):
    forwardsData: list[int]
    repliesData: list[int]
    sendsData: list[int]
    labels: list[str]
    outboundMessageTotals: list[int]


class Days(Protocol):
    """As store/days.py. Raises Unavailable."""

    async def since(self, account: AccountId, first: date) -> Sequence[DayCount]: ...


@dataclass(frozen=True, slots=True)
class ChartEndpoints:
    """N18."""

    days: Days

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint("GET", "chart-data", self.show, "N18 Mail of the last seven days", ChartShape),)

    async def show(self, call: Call) -> Response:
        today = call.now.astimezone(UTC).date()
        found = week(today, await self.days.since(call.account, first_day(today)))
        chart: ChartShape = {
            "forwardsData": [*found.forwards],
            "repliesData": [*found.replies],
            "sendsData": [*found.sends],
            "labels": [*found.days],
            "outboundMessageTotals": [*found.totals],
        }
        return body(chart)
