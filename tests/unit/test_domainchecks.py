"""The worker's checks of domains: who is asked, and what becomes of trouble."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from mailrelay.core.domaincheck import Report
from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import Answer, Mx
from mailrelay.core.naming import ServiceNames
from mailrelay.core.onboarding import Wanted
from mailrelay.core.webcheck import Hosting
from mailrelay.flows.domaincheck import DomainChecker, DomainChecks, check_now
from mailrelay.store.rechecks import Change, DueDomain
from tests.api.addy.fakedns import FakeDns
from tests.unit.fakes import NOW

SERVICE = ServiceNames("relay.example", "bounces.relay.example", "srs.relay.example", "mx.relay.example")
WANTED = Wanted(SERVICE, Hosting("www.relay.example"))
KEY = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
OWN, SECOND = DueDomain(1, "own.example"), DueDomain(2, "second.example")


def keys(name: str, *, shared: bool) -> Sequence[tuple[str, str]]:
    if name == "locked.example":
        raise Unavailable("the folder cannot be read")
    return (("mr1", KEY),)


def published(*names: str) -> FakeDns:
    """DNS in which these domains are right."""
    dns = FakeDns()
    for name in names:
        dns.answers[name, "MX"] = Answer((Mx(10, "mx.relay.example"),))
        dns.txt(name, "v=spf1 a:mx.relay.example ~all")
        dns.txt(f"_dmarc.{name}", "v=DMARC1; p=none")
        dns.txt(f"mr1._domainkey.{name}", KEY)
    return dns


def silent(name: str) -> FakeDns:
    """DNS that answers nothing about a domain."""
    dns = published(name)
    dns.answers = dict.fromkeys(dns.answers)
    return dns


@dataclass
class Store:
    """Remembers what was recorded; withdraws nothing but what it is told to."""

    found: list[DueDomain]
    recorded: dict[int, Report] = field(default_factory=dict)
    withdrawn: dict[int, list[Change]] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)

    async def due(self, now: datetime, limit: int) -> Sequence[DueDomain]:
        return self.found[:limit]

    async def record(self, domain: int, report: Report, now: datetime, dice: float, actor: str) -> Sequence[Change]:
        if domain in self.broken:
            raise RuntimeError("a mistake")
        self.recorded[domain] = report
        return self.withdrawn.get(domain, [])


@dataclass
class Desk:
    """Checks, and whom they ask."""

    store: Store
    dns: Sequence[FakeDns]

    async def work(self) -> int:
        return await DomainChecks(DomainChecker(WANTED, self.dns, keys), self.store, lambda: 0.5)(NOW)

    def verdicts(self) -> dict[int, tuple[bool | None, bool | None]]:
        return {number: (one.verdict("EMAIL"), one.verdict("SENDING")) for number, one in self.store.recorded.items()}


async def test_every_domain_that_is_due_is_looked_at() -> None:
    desk = Desk(Store([OWN, SECOND]), [published("own.example")])
    assert await desk.work() == 0
    assert desk.verdicts() == {1: (True, True), 2: (False, False)}


async def test_no_answer_is_told_from_no_record() -> None:
    desk = Desk(Store([OWN]), [silent("own.example")])
    await desk.work()
    assert desk.verdicts() == {1: (None, None)}


@pytest.mark.parametrize("order", [1, -1])
async def test_one_resolver_that_knows_better_is_enough(order: int) -> None:
    """One is silent, one has never heard of it, one has what was just published."""
    dns = [silent("own.example"), FakeDns(), published("own.example")][::order]
    desk = Desk(Store([OWN]), dns)
    await desk.work()
    assert desk.verdicts() == {1: (True, True)}
    assert len({tuple(sorted(one.asked)) for one in dns}) == 1  # all were asked the same


async def test_trouble_with_one_domain_is_none_of_the_others() -> None:
    desk = Desk(Store([DueDomain(9, "locked.example"), SECOND, OWN], broken={2}), [published("own.example")])
    with pytest.raises(Unavailable, match="2 of 3 domains"):
        await desk.work()
    assert desk.verdicts() == {1: (True, True)}


async def test_changes_are_counted() -> None:
    withdrawn = {1: [Change("EMAIL", False, True)], 2: [Change("EMAIL", False, False), Change("SENDING", True, False)]}
    assert await Desk(Store([OWN, SECOND], withdrawn=withdrawn), [FakeDns()]).work() == 3


async def test_who_has_no_business_with_keys_says_nothing_of_sending() -> None:
    report = await DomainChecker(WANTED, [published("own.example")]).examine(OWN)
    assert (report.purposes, report.verdict("EMAIL"), report.verdict("SENDING")) == (("EMAIL",), True, None)


async def test_the_web_interface_is_looked_at_where_it_is_due() -> None:
    dns = published("own.example")
    dns.answers["own.example", "CNAME"] = Answer(("www.relay.example",))
    report = await DomainChecker(WANTED, [silent("own.example"), dns], keys).examine(
        DueDomain(1, "own.example", mail=False, web=True)
    )
    assert (report.purposes, report.verdict("UI")) == (("UI",), True)
    assert dns.asked == [("own.example", "CNAME")]


async def test_who_asks_gets_the_report() -> None:
    store = Store([])
    report, changes = await check_now(
        DomainChecker(WANTED, [published("own.example")], keys), store, OWN, NOW, 0.5, "cli:root"
    )
    assert (store.recorded, changes) == ({1: report}, [])
