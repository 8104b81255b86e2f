"""The benchmark's own honesty: CPU time is neither lost nor counted twice, and no message vanishes from the books."""

import json
import os
import socket
import struct
import threading
from pathlib import Path

import dkim
import pytest

from mailrelay.core.rules import model
from mailrelay.core.rules.evaluate import evaluate, tried
from mailrelay.core.rules.model import RuleId, StoredRule
from mailrelay.core.rules.stored import book
from tools.benchmark import letter, milter
from tools.benchmark.conversation import Spoken, examined
from tools.benchmark.footprint import IDLE, Footprint
from tools.benchmark.mail import Run, Series
from tools.benchmark.maillog import audit
from tools.benchmark.milter import Latency
from tools.benchmark.population import DOMAIN, MATCHING, RULES, Population, rule
from tools.benchmark.processes import Memory, Stat, families, total
from tools.benchmark.profiling import hot_spots
from tools.benchmark.report import Report, Target
from tools.benchmark.systems import FULL, PLAIN, PRODUCT, System
from tools.benchmark.watch import ENDED, programs_of
from tools.sandbox.postfix import Instance
from tools.sandbox.process import Trouble
from tools.sandbox.zone import create_keys, dkim_record

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


def test_people_with_rules_are_others() -> None:
    people = Population(1000, 300)
    ruled = people.ruled()
    assert (ruled.aliases, ruled.blocks, people.has_rules, ruled.has_rules) == (300, 1, False, True)
    assert not set(people.local_parts()) & set(ruled.local_parts())
    assert {f"{n}{ruled.pattern(0)}" for n in range(1, 301)} == {
        f"{name}@alias.example" for name in ruled.local_parts()
    }


def test_of_the_rules_that_are_measured_few_match_and_none_blocks() -> None:
    rows = [
        StoredRule(RuleId(number), "", json.loads(conditions), json.loads(actions), "AND", forwards, False, False)
        for number in range(RULES)
        for forwards, conditions, actions in (rule(number),)
    ]
    made = book(rows)
    assert (len(made.rules), made.broken) == (RULES, ())
    tested = model.Tested(letter.SENDER, "Your order has left our house", f"1s0@{DOMAIN}", "")
    found = tried(made, "F", tested)
    assert all(one.holds[:-1] == (True, True) for one in found)  # so that every condition is asked
    effects = evaluate(made, "F", tested)
    assert len(effects.matched) == MATCHING
    assert (effects.block, effects.quarantine, effects.subject) == (None, None, "[shop] {{subject}}")


def test_a_bound_is_met_when_it_is_touched() -> None:
    assert Target("rate", 0.36, 0.36, at_least=True).met
    assert not Target("rate", 0.359, 0.36, at_least=True).met
    assert Target("CPU", 3.8, 3.8, at_least=False).met
    assert not Target("CPU", 3.81, 3.8, at_least=False).met


def ran(rate: float, foreign_seconds: float) -> Run:
    return Run(10.0, rate, {"postfix": 1000 / rate}, {"smtpd": 1.0}, foreign_seconds, 0, ())


def series(key: str, octets: int, *runs: Run) -> Series:
    return Series(System(key, 25, Instance(Path("/nonexistent")), dict), octets, 2000, [*runs])


def test_disturbed_runs_count_only_where_there_is_no_other() -> None:
    found = series(PLAIN, 4096, ran(100, 9.0), ran(400, 0.5), ran(500, 1.0), ran(50, 12.0))
    assert (found.rate, len(found.quiet)) == (450, 2)
    assert series(PLAIN, 4096, ran(100, 9.0), ran(50, 12.0)).cpu_ms == 15.0


def test_each_path_has_targets_of_its_own() -> None:
    report = Report({}, mail=[series(key, 4096, ran(rate, 0)) for key, rate in ((PLAIN, 400), (PRODUCT, 140))])
    assert [(target.bound, target.met) for target in report.targets()] == [(0.36, False), (3.8, True)]
    report.mail.append(series(FULL, 4096, ran(121, 0)))
    assert [(target.bound, target.met) for target in report.targets()[2:]] == [(0.30, True), (5.0, True)]


def test_idle_memory_is_judged_by_both_measures() -> None:
    mb = 1 << 20
    report = Report(
        {}, footprints=[Footprint(IDLE, {"policy": Memory(90 * mb, 60 * mb), "lmtp": Memory(120 * mb, 70)})]
    )
    assert [(target.value > 200, target.met) for target in report.targets()] == [(True, False), (False, True)]


def test_the_median_round_judges_the_milter() -> None:
    rounds = tuple(milter.Round(0.004, p99, 0.003, share) for p99, share in ((0.030, 0.1), (0.090, 0.9), (0.035, 0.0)))
    report = Report({}, latencies=[Latency(4096, 100.0, rounds)])
    (target,) = report.targets()
    assert target.value == pytest.approx(35)
    assert target.met
    assert "90%" in report.noise()[0]
    assert "35.00" in report.text()


@pytest.mark.parametrize("octets", [4096, 102400])
def test_the_letter_is_as_long_as_it_should_be_and_stays_signed_on_its_way(octets: int, tmp_path: Path) -> None:
    create_keys(tmp_path)
    file = letter.write(octets, tmp_path, tmp_path)
    # smtp-source appends CRLF to each line, Postfix adds what is missing.
    head, _, body = file.read_bytes().replace(b"\n", b"\r\n").partition(b"\r\n\r\n")
    assert octets * 0.85 < len(body) <= octets
    assert not any(line.startswith(b".") or len(line) > 990 for line in body.split(b"\r\n"))
    sent = head + b"\r\nMessage-Id: <20251121.4X@mx.relay.example>\r\n\r\n" + body
    record = dkim_record(tmp_path / "shop.example.pem").encode()
    assert dkim.verify(sent, dnsfunc=lambda name, timeout=5: record)
    assert not dkim.verify(sent.replace(b"2 kg", b"3 kg", 1), dnsfunc=lambda name, timeout=5: record)


def test_the_name_server_of_a_benchmark_lets_the_load_pass_spf(tmp_path: Path) -> None:
    create_keys(tmp_path)
    assert '"v=spf1 ip4:127.0.0.11 ip4:127.0.0.1 -all"' in letter.zone_text(tmp_path)


def test_a_milter_gets_values_as_postfix_writes_them() -> None:
    spoken = Spoken.of(b"From: a@b.example\r\nSubject:two\r\n\tlines\r\n\r\nbody\r\n\r\nend\r\n")
    assert spoken.header == ((b"From", b" a@b.example"), (b"Subject", b"two\n\tlines"))
    assert spoken.body == b"body\r\n\r\nend\r\n"


SILENT = 0x1EF080  # the protocol of a milter that answers nothing but DATA and the end


class FakeMilter:
    """Remembers what it heard."""

    def __init__(self, path: Path, at_end: list[bytes], protocol: int = SILENT) -> None:
        self.heard: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._at_end, self._protocol = at_end, protocol
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with self._listener, connection, connection.makefile("rb") as stream:
            while len(length := stream.read(4)) == 4:
                packet = stream.read(struct.unpack(">I", length)[0])
                self.heard.append(packet)
                for answer in self._answers(packet):
                    connection.sendall(struct.pack(">I", len(answer)) + answer)

    def _answers(self, packet: bytes) -> list[bytes]:
        offer = b"O" + struct.pack(">III", 6, 0x11, self._protocol)
        return {b"O": [offer], b"T": [b"c"], b"E": self._at_end}.get(packet[:1], [])

    def said(self) -> bytes:
        """The letters of everything it heard, once the client has hung up."""
        self._thread.join(10)
        return b"".join(packet[:1] for packet in self.heard)


def test_a_conversation_with_a_milter_goes_as_with_postfix(tmp_path: Path) -> None:
    fake = FakeMilter(tmp_path / "s", [b"iresults\0", b"c"])
    spoken = Spoken.of(b"From: a@b.example\r\n\r\n" + b"x" * 70_000)
    assert examined(tmp_path / "s", spoken, "shop@alias.example", "4X") == [b"iresults\0"]
    assert fake.said() == b"ODCHDMDRDTLLNBBDEQ"
    assert b"R<shop@alias.example>\0" in fake.heard
    assert sum(len(packet) - 1 for packet in fake.heard if packet[:1] == b"B") == 70_000


def test_a_milter_does_not_hear_what_it_does_not_want(tmp_path: Path) -> None:
    fake = FakeMilter(tmp_path / "s", [b"c"], SILENT | 0x40 | 0x2)
    examined(tmp_path / "s", Spoken.of(b"From: a@b.example\r\n\r\nbody"), "shop@alias.example", "4X")
    assert fake.said() == b"ODCDMDRDTLLBDEQ"


@pytest.mark.parametrize(
    ("at_end", "protocol", "complaint"),
    [([b"t"], SILENT, "at the end"), ([], 0, "otherwise"), ([b"y451 4.3.0 no\0"], SILENT, "451 4.3.0")],
)
def test_a_milter_that_does_not_take_the_message_is_trouble(
    at_end: list[bytes], protocol: int, complaint: str, tmp_path: Path
) -> None:
    fake = FakeMilter(tmp_path / "s", at_end, protocol)
    with pytest.raises(Trouble, match=complaint):
        examined(tmp_path / "s", Spoken.of(b"From: a@b.example\r\n\r\n"), "shop@alias.example", "4X")
    fake.said()


def test_hot_spots_of_several_processes_are_one_list() -> None:
    stacks = (
        'process 7:"mailrelay serve milter";process 8:"mailrelay serve milter";run (/a/b/c/d.py:3);hash (~:0) 60\n'
        'process 7:"mailrelay serve milter";process 9:"mailrelay serve milter";run (/a/b/c/d.py:3) 20\n'
        'process 7:"mailrelay serve milter";run (/a/b/c/d.py:3);run (/a/b/c/d.py:3);hash (~:0) 20\n'
    )
    lines = hot_spots(stacks, 5).splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["80.0%", "80.0%", "hash"], ["20.0%", "100.0%", "run"]]
    assert [line.split()[2] for line in lines[4:]] == ["run", "hash"]
    assert lines[2].endswith("b/c/d.py:3")
    assert len(hot_spots(stacks, 1).splitlines()) == 4
