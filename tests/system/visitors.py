"""Whoever follows our links: mail providers that post at once, and people who look at a page and press its button."""

import html
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.client import HTTPConnection
from urllib.parse import urlsplit

from mailrelay.core.links import Links
from tests.system.scenario import Person, Scenario, text_of

_FORM = re.compile(r'<form method="post" action="([^"]+)"')
_HEADING = re.compile(r"<h1[^>]*>\s*(.*?)\s*</h1>", re.DOTALL)
_FIRST = 10
_addresses: Iterator[int] = itertools.count(_FIRST)

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=mark"
ONE_CLICK = {
    URLENCODED: b"List-Unsubscribe=One-Click",
    MULTIPART: b'--mark\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--mark--\r\n',
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. header: names in lower case."""

    status: int
    header: dict[str, str]
    body: str

    @property
    def heading(self) -> str:
        """What a page is called; '' if it is none."""
        found = _HEADING.search(self.body)
        return html.unescape(found[1]) if found else ""

    @property
    def form(self) -> str:
        """Where the page's button posts to; '' if it has none."""
        found = _FORM.search(self.body)
        return html.unescape(found[1]) if found else ""


def _new_address() -> str:
    number = next(_addresses)
    return f"127.3.{number // 250}.{number % 250 + 1}"


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client with an address of its own, so that nobody else's requests are counted for it."""

    address: str = field(default_factory=_new_address)

    def ask(self, method: str, url: str, body: bytes | None = None, kind: str = "") -> Answer:
        """One request, without a cookie or anything else that could tell who it is. url: absolute."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        header = {"Accept": "text/html", "User-Agent": "Visitor/1.0"} | ({"Content-Type": kind} if kind else {})
        connection = HTTPConnection(parts.hostname, parts.port, timeout=30, source_address=(self.address, 0))
        try:
            connection.request(method, target, body, header)
            response = connection.getresponse()
            text = response.read().decode()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, text)
        finally:
            connection.close()

    def look(self, url: str) -> Answer:
        """Open a page."""
        return self.ask("GET", url)

    def one_click(self, url: str, kind: str = URLENCODED) -> Answer:
        """What a mail provider posts (RFC 8058)."""
        return self.ask("POST", url, ONE_CLICK[kind], kind)

    def press(self, page: Answer, url: str) -> Answer:
        """The button of a page. url: of the page, or of any other on that host."""
        assert page.form, page.body
        parts = urlsplit(url)
        return self.ask("POST", f"{parts.scheme}://{parts.netloc}{page.form}", b"", URLENCODED)


def link(notice: EmailMessage, action: str) -> str:
    """The one link of a notification that leads to this action."""
    found = set(re.findall(rf"http://\S+/u/{action}/\S+", text_of(notice)))
    assert len(found) == 1, text_of(notice)
    return str(found.pop())


def links(scenario: Scenario, now: int) -> Links:
    """Makes links as the service would at another time."""
    sandbox = scenario.world.sandbox
    key = bytes.fromhex((sandbox.places.secrets / "url.key").read_text().split()[0])
    return Links(sandbox.http, key, now)


def idle(scenario: Scenario) -> None:
    """Return when every notification is out, or is not to be, and what became of it is known."""
    # Not those of earlier tests, whose worker was killed perhaps; but those that are tried once more, as the first that
    # use a connection after the database was away.
    waiting = (
        "select count(*) from job where id > %s and finished_at is null and failed_at is null"
        " and (run_at <= now() or attempts > 0)"
    )
    scenario.eventually(lambda: scenario.value(waiting, scenario.last_job) == 0, "all jobs to be done", 150)
    scenario.world.settle()
    scenario.eventually(lambda: scenario.value(waiting, scenario.last_job) == 0, "all jobs to be done", 150)


def later(scenario: Scenario, person: Person, minutes: int) -> None:
    """As if that time had passed since the last notifications to somebody."""
    scenario.sql(
        "update notification_limit set window_start = window_start - %s * interval '1 minute' where account_id = %s",
        *(minutes, person.account),
    )
