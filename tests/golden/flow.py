"""Sends any message through the whole delivery, for tests that hold of all of them."""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from structlog.testing import capture_logs

from mailrelay.core.dkim import public_record
from mailrelay.core.dkimverify import Content, signatures, verify
from mailrelay.core.header import Message, split
from mailrelay.core.lookup import Answer
from mailrelay.core.plan import Copy
from mailrelay.signing import DkimKeys
from tests.golden.cases import KEYS, default_facts, examined, furnished
from tests.unit.fakes import NOW
from tests.unit.office import SENDER, Office

Mode = Literal["rewrite", "transparent"]
# A banner on top where there may be one, and everything else that composition can do to a body.
PREFERENCES: dict[Mode, dict[str, Any]] = {
    "rewrite": {"banner_location": "top", "list_unsubscribe_behaviour": 0},
    "transparent": {"banner_location": "off"},
}
_KEYS = DkimKeys(KEYS)


@dataclass(frozen=True, slots=True)
class Passed:
    """arrived: the message as the LMTP role gets it. errors: events that the log has above `info`."""

    arrived: bytes
    reply: str
    copies: list[Copy]
    errors: list[str]
    office: Office

    @property
    def contents(self) -> list[bytes]:
        return [b"".join(copy.content) for copy in self.copies]


def passed(content: bytes, mode: Mode, rcpt: str = "a1@alias.example", found: dict[str, Any] | None = None) -> Passed:
    """Deliver a message that the milter has seen. found: as `ingress` in tests/golden/cases.py."""
    facts = {**default_facts(), "rcpt": rcpt, "forward_mode": mode, "account": PREFERENCES[mode]}
    office = furnished(facts, _KEYS)
    office.rules.message_octets = 26_214_400
    arrived = examined(content, found or {}, SENDER, NOW)
    with capture_logs() as events:
        [reply] = asyncio.run(office.deliver(rcpt, content=arrived))
    errors = [str(event["event"]) for event in events if event["log_level"] != "info"]
    return Passed(arrived, reply, office.outside.copies, errors, office)


def bad_signatures(message: Message) -> list[str]:
    """What is wrong with the topmost two signatures by our own verifier, which reads any header."""
    content, keys = Content(message), _answers()
    results = [verify(one, keys, content, int(NOW.timestamp())) for one in signatures(message)[:2]]
    return [f"{one.result} {one.reason}" for one in results if one.result != "pass"]


def _answers() -> dict[str, Answer | None]:
    return {
        f"{key.selector}._domainkey.{key.domain}": Answer((public_record(key).encode(),))
        for domain in ("alias.example", "relay.example")
        for key in _KEYS(domain)
    }


def below_header(content: bytes) -> bytes:
    """The body of a message."""
    return split(content).body
