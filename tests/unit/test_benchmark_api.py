"""The benchmark's waits for the API: what is promised is compared, the rest is told."""

import random

from mailrelay.api.haltman.admin_aliases import _LIST
from mailrelay.api.haltman.checks import checked
from tools.benchmark import api
from tools.benchmark.api import GOT, SEARCHED, ApiWaits, Waits
from tools.benchmark.apilists import lists
from tools.benchmark.apirates import CHECKED, CREATED, Rate
from tools.benchmark.report import Report


def test_the_99th_of_a_hundred_is_the_p99() -> None:
    waits = Waits(SEARCHED, tuple(number / 1000 for number in range(100, 0, -1)))
    assert (waits.median, waits.p99, waits.worst) == (0.0505, 0.1, 0.1)


def test_the_report_compares_what_was_promised() -> None:
    waits = (Waits(SEARCHED, (0.050,) * 99 + (0.070,) * 3), Waits(GOT, (0.002,)), Waits("something else", (9.0,)))
    rates = (Rate(CHECKED, 4000, 2.0, 1.0), Rate(CREATED, 4000, 5.0, 4.0))
    admin = (Waits("newest page", (0.061,)),)
    report = Report({}, waits=[ApiWaits(1_000_000, 100_000, waits, rates, 104857600, admin)])
    assert [(target.value, target.bound, target.met) for target in report.targets()] == [
        (70.0, 60.0, False),
        (2.0, 5.0, True),
        (61.0, 60.0, False),
        (2000.0, 2500, False),
        (800.0, 500, True),
        (100.0, 120, True),
    ]
    text = report.text()
    assert "an account with 100000 of 1000000 aliases" in text
    assert "something else" in text
    assert "the list of all 1000000 aliases" in text
    assert report.document()["api"][0]["own"] == 100_000


def test_all_requests_are_ones_that_the_api_takes() -> None:
    rnd = random.Random(1)
    searches = list(api._searches(rnd))
    assert len(searches) == api._REQUESTS
    for path, query in searches:
        assert path == "aliases"
        assert 3 <= len(query["filter[search]"]) <= 50
    assert len({query["sort"] for _, query in searches}) == 32


def test_all_lists_are_ones_that_administrators_can_ask_for() -> None:
    for _, requests in lists(1000):
        for path, query in requests:
            assert path == "aliases"
            values = checked(_LIST, {name: str(value) for name, value in query.items()})
            assert values["limit"] == 50 and values.get("offset", 0) <= 1000
