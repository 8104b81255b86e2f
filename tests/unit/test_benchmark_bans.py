"""The benchmark's bans: what it puts into the table, and how it judges them."""

from datetime import UTC, datetime
from typing import cast

from mailrelay.core.bans import Ban, BanBook, BanId, BanType
from mailrelay.flows.manage.bans import ban_value
from tools.benchmark import bans
from tools.benchmark.policy import Answers, Round
from tools.benchmark.report import Report

NOW = datetime(2026, 1, 6, 12, tzinfo=UTC)


def test_bans_that_are_measured_are_as_stored_and_hit_nobody() -> None:
    found = list(bans.some(2000))
    assert len(set(found)) == len(found) == 2000
    assert all(ban_value(cast("BanType", kind), value) == value for kind, value in found)
    book = BanBook.of(
        Ban(BanId(n), cast("BanType", kind), value, "both", None) for n, (kind, value) in enumerate(found)
    )
    assert book.client("192.0.2.17", NOW) is None
    assert book.mailbox("orders@shop.example", "sender", NOW) is None
    assert book.mailbox("user0001@inbox.example", "destination", NOW) is None


def test_bans_are_judged_by_what_they_take_from_answers() -> None:
    def stand(number: int, per_core: float) -> bans.Stand:
        answers = tuple(Answers(cached, (Round(9000, per_core, 0, 0, 0, 0),)) for cached in (True, False))
        return bans.Stand(number, answers, (bans.Waits("a client", (0.001, 0.002)),), 90 << 20, 0.5)

    report = Report({}, stands=[stand(0, 20_000), stand(100_000, 18_000)])
    [target] = report.targets()
    assert (target.value, target.met) == (0.9, False)
    text = report.text()
    assert "100000 bans" in text and "a client, ms (p99)" in text
    assert report.document()["bans"][1]["bans"] == 100_000
