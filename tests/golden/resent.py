"""Runs one golden case of a resend: a folder below resent/ with stored.eml, facts.json, out.eml and why.md.

facts.json is that of tests/golden/cases.py, as far as it is about the past delivery; stored.eml is what lies there:
the message as it came in, or a copy that a report returned. Besides:

    {"partial": true, "destination": "second@inbox2.example"}

After a change that is meant, `python -m tests.golden.resent` writes every out.eml anew.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

from mailrelay.core.header import split
from mailrelay.core.held import storable
from mailrelay.core.plan import Copy
from mailrelay.signing import DkimKeys
from tests.golden.cases import FOLDER, KEYS, Folder, examined, furnished
from tests.unit.failures import RECORD, STORED, Counter

_PREFIX = "X-Mailrelay-"
_LATER = timedelta(hours=1)


class Case(Folder):
    """One folder with stored.eml."""

    also = frozenset({"partial", "destination"})


def cases() -> list[Case]:
    """All of them, by name."""
    return [Case(path.parent) for path in sorted((FOLDER / "resent").glob("*/facts.json"))]


def run(case: Case) -> list[Copy]:
    """Resend what lies there, to whom the alias reaches an hour later."""
    facts = case.facts
    office = furnished(facts, DkimKeys(KEYS))
    at = Counter(office)
    arrived = office.now
    content = examined((case.folder / "stored.eml").read_bytes(), facts["ingress"], facts["sender"], arrived)
    message = split(content)
    office.now = arrived + _LATER
    at.shelf.message = replace(
        STORED,
        rcpt=facts["rcpt"],
        sender=facts["sender"],
        content=storable(message, _PREFIX) if facts["ingress"] is not None else content,
        evidence=message.first(f"{_PREFIX}ingress".lower().encode("ascii")) or b"",
        partial=facts.get("partial", False),
        destination=facts.get("destination", STORED.destination),
        attempted_at=arrived,
    )
    asyncio.run(at.resend(RECORD, "test"))
    return at.copies


def out(case: Case) -> bytes:
    """All copies."""
    return b"".join(b"".join(copy.content) for copy in run(case))


if __name__ == "__main__":
    for each in cases():
        (each.folder / "out.eml").write_bytes(out(each))
