"""The benchmark's own honesty: CPU time is neither lost nor counted twice, and no message vanishes from the books."""

import os
from pathlib import Path

import pytest

from tools.benchmark.mail import Run, Series
from tools.benchmark.maillog import audit
from tools.benchmark.population import Population
from tools.benchmark.processes import Memory, Stat, families, total
from tools.benchmark.report import Target
from tools.benchmark.systems import PLAIN, System
from tools.benchmark.watch import ENDED, programs_of
from tools.sandbox.postfix import Instance
from tools.sandbox.process import Trouble

TICK = 1 / os.sysconf("SC_CLK_TCK")
SINK = 2525

IN = "Nov 21 03:18:43 mx postfix/cleanup[9]: {qid}: message-id=<{mid}@mx.shop.example>\n"
BACK_IN = "Nov 21 03:18:43 mx postfix/mailrelay/cleanup[9]: {qid}: message-id=<{mid}@mx.shop.example>\n"
OUT = (
    "Nov 21 03:18:43 mx postfix/{service}[9]: {qid}: to=<u@inbox.example>, relay=127.0.0.1[127.0.0.1]:{port}, "
    "delay=0, delays=0/0/0/0, dsn=2.0.0, status={status} (250 2.0.0 Ok)\n"
)


def sent(qid: str, port: int = SINK, service: str = "smtp", status: str = "sent") -> str:
    return OUT.format(qid=qid, port=port, service=service, status=status)


def test_a_message_that_is_queued_twice_is_still_one() -> None:
    log = IN.format(qid="A", mid=1) + BACK_IN.format(qid="B", mid=1) + sent("A", 10024, "mailrelay/lmtp") + sent("B")
    found = audit(log, SINK)
    assert (found.messages, found.delivered, found.complaint(1)) == (1, 1, "")


def test_delivery_to_the_filter_is_no_arrival() -> None:
    found = audit(IN.format(qid="A", mid=1) + sent("A", 10024, "mailrelay/lmtp"), SINK)
    assert found.lost == 1
    assert found.complaint(1) == "1 were lost"


def test_a_lost_and_a_doubled_message_do_not_make_up_for_each_other() -> None:
    log = IN.format(qid="A", mid=1) + IN.format(qid="B", mid=2) + sent("A") + sent("A")
    found = audit(log, SINK)
    assert found.delivered == 2
    assert found.complaint(2) == "1 were lost, 1 arrived more than once"


def test_a_message_that_never_came_in_is_missed() -> None:
    assert audit(IN.format(qid="A", mid=1) + sent("A"), SINK).complaint(2) == "2 messages were sent and 1 came in"


def test_trouble_on_the_way_is_told() -> None:
    log = IN.format(qid="A", mid=1) + sent("A", status="deferred") + sent("A")
    log += "Nov 21 03:18:43 mx postfix/smtpd[9]: warning: out of patience\n"
    found = audit(log, SINK)
    assert (found.deferred, found.complaint(1), found.warnings) == (1, "", ("1 x out of patience",))


def test_a_bounce_fails_the_run() -> None:
    log = IN.format(qid="A", mid=1) + sent("A", status="bounced")
    assert "1 deliveries failed for good" in audit(log, SINK).complaint(1)


def test_a_stat_line_survives_an_odd_name() -> None:
    line = "17 (a) b (c) S 1 17 17 0 -1 4194560 1 2 3 4 50 60 700 800 20 0 1 0 99 1 1\n"
    assert Stat.parse(line) == Stat(17, "a) b (c", 1, 110, 1500)


def test_families_reach_to_the_grandchildren_and_no_further() -> None:
    stats = {pid: Stat(pid, "x", parent, 0, 0) for pid, parent in ((1, 0), (5, 1), (6, 5), (7, 6), (8, 1))}
    found = families(stats, {"five": 5, "eight": 8})
    assert {name: sorted(stat.pid for stat in family) for name, family in found.items()} == {
        "five": [5, 6, 7],
        "eight": [8],
    }


def test_a_part_that_is_gone_is_trouble() -> None:
    with pytest.raises(Trouble, match="lmtp"):
        families({1: Stat(1, "init", 0, 0, 0)}, {"lmtp": 99})


def test_cpu_time_of_children_that_end_is_neither_lost_nor_doubled() -> None:
    before = [Stat(1, "master", 0, 10, 100), Stat(2, "smtpd", 1, 40, 0), Stat(3, "qmgr", 1, 7, 0)]
    meanwhile = [Stat(2, "smtpd", 1, 50, 0), Stat(4, "smtpd", 1, 3, 0)]
    # 2 ended with 55 ticks, 4 with 5, and a third child of 6 ticks was never seen.
    after = [Stat(1, "master", 0, 12, 100 + 55 + 5 + 6), Stat(3, "qmgr", 1, 8, 0)]
    found = programs_of(before, meanwhile, after)
    wanted = {"master": 2, "smtpd": (50 - 40) + 3, "qmgr": 1, ENDED: 5 + 2 + 6}
    assert found == pytest.approx({name: ticks * TICK for name, ticks in wanted.items()})


def test_a_sum_without_a_share_has_no_share() -> None:
    assert total([Memory(5, 3), Memory(7, 2)]) == Memory(12, 5)
    assert total([Memory(5, 3), Memory(7, None)]) == Memory(12, None)
    assert Memory.parse("00-ff ---p 0 00:00 0 [rollup]\nRss:  12 kB\nPss:  5 kB\nPss_Dirty:  1 kB\n") == Memory(
        12288, 5120
    )


def test_every_alias_is_there_once_and_blocks_are_whole() -> None:
    people = Population(1000, 300)
    names = people.local_parts()
    assert len(set(names)) == 1000
    assert people.blocks == 3
    assert {f"{n}{people.pattern(2)}" for n in range(1, 301)} <= {f"{name}@alias.example" for name in names}


def test_a_bound_is_met_when_it_is_touched() -> None:
    assert Target("rate", 0.36, 0.36, at_least=True).met
    assert not Target("rate", 0.359, 0.36, at_least=True).met
    assert Target("CPU", 3.8, 3.8, at_least=False).met
    assert not Target("CPU", 3.81, 3.8, at_least=False).met


def test_disturbed_runs_count_only_where_there_is_no_other() -> None:
    def ran(rate: float, foreign_seconds: float) -> Run:
        return Run(10.0, rate, {"postfix": 1000 / rate}, {"smtpd": 1.0}, foreign_seconds, 0, ())

    system = System(PLAIN, 25, Instance(Path("/nonexistent")), dict)
    series = Series(system, 4096, 2000, [ran(100, 9.0), ran(400, 0.5), ran(500, 1.0), ran(50, 12.0)])
    assert (series.rate, len(series.quiet)) == (450, 2)
    assert Series(system, 4096, 2000, [ran(100, 9.0), ran(50, 12.0)]).cpu_ms == 15.0
