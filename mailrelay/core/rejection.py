"""What Postfix itself refused, as its owner reads it (spec section 7.7)."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mailrelay.core.address import (
    Address,
    BadAddress,
    client_ip,
    folded_mailbox,
    parents,
    parse_address,
    split_extension,
)
from mailrelay.core.chronicle import ir_key
from mailrelay.core.facts import AccountId, AliasId, Reason
from mailrelay.core.ledger import storable
from mailrelay.core.maillog import Rejected

_INACTIVE = re.compile(r"\bis inactive (alias|username|domain|handle)\b")


@dataclass(frozen=True, slots=True)
class Question:
    """Whom a rejected recipient belongs to. rcpt, sender, client: as the ledger has them; client None: not known.

    alias: the recipient without extension. sender_domains: with their parents, as block lists name them.
    """

    rejected: Rejected
    alias: Address
    rcpt: str
    sender: str
    sender_domains: tuple[str, ...]
    client: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """An alias whose owner is told. off: which of its parents is switched off, '' if none is.

    known: the ledger has this rejection already. blocked: the sender is on the owner's block list.
    """

    account_id: AccountId
    alias_id: AliasId
    state: Literal["active", "inactive", "deleted"]
    off: Literal["", "username", "domain", "handle"]
    blocked: bool
    known: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """A failed delivery of type IR (spec section 7.6). sender: `<>` if null; key: see core/chronicle.py."""

    account_id: AccountId
    alias_id: AliasId
    at: datetime
    bounce_type: Literal["hard", "spam"]
    status: str
    code: str
    remote_mta: str
    sender: str
    destination: str
    key: str


def question(rejected: Rejected) -> Question | None:
    """What has to be asked about a rejection; None: its recipient cannot be an alias."""
    try:
        rcpt = parse_address(rejected.rcpt)
    except BadAddress:
        return None
    base, _ = split_extension(rcpt.local)
    if not base:
        return None
    domain = folded_mailbox(rejected.sender).rpartition("@")[2]
    client = client_ip(rejected.client_address)
    return Question(
        rejected,
        Address(base, rcpt.domain),
        rcpt.folded,
        rejected.sender.lower(),
        parents(domain) if domain else (),
        None if client is None else str(client),
    )


def rejection(asked: Question, target: Target, unknown: str) -> Rejection:
    """The record. unknown: our text for addresses that do not exist, behind which other reasons hide."""
    rejected = asked.rejected
    key, words = _reason(rejected, target, unknown)
    return Rejection(
        target.account_id,
        target.alias_id,
        rejected.at,
        "spam" if "spam message rejected" in rejected.text.lower() else "hard",
        rejected.status[:10],
        storable(words.encode("ascii", "replace").decode("ascii"), 500),
        storable(f"{rejected.client_name}[{rejected.client_address}]", 300),
        rejected.sender or "<>",
        rejected.rcpt,
        ir_key(target.account_id, target.alias_id, asked.sender, asked.client or "", key, rejected.at),
    )


def _reason(rejected: Rejected, target: Target, unknown: str) -> tuple[str, str]:
    """For the key, the same word that our own refusals have; for the owner, what is behind a veiled reply."""
    if found := _INACTIVE.search(rejected.text):
        reason = Reason.ALIAS_INACTIVE if found[1] == "alias" else Reason.PARENT_INACTIVE
        return reason.value, f"{found[1]} is deactivated"
    if rejected.text.endswith(unknown):
        if target.state == "deleted":
            return Reason.ALIAS_DELETED.value, "alias was deleted"
        if target.off:
            return Reason.PARENT_INACTIVE.value, f"{target.off} is deactivated"
        if target.state == "inactive":
            return Reason.ALIAS_INACTIVE.value, "alias is deactivated"
        if target.blocked:
            return Reason.BLOCKED_SENDER.value, "sender is on your block list"
    return rejected.status or rejected.kind, rejected.text
