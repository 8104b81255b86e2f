"""Owners as they use the addy.io API: an app with a token."""

import itertools
import json
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from tests.system.scenario import Person, Scenario
from tools.sandbox.show import Arrived

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Said:
    """What came back. data: of the JSON, if it has that."""

    status: int
    body: str

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"]


@dataclass(frozen=True, slots=True)
class App:
    """Somebody's app."""

    scenario: Scenario
    person: Person
    token: str

    def ask(self, method: str, path: str, document: Any = None) -> Said:
        """One request, as apps make them. path: below /api/v1."""
        url = urlsplit(self.scenario.world.sandbox.http)
        assert url.hostname is not None
        connection = HTTPConnection(url.hostname, url.port, timeout=30)
        header = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            content = None if document is None else json.dumps(document)
            connection.request(method, f"/api/v1/{path}", content, header)
            response = connection.getresponse()
            return Said(response.status, response.read().decode())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        return self._done(self.ask("GET", path), 200).data

    def post(self, path: str, document: Any, status: int = 200) -> Any:
        return self._done(self.ask("POST", path, document), status).data

    def patch(self, path: str, document: Any = None) -> Any:
        return self._done(self.ask("PATCH", path, document), 200).data

    def delete(self, path: str) -> None:
        assert self._done(self.ask("DELETE", path), 204).body == ""

    def _done(self, said: Said, status: int) -> Said:
        assert said.status == status, said
        return said

    # --- what most of them begin with ------------------------------------------------------------------------------

    def alias(self, **more: Any) -> tuple[str, str]:
        """Id and address of a new alias. more: members of the request."""
        made = self.post("aliases", {"domain": "alias.example", **more}, 201)
        return made["id"], made["email"]

    def recipient(self) -> tuple[str, str]:
        """Id and address of one more mailbox, which is verified."""
        mailbox = f"another{next(_numbers)}.{self.person.account}@inbox.example"
        self.scenario.recipient(self.person, mailbox)
        (number,) = [one["id"] for one in self.get("recipients") if one["email"] == mailbox]
        return number, mailbox

    # --- what becomes of mail --------------------------------------------------------------------------------------

    def receives(self, address: str, *mailboxes: str, **more: Any) -> Arrived:
        """Mail arrives at these, else at the default one; the first copy. more: as send has it."""
        sent = self.scenario.send(address, **more)
        return self.scenario.copies(sent, *(mailboxes or (self.person.mailbox,)))[0]

    def misses(self, address: str, reason: str, **more: Any) -> None:
        """Mail is taken and thrown away."""
        sent = self.scenario.send(address, **more)
        self.scenario.copies(sent)
        self.scenario.becomes(sent.queue_id, [(address, "discarded", reason)])


def app(scenario: Scenario, person: Person | None = None) -> App:
    """The app of somebody new."""
    person = person or scenario.person()
    return App(scenario, person, scenario.world.cli("token", "add", person.name)["token"])
