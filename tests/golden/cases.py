"""Runs one golden case: a folder with in.eml, facts.json, out.eml (empty: nothing is sent) and why.md.

facts.json says, where it differs from the defaults below, who sent to whom and what is expected:

    {"sender": "", "rcpt": "a1@alias.example", "smtputf8": true, "alias": {"state": "inactive"},
     "reply": "250 2.0.0 Ok", "outcome": "delivered", "reason": null}

After a change that is meant, `python -m tests.golden.cases` writes every out.eml anew; look at the difference before
you commit it.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailrelay.core.plan import Copy, Mail
from mailrelay.signing import DkimKeys
from tests.unit.fakes import Row
from tests.unit.office import CLIENT, Office, new_office

FOLDER = Path(__file__).parent
KEYS = FOLDER / "keys"
_DEFAULTS: dict[str, Any] = {
    "sender": "bounce+77@mta.shop.example",
    "rcpt": "a1@alias.example",
    "smtputf8": False,
    "alias": {},
    "reply": "250 2.0.0 Ok",
    "outcome": "delivered",
    "reason": None,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One folder."""

    folder: Path

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {**_DEFAULTS, **json.loads((self.folder / "facts.json").read_text())}
        unknown = facts.keys() - _DEFAULTS.keys()
        assert not unknown, f"{self.folder.name}: {unknown}"
        return facts

    @property
    def message(self) -> bytes:
        return (self.folder / "in.eml").read_bytes()

    @property
    def expected(self) -> bytes:
        return (self.folder / "out.eml").read_bytes()


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case."""

    reply: str
    copies: list[Copy]
    entries: list[Row]

    @property
    def out(self) -> bytes:
        """The copy; nothing if none was made."""
        return b"".join(chunk for copy in self.copies for chunk in copy.content)


def cases() -> list[Case]:
    """All of them, by name."""
    return [Case(path.parent) for path in sorted(FOLDER.glob("*/facts.json"))]


def run(case: Case) -> Result:
    """Deliver the message as the LMTP role does: alias a1 goes to real@inbox.example, the clock stands still."""
    facts, office = case.facts, new_office(DkimKeys(KEYS))
    office.store.update("alias", 1, **facts["alias"])
    mail = Mail("4XyZ12AbCd", facts["sender"], (facts["rcpt"],), case.message, CLIENT, facts["smtputf8"])
    [reply] = asyncio.run(_deliver(office, mail))
    return Result(reply, office.outside.copies, office.entries())


async def _deliver(office: Office, mail: Mail) -> list[str]:
    return [str(reply) for reply in await office.delivery(mail)]


if __name__ == "__main__":
    for each in cases():
        (each.folder / "out.eml").write_bytes(run(each).out)
