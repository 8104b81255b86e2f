"""When waiting for better times ends (spec section 7.9)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.findings import Dkim, Findings, Spf
from mailrelay.core.ingress import Ingress
from mailrelay.core.waiting import must_end

CAME = datetime(2026, 11, 16, 12, tzinfo=UTC)
LATE = CAME + timedelta(days=4)
CHECKED = Ingress("4XyZ12AbCd", int(CAME.timestamp()), "192.0.2.10", "mx", "news@shop.example", "smtp", Findings())


def test_the_time_is_up_on_the_dot() -> None:
    assert not must_end(CHECKED, LATE - timedelta(seconds=1))
    assert must_end(CHECKED, LATE)


@pytest.mark.parametrize(
    ("findings", "ends"),
    [
        pytest.param(Findings(spf=Spf("pass", "shop.example")), False, id="spf"),
        pytest.param(Findings(spf=Spf("softfail", "shop.example")), True, id="spf-softfail"),
        pytest.param(Findings(spf=Spf("temperror", "shop.example")), True, id="spf-temperror"),
        pytest.param(Findings(dkim=(Dkim("fail", aligned=True), Dkim("pass", aligned=True))), False, id="dkim"),
        pytest.param(Findings(dkim=(Dkim("pass", "lists.example"),)), True, id="dkim-of-somebody-else"),
        pytest.param(Findings(dkim=(Dkim("fail", "shop.example", aligned=True),)), True, id="dkim-fail"),
    ],
)
def test_who_is_proved_may_hear_of_it_from_postfix(findings: Findings, ends: bool) -> None:
    assert must_end(replace(CHECKED, findings=findings), LATE) is ends


@pytest.mark.parametrize("route", ["login:johndoe", "local", "internal"])
def test_reports_to_our_own_side_harm_nobody(route: str) -> None:
    assert not must_end(replace(CHECKED, route=route), LATE)


def test_of_unknown_age_is_not_old() -> None:
    assert not must_end(None, LATE)
