"""SPF: the public test suite of RFC 7208 through our adaptor, and what the adaptor adds."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailrelay.clients import spf
from mailrelay.clients.spf import check_spf
from mailrelay.core.errors import Unavailable
from mailrelay.core.findings import Spf
from mailrelay.core.lookup import ABSENT, Answer, Kind, Mx

# Distributed with pyspf; its licence lies beside it.
SUITE = Path(__file__).parents[1] / "data" / "rfc7208" / "tests.yml"


class Zone:
    """Answers from one scenario of the suite: `TIMEOUT` for all that a name has not, `TXT: NONE` hides SPF records."""

    def __init__(self, data: Mapping[str, Sequence[Any]]) -> None:
        self._data = {name.lower(): [*_records(entries)] for name, entries in data.items()}
        self.asked: list[tuple[str, Kind]] = []

    async def lookup(self, name: str, kind: Kind) -> Answer:
        self.asked.append((name, kind))
        await asyncio.sleep(0)
        for _ in range(8):
            entries = self._data.get(name.lower())
            if entries is None:
                return ABSENT
            found = [value for known, value in entries if known == kind]
            if "TIMEOUT" in found or (not found and ("TIMEOUT", "") in entries):
                raise Unavailable("time-out")
            aliases = [value for known, value in entries if known == "CNAME"]
            if found or not aliases:
                return Answer(tuple(found))
            name = aliases[0]
        return Answer()


def _records(entries: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    kinds = [kind for entry in entries if isinstance(entry, dict) for kind in entry]
    for entry in entries:
        if entry == "TIMEOUT":
            yield "TIMEOUT", ""
            continue
        ((kind, value),) = entry.items()
        if kind == "SPF":
            if "TXT" in kinds:
                continue
            kind = "TXT"
        if value == "TIMEOUT":
            yield kind, "TIMEOUT"
        elif kind == "TXT" and value != "NONE":
            yield kind, b"".join(part.encode() for part in ([value] if isinstance(value, str) else value))
        elif kind == "MX":
            yield kind, Mx(value[0], value[1].lower().removesuffix("."))
        elif value != "NONE":
            yield kind, value


def cases() -> Iterator[Any]:
    for number, scenario in enumerate(yaml.safe_load_all(SUITE.read_text())):
        for name, case in scenario["tests"].items():
            yield pytest.param(scenario["zonedata"], case, id=f"{number}-{name}")


@pytest.mark.parametrize(("zone", "case"), [*cases()])
async def test_the_suite_of_rfc_7208(zone: Mapping[str, Sequence[Any]], case: Mapping[str, Any]) -> None:
    found = await check_spf(case["host"], case["helo"], case["mailfrom"], Zone(zone).lookup)
    allowed = [case["result"]] if isinstance(case["result"], str) else case["result"]
    assert found.result in allowed


def zone(**records: str) -> Zone:
    return Zone({name.replace("_", ".") + ".example": [{"TXT": text}] for name, text in records.items()})


@pytest.mark.parametrize(
    ("helo", "mail_from", "expected"),
    [
        ("mx.shop.example", "a@shop.example", Spf("pass", "shop.example", "mailfrom")),
        ("mx.shop.example", "a@SHOP.example", Spf("pass", "shop.example", "mailfrom")),
        ("shop.example", "", Spf("pass", "shop.example", "helo")),
        ("shop.example", "MAILER-DAEMON", Spf("pass", "shop.example", "helo")),
        ("[192.0.2.1]", "", Spf("none", "", "helo")),
        ("localhost", "", Spf("none", "localhost", "helo")),
        ("mx.shop.example", "a@other.example", Spf("none", "other.example", "mailfrom")),
        ("mx.shop.example", "a@\udcff.example", Spf("none", "", "mailfrom")),
        ("\udcff", "\udcff@shop.example", Spf("pass", "shop.example", "mailfrom")),
        # pyspf would look at the first `@`.
        ("mx.shop.example", '"a@shop.example"@other.example', Spf("none", "other.example", "mailfrom")),
        ("mx.shop.example", "a@shop.example@other.example", Spf("none", "other.example", "mailfrom")),
    ],
)
async def test_what_is_checked(helo: str, mail_from: str, expected: Spf) -> None:
    found = await check_spf("192.0.2.1", helo, mail_from, zone(shop="v=spf1 ip4:192.0.2.0/24 -all").lookup)
    assert found == expected


async def test_hosts_of_mx_records_are_asked_together() -> None:
    data: dict[str, Sequence[Any]] = {
        "shop.example": [{"TXT": "v=spf1 mx -all"}, *({"MX": [n, f"mx{n}.shop.example."]} for n in range(9))],
        **{f"mx{n}.shop.example": [{"A": f"192.0.2.{n}"}] for n in range(9)},
    }
    known = Zone(data)
    assert (await check_spf("192.0.2.8", "x.example", "a@shop.example", known.lookup)).result == "pass"
    assert len(known.asked) == 11


async def test_no_answer_in_time_is_a_temporary_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spf, "BUDGET_SECONDS", 0.01)

    async def silent(name: str, kind: Kind) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    assert await check_spf("192.0.2.1", "x.example", "a@shop.example", silent) == Spf("temperror", "shop.example")


async def test_huge_records_end_in_a_permanent_error() -> None:
    text = "v=spf1 " + "ip4:192.0.2.1 " * 2000 + "-all"
    assert (await check_spf("192.0.2.1", "x.example", "a@shop.example", zone(shop=text).lookup)).result == "permerror"


@pytest.mark.parametrize(
    "text",
    [
        "v=spf1 include:shop.example -all",
        "v=spf1 redirect=shop.example",
        "v=spf1 a:%{l}%{o}%{zz -all",
        "v=spf1 exists:%{l1r-}.%{ir}.\u00e9.example -all",
        "v=spf1 ip4:1.2.3.4/99 ip6::/200 a:///// mx:..",
        "v=spf1 " + "include:a.example " * 100,
        "v=spf1 ptr:%{p} exp=%{p}.example -all",
    ],
)
async def test_hostile_records_do_not_raise(text: str) -> None:
    found = await check_spf("2001:db8::1", "x.example", "a@shop.example", zone(shop=text, a=text).lookup)
    assert found.result in ("permerror", "neutral", "fail", "none")


async def test_checks_that_run_at_the_same_time_do_not_meet() -> None:
    async def one(number: int) -> Spf:
        own = zone(shop=f"v=spf1 include:a.example ip4:192.0.2.{number} -all", a="v=spf1 -all")
        return await check_spf("192.0.2.7", "x.example", "a@shop.example", own.lookup)

    found = await asyncio.gather(*(one(number) for number in range(50)))
    assert [one.result for one in found] == ["pass" if number == 7 else "fail" for number in range(50)]


async def test_threads_do_not_meet() -> None:
    def work(number: int) -> Spf:
        own = zone(shop=f"v=spf1 include:a.example ip4:192.0.2.{number} -all", a="v=spf1 -all")
        return asyncio.run(check_spf("192.0.2.7", "x.example", "a@shop.example", own.lookup))

    found = await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(12)))
    assert [one.result for one in found] == ["pass" if number == 7 else "fail" for number in range(12)]
