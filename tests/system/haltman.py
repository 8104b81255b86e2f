"""Visitors and administrators as they use the Haltman API, over HTTP."""

import json
import re
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.system.scenario import Scenario

_CODE = re.compile(r"\b[0-9]{6}\b")


@dataclass(frozen=True, slots=True)
class Said:
    """What came back. cookies: by name, as they were set; '' for those that were cleared."""

    status: int
    body: dict[str, Any]
    cookies: dict[str, str]

    @property
    def error(self) -> str:
        return str(self.body.get("error", ""))


@dataclass
class Browser:
    """Somebody with a browser. client: address that the proxy in front would tell; cookies and CSRF token are kept.

    key: an API key to send along.
    """

    scenario: Scenario
    client: str
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""
    key: str = ""

    def ask(self, method: str, path: str, document: Any = None, **query: str) -> Said:
        """One request. path: below /api/."""
        url = urlsplit(self.scenario.world.sandbox.http)
        assert url.hostname is not None
        connection = HTTPConnection(url.hostname, url.port, timeout=30)
        header = {"X-Forwarded-For": self.client, "Content-Type": "application/json", "X-CSRF-Token": self.csrf}
        header |= {"X-API-Key": self.key}
        header |= {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        wanted = f"/api/{path}?{urlencode(query)}" if query else f"/api/{path}"
        try:
            content = None if document is None else json.dumps(document)
            connection.request(method, wanted, content, {name: value for name, value in header.items() if value})
            response = connection.getresponse()
            cookies = dict(_cookie(line) for line in response.headers.get_all("Set-Cookie", []))
            self.cookies.update(cookies)
            return Said(response.status, json.loads(response.read()), cookies)
        finally:
            connection.close()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """What an answer of 200 says."""
        said = self.ask("GET", path, **query)
        assert said.status == 200, said
        return said.body

    def sign_in(self) -> None:
        """As the sandbox' administrator."""
        name, _, password = self.scenario.world.sandbox.memory.credentials["admin"].partition(":")
        said = self.ask("POST", "auth/sign-in", {"identifier": name, "password": password})
        assert said.status == 200, said
        self.csrf = self.get("auth/csrf")["csrf_token"]

    def code(self, mailbox: str, count: int = 1) -> str:
        """The code of the newest of so many mails to a mailbox."""
        self.scenario.eventually(lambda: len(self.scenario.notices(mailbox, "CNF")) >= count, f"a code to {mailbox}")
        found = _CODE.search(str(self.scenario.notices(mailbox, "CNF")[count - 1]["Subject"]))
        assert found is not None
        return found[0]


def _cookie(line: str) -> tuple[str, str]:
    name, _, value = line.partition(";")[0].partition("=")
    return name, value
