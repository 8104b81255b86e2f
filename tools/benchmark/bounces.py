"""A flood of bounces: reports about copies that went out, straight to the lmtp role, while mail goes on."""

import secrets
import smtplib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import psycopg

from mailrelay import config
from mailrelay.core import verp
from mailrelay.keyring import read_secret
from tools.benchmark import letter
from tools.benchmark.population import DOMAIN
from tools.benchmark.processes import memory
from tools.benchmark.product import Product
from tools.sandbox.process import Trouble

CONNECTIONS = 5  # as Postfix has to one destination by default, at first
PACE = 100.0  # reports a second beside other mail
WARM_UP = 500
_LOOK_SECONDS = 0.5
_RETURNED = letter.compose(4096)
_HARD, _SERVICE = "5.1.1", "mx.inbox.example"

# Nobody is told, as notices would be counted as mail; and as mail arrives there otherwise, no recipient is failing.
_CALM = """
    update account set failed_delivery_notification_preference = 3 where name like 'bench%';
    update recipient set last_success_at = now();
"""
_WHOSE = """
    select a.id, a.account_id, a.local_part || '@' || a.domain, r.id, r.address
    from alias a join account on account.id = a.account_id and account.name like 'bench%%'
    join recipient r on r.id = account.default_recipient_id
    where a.domain = %s order by a.id limit %s
"""
_COPY_OUTBOUND = """
    copy outbound (id, account_id, alias_id, recipient_id, destination, email_type, mode, ingress_queue_id) from stdin
"""
_COPY_LEDGER = """
    copy ledger (ingress_key, queue_id, account_id, alias_id, rcpt, sender, recipient_id, outbound_id, outcome, mode,
                 size_octets, finished_at) from stdin
"""
_COUNT = """
    select count(*) filter (where bounced_at is not null), count(*) filter (where f.id is not null),
           count(*) filter (where f.is_stored)
    from outbound o left join failed_delivery f on f.outbound_id = o.id where o.ingress_queue_id = 'bench'
"""


@dataclass(frozen=True, slots=True)
class Flood:
    """What came of it. rss: of the lmtp role, octets; rates: a second.

    recorded: copies that are known to have bounced; failed: of which there is a failed delivery; stored: with the
    message. alone, beside: messages forwarded a second, without and with `pace` reports a second.
    """

    reports: int
    seconds: float
    rss_before: int
    rss_peak: int
    rss_after: int
    recorded: int
    failed: int
    stored: int
    alone: float
    beside: float
    pace: float

    @property
    def rate(self) -> float:
        return self.reports / self.seconds

    @property
    def growth(self) -> int:
        return self.rss_after - self.rss_before


@dataclass(frozen=True, slots=True)
class Report:
    """One report. rcpt: the return path of its copy."""

    rcpt: str
    content: bytes


def copies(product: Product, count: int) -> list[Report]:
    """So many copies that went out a moment ago, and the reports that they failed."""
    settings = config.load(product.sandbox.places.config)
    key = read_secret(settings.secrets, "verp.key")[0]
    domain, now = settings.service.bounce_domain, datetime.now(UTC)
    day = (now - datetime(1970, 1, 1, tzinfo=UTC)).days
    found: list[Report] = []
    with psycopg.connect(product.sandbox.dsn) as connection:
        connection.execute(_CALM)
        whose = connection.execute(_WHOSE, (DOMAIN, count)).fetchall()
        if not whose:
            raise Trouble("there is nobody whose mail could come back")
        rows = [(secrets.randbits(64), *whose[number % len(whose)]) for number in range(count)]
        with connection.cursor().copy(_COPY_OUTBOUND) as out:
            for number, alias, account, _, recipient, mailbox in rows:
                out.write_row((_signed(number), account, alias, recipient, mailbox, "F", "rewrite", "bench"))
        with connection.cursor().copy(_COPY_LEDGER) as out:
            for number, alias, account, rcpt, recipient, _ in rows:
                entry = (secrets.token_bytes(16), "bench", account, alias, rcpt, letter.SENDER, recipient)
                out.write_row((*entry, _signed(number), "delivered", "rewrite", len(_RETURNED), now))
        connection.commit()
    for number, _, _, rcpt, _, mailbox in rows:
        local = verp.encode(verp.VerpId(verp.EmailType.FORWARD, number, day), domain, key)
        found.append(Report(f"{local}@{domain}", report(number, rcpt, mailbox)))
    return found


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def report(number: int, rcpt: str, mailbox: str) -> bytes:
    """What Postfix writes when a destination refuses a copy (RFC 3464), with the copy itself."""
    copy = f"X-Mailrelay-Mode: rewrite\r\nX-Mailrelay-Id: {number:016x}\r\nX-Mailrelay-Envelope-To: {rcpt}\r\n"
    head = (
        f"From: MAILER-DAEMON@{_SERVICE}\r\nSubject: Undelivered Mail Returned to Sender\r\nTo: bounces\r\n"
        "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/plain\r\n\r\nYour mail to {mailbox} could not be delivered.\r\n\r\n"
        f"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; {_SERVICE}\r\n\r\n"
        f"Final-Recipient: rfc822; {mailbox}\r\nAction: failed\r\nStatus: {_HARD}\r\n"
        f"Remote-MTA: dns; {_SERVICE}\r\nDiagnostic-Code: smtp; 550 {_HARD} <{mailbox}>:\r\n"
        "    Recipient address rejected: User unknown in virtual mailbox table\r\n\r\n"
        "--b\r\nContent-Type: message/rfc822\r\n\r\n"
    )
    return head.encode("ascii") + copy.encode("ascii") + _RETURNED + b"\r\n--b--\r\n"


@dataclass
class Sender:
    """Sends reports over parallel connections. pace: so many a second, None: as fast as they are taken."""

    port: int
    reports: Iterator[Report]
    pace: float | None = None
    sent: int = 0
    _trouble: list[Exception] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _began: float = 0.0

    def start(self) -> None:
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CONNECTIONS)]
        for thread in self._threads:
            thread.start()

    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Raises Trouble if a report was not taken."""
        self._stop.set()
        self.wait()

    def wait(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Until all are sent. meanwhile: called twice a second. Raises Trouble if a report was not taken."""
        while running := [thread for thread in self._threads if thread.is_alive()]:
            meanwhile()
            running[0].join(_LOOK_SECONDS)
        if self._trouble:
            raise Trouble(f"the lmtp role does not take reports: {self._trouble[0]}")

    def _run(self) -> None:
        try:
            with smtplib.LMTP("127.0.0.1", self.port, local_hostname=_SERVICE, timeout=60) as client:
                while not self._stop.is_set() and (one := self._next()) is not None:
                    client.sendmail("", [one.rcpt], one.content)
        except (OSError, smtplib.SMTPException) as error:
            self._trouble.append(error)

    def _next(self) -> Report | None:
        with self._lock:
            one = next(self.reports, None)
            number = self.sent
            self.sent += one is not None
        if one is not None and self.pace is not None:
            self._stop.wait(max(0.0, self._began + number / self.pace - time.monotonic()))
        return one


def absorbed(product: Product, reports: Sequence[Report]) -> tuple[float, int, int, int]:
    """Send them all as fast as they are taken: seconds, and the role's RSS before, at most, and afterwards."""
    port, pid = product.sandbox.memory.ports["lmtp"], product.pids()["lmtp"]
    waiting = iter(reports)
    first = Sender(port, islice(waiting, WARM_UP))
    first.start()
    first.wait()
    before = memory(pid).rss
    peak = [before]
    flood = Sender(port, waiting)
    began = time.monotonic()
    flood.start()
    flood.wait(lambda: peak.append(memory(pid).rss))
    seconds = time.monotonic() - began
    after = memory(pid).rss
    return seconds, before, max(*peak, after), after


def counted(product: Product) -> tuple[int, int, int]:
    """Copies known to have bounced, failed deliveries, and stored messages."""
    ((bounced, failed, stored),) = product.sandbox.query(_COUNT)
    return int(bounced), int(failed), int(stored)
