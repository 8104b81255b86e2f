"""The benchmark's floods of bounces: what it sends is what the product reads, and nothing is forgotten."""

import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from mailrelay.core.bounce import BounceType, Failed
from mailrelay.wire import arrival
from tools.benchmark import bounces
from tools.benchmark.bounces import CONNECTIONS, Flood, Report, Sender, report
from tools.benchmark.failures import FailedList, Page
from tools.benchmark.report import Report as Figures
from tools.sandbox.process import Trouble, wait_until

_MB = 1 << 20
FLOOD = Flood(10_000, 50.0, 70 * _MB, 73 * _MB, 72 * _MB, 10_500, 10_500, 10_000, 100.0, 95.0, 100.0)


class _Lmtp(socketserver.StreamRequestHandler):
    """Takes every message, or none."""

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Listener)
        self._say(b"220 mx LMTP")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self._say(b"354 go on")
                content = b"".join(iter(self.rfile.readline, b".\r\n"))
                server.taken.append(content)
                self._say(b"451 4.3.0 later" if server.refuses else b"250 2.0.0 Ok")
            elif verb == b"QUIT":
                self._say(b"221 2.0.0 Bye")
                return
            else:
                self._say(b"250 mx")

    def _say(self, line: bytes) -> None:
        self.wfile.write(line + b"\r\n")
        self.wfile.flush()


class Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Lmtp)
        self.taken: list[bytes] = []
        self.refuses = False

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@pytest.fixture
def lmtp() -> Iterator[Listener]:
    with Listener() as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listener
        listener.shutdown()
        thread.join()


def reports(count: int) -> list[Report]:
    return [Report(f"b-{number}@bounces.relay.example", b"Subject: %d\r\n\r\n" % number) for number in range(count)]


def test_a_report_is_read_as_what_it_says() -> None:
    content = report(0x0123456789ABCDEF, "1r0@alias.example", "user0001@inbox.example")
    found = arrival.read(content, "")
    assert isinstance(found, Failed)
    [failure] = found.failures
    assert (failure.type, failure.status, failure.recipient) == (BounceType.HARD, "5.1.1", "user0001@inbox.example")
    assert found.returned is not None
    copy = found.returned.content
    assert copy is not None
    assert copy.startswith(b"X-Mailrelay-Mode: rewrite\r\nX-Mailrelay-Id: 0123456789abcdef\r\n")
    assert len(copy) > 4000


def test_every_report_is_sent_once(lmtp: Listener) -> None:
    sender = Sender(lmtp.port, iter(reports(50)))
    sender.start()
    sender.wait()
    assert sender.sent == 50
    assert len(set(lmtp.taken)) == len(lmtp.taken) == 50


def test_a_report_that_is_not_taken_is_trouble(lmtp: Listener) -> None:
    lmtp.refuses = True
    sender = Sender(lmtp.port, iter(reports(50)))
    sender.start()
    with pytest.raises(Trouble, match="does not take reports"):
        sender.wait()


def test_a_pace_is_kept_and_can_be_stopped(lmtp: Listener) -> None:
    sender = Sender(lmtp.port, iter(reports(100_000)), pace=200.0)
    began = time.monotonic()
    sender.start()
    wait_until(lambda: sender.sent >= 20, "20 reports to be sent", pause=0.001)
    assert time.monotonic() - began >= (20 - CONNECTIONS - 1) / 200.0
    sender.stop()
    assert not sender.running()
    assert sender.sent < 100_000


def test_the_figures_are_told() -> None:
    figures = Figures({})
    figures.floods.append(FLOOD)
    pages = (Page("the first page", 100, (0.002, 0.004, 0.003)), Page("the last page", 100, (0.060,)))
    figures.lists.append(FailedList(1_000_000, pages))
    met = {target.name: target.met for target in figures.targets()}
    assert met == {
        "bounces/s, as fast as they are taken": True,
        "growth of lmtp's RSS in MB, 10000 bounces": True,
        f"rate of mail beside {bounces.PACE:g} bounces/s, of that without": True,
        "failed list, the first page, in ms": True,
        "failed list, the last page, in ms": False,
    }
    text = figures.text()
    assert "failed deliveries, an account with 1000000" in text
    assert "    10000       200     10500    10500    10000     70.0     73.0    72.0    100.0     95.0" in text
    document = figures.document()
    assert document["bounces"][0]["rate"] == 200.0
    assert document["failed_lists"][0]["rows"] == 1_000_000
