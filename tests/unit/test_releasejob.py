"""The job that a pressed button leaves behind: a held message goes out, or its owner hears why it does not."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from mailrelay.core.errors import Absent, Conflict, Malformed, Unavailable
from mailrelay.core.facts import AccountId, Reason
from mailrelay.core.held import HeldId, HeldRecord, HeldState
from mailrelay.core.notices import Code, Notice
from mailrelay.flows.release import Released
from mailrelay.flows.releasejob import ReleaseJobs

NOW = datetime(2026, 1, 6, 9, tzinfo=UTC)


@dataclass
class Desk:
    """trouble: of the release; state: of the record afterwards, None: there is none any more."""

    trouble: Exception | None = None
    state: HeldState | None = "held"
    asked: list[tuple[int, str]] = field(default_factory=list)
    posted: list[Notice] = field(default_factory=list)

    async def release(self, held_id: HeldId, actor: str) -> Released:
        self.asked.append((held_id, actor))
        if self.trouble is not None:
            raise self.trouble
        return Released(held_id, 0, Reason.REFUSED_BY_POSTFIX)

    async def read(self, held_id: HeldId, /) -> HeldRecord:
        if self.state is None:
            raise Absent("gone")
        rcpt = "a1+bob=shop.example@alias.example"
        more = (self.state, None, None, None, None, 9, True, NOW, NOW)
        return HeldRecord(
            held_id, UUID(int=1), AccountId(1), "johndoe", "a1@alias.example", "", rcpt, "unauthorised", *more
        )

    async def post(self, notice: Notice, /) -> None:
        self.posted.append(notice)

    async def run(self, payload: dict[str, object]) -> None:
        await ReleaseJobs(self.release, self.read, self.post)(payload)


async def test_the_message_is_released_as_whoever_pressed() -> None:
    desk = Desk()
    await desk.run({"held_id": 7, "actor": "link:192.0.2.7"})
    assert (desk.asked, desk.posted) == ([(7, "link:192.0.2.7")], [])


@pytest.mark.parametrize("trouble", [Conflict("the alias was deleted"), Malformed("it cannot be decrypted")])
async def test_its_owner_hears_why_it_does_not_go_out(trouble: Exception) -> None:
    desk = Desk(trouble)
    await desk.run({"held_id": 7})
    [notice] = desk.posted
    assert (notice.code, notice.account_id, notice.data["reason"]) == (Code.DRSA, 1, str(trouble))


@pytest.mark.parametrize("state", ["released", None], ids=["pressed-twice", "deleted"])
async def test_nobody_is_told_of_what_is_over(state: HeldState | None) -> None:
    desk = Desk(Conflict("it was released before"), state)
    await desk.run({"held_id": 7})
    assert desk.posted == []


async def test_a_record_that_is_gone_is_no_trouble() -> None:
    desk = Desk(Absent("gone"))
    await desk.run({"held_id": 7})
    assert desk.posted == []


async def test_passing_trouble_is_tried_again() -> None:
    with pytest.raises(Unavailable):
        await Desk(Unavailable("Postfix is away")).run({"held_id": 7})


async def test_what_names_no_message_makes_no_sense() -> None:
    with pytest.raises(Malformed):
        await Desk().run({"held_id": "7"})
