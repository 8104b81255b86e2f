"""Runs one golden case: a folder with in.eml, facts.json, out.eml (empty: nothing is sent) and why.md.

facts.json says, where it differs from _DEFAULTS, who sent to whom, what is known, and what is expected:

    {"sender": "", "rcpt": "a1@alias.example", "smtputf8": true, "now": "2026-01-06T09:00:02+00:00",
     "forward_mode": "rewrite", "account": {"use_reply_to": true}, "alias": {"description": "Shop"},
     "identity": {"arc_seal": "always"}, "message_ids": {"<ours>": "<his>"},
     "rewrites_only": ["inbox.example"], "ingress": {"dmarc": {"result": "fail"}},
     "reply": "250 2.0.0 Ok", "outcome": "delivered", "reason": null, "to": ["real@inbox.example"]}

account and alias: columns of sql/schema.sql. ingress: what the milter found, see _FINDINGS for what {} means; null: it
has not seen the message. Several copies stand in out.eml one after the other.

After a change that is meant, `python -m tests.golden.cases` writes every out.eml anew; look at the difference before
you commit it.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from mailrelay.core import authres, ingress
from mailrelay.core.author import author
from mailrelay.core.findings import Arc, Dkim, Dmarc, Findings, Spf
from mailrelay.core.header import Message, split
from mailrelay.core.plan import Copy, Mail
from mailrelay.signing import DkimKeys
from tests.unit.fakes import NOW, Row
from tests.unit.office import CLIENT, KEY, Office, new_office

FOLDER = Path(__file__).parent
KEYS = FOLDER / "keys"
HOSTNAME = "mx.relay.example"
_QUEUE_ID = "4XyZ12AbCd"
_DEFAULTS: dict[str, Any] = {
    "sender": "bounce+77@mta.shop.example",
    "rcpt": "a1@alias.example",
    "smtputf8": False,
    "now": NOW.isoformat(),
    "forward_mode": "transparent",
    "account": {},
    "alias": {},
    "identity": {},
    "message_ids": {},
    "rewrites_only": [],
    "ingress": None,
    "reply": "250 2.0.0 Ok",
    "outcome": "delivered",
    "reason": None,
    "to": ["real@inbox.example"],
}
# Mail of a shop that does everything right.
_FINDINGS: dict[str, Any] = {
    "spf": {"result": "pass", "domain": "mta.shop.example"},
    "dkim": [
        {"result": "pass", "domain": "shop.example", "selector": "k1", "algorithm": "rsa-sha256", "aligned": True}
    ],
    "dmarc": {
        "result": "pass",
        "domain": "shop.example",
        "has_record": True,
        "published": "reject",
        "policy": "reject",
        "dkim_aligned": True,
        "spf_aligned": True,
    },
    "arc": {},
    "spam": None,
    "note": "",
}


@dataclass(frozen=True, slots=True)
class Folder:
    """What cases of all kinds have: facts.json and out.eml. also: facts that are known besides those of _DEFAULTS."""

    folder: Path
    also: ClassVar[frozenset[str]] = frozenset()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {**_DEFAULTS, **json.loads((self.folder / "facts.json").read_text())}
        unknown = facts.keys() - _DEFAULTS.keys() - self.also
        assert not unknown, f"{self.name}: {unknown}"
        return facts

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.facts["now"])

    @property
    def expected(self) -> bytes:
        return (self.folder / "out.eml").read_bytes()


@dataclass(frozen=True, slots=True)
class Case(Folder):
    """One folder with in.eml."""

    @property
    def message(self) -> bytes:
        return (self.folder / "in.eml").read_bytes()

    @property
    def is_rewritten(self) -> bool:
        return b"X-Mailrelay-Mode: rewrite" in self.expected


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case."""

    reply: str
    copies: list[Copy]
    entries: list[Row]
    office: Office

    @property
    def contents(self) -> list[bytes]:
        """The copies."""
        return [b"".join(copy.content) for copy in self.copies]

    @property
    def out(self) -> bytes:
        """All copies; nothing if none was made."""
        return b"".join(self.contents)


def cases() -> list[Case]:
    """All of them, by name."""
    return [Case(path.parent) for path in sorted(FOLDER.glob("*/facts.json"))]


def run(case: Case) -> Result:
    """Deliver the message as the LMTP role does: alias a1 goes to real@inbox.example, the clock stands still."""
    facts, office = case.facts, furnished(case.facts, DkimKeys(KEYS))
    office.now = case.now
    content = examined(case.message, facts["ingress"], facts["sender"], case.now)
    mail = Mail(_QUEUE_ID, facts["sender"], (facts["rcpt"],), content, CLIENT, facts["smtputf8"])
    [reply] = asyncio.run(_deliver(office, mail))
    return Result(reply, office.outside.copies, office.entries(), office)


def default_facts() -> dict[str, Any]:
    """What holds in a case that does not say otherwise."""
    return dict(_DEFAULTS)


def furnished(facts: dict[str, Any], keys: DkimKeys) -> Office:
    """The fixture of spec section 12 with what is different in one case."""
    office = new_office(keys, "https://app.relay.example")
    store, rules = office.store, office.rules
    rules.identity = replace(rules.identity, **facts["identity"])
    reviser = replace(office.composer.reviser, random=_random())
    office.composer = office.forwarding.composer = replace(office.composer, reviser=reviser)
    store.update("account", 1, forward_mode=facts["forward_mode"], **facts["account"])
    alias = store.row("alias", local_part=facts["rcpt"].lower().partition("@")[0].partition("+")[0])
    if alias is not None:
        columns = dict(facts["alias"])
        if "uuid" in columns:
            columns["uuid"] = UUID(columns["uuid"])
        alias.update(columns)
    for ours, his in facts["message_ids"].items():
        store.insert("message_id", alias_id=1, our_id=ours, original_id=his)
    for receiver in facts["rewrites_only"]:
        store.insert("receiver_memory", receiver=receiver, rewrite_only_until=datetime.max.replace(tzinfo=NOW.tzinfo))
    return office


def _random() -> Callable[[int], bytes]:
    """The same octets in every run, others in every call."""
    calls = count()
    return lambda octets: sha256(b"%d" % next(calls)).digest()[:octets]


def examined(content: bytes, found: dict[str, Any] | None, sender: str, now: datetime) -> bytes:
    """The message as the milter leaves it: with our results, if there are none, and the header that proves it.

    They stand below Postfix' own Received field, if the message has that.
    """
    if found is None:
        return content
    message, facts = split(content), {**_FINDINGS, **found}
    named = author(message)
    findings = _findings(facts, named.domain if named is not None else "")
    there = authres.own_value(message.fields, HOSTNAME)
    results = authres.value(findings, HOSTNAME, CLIENT, facts["note"]) if there is None else there
    signed = ingress.compose(_ingress(facts, findings, results, sender, now), message, KEY)
    added = b"%b: %b\r\n" % (ingress.NAME.encode(), signed)
    if there is None:
        added = authres.field(results) + added
    at = _below_received(message)
    return content[:at] + added + content[at:]


def _findings(facts: dict[str, Any], domain: str) -> Findings:
    """domain: of the author, which is whom a milter judges."""
    return Findings(
        spf=Spf(**facts["spf"]),
        dkim=tuple(Dkim(**one) for one in facts["dkim"]),
        dmarc=Dmarc(**{**_FINDINGS["dmarc"], **facts["dmarc"], "domain": domain}),
        arc=Arc(**facts["arc"]),
    )


def _ingress(facts: dict[str, Any], findings: Findings, results: bytes, sender: str, now: datetime) -> ingress.Ingress:
    return ingress.Ingress(
        queue_id=_QUEUE_ID,
        time=int(now.timestamp()),
        ip=CLIENT,
        helo="mta.shop.example",
        mail_from=sender,
        route="smtp",
        findings=findings,
        spam=facts["spam"],
        note=facts["note"],
        results=b" ".join(results.split()),
    )


def _below_received(message: Message) -> int:
    at = 0
    for field in message.fields[:2]:
        if field.name not in (b"", b"received"):
            break
        at += len(field.raw)
        if field.name:
            break
    return at


async def _deliver(office: Office, mail: Mail) -> list[str]:
    return [str(reply) for reply in await office.delivery(mail)]


if __name__ == "__main__":
    for each in cases():
        (each.folder / "out.eml").write_bytes(run(each).out)
