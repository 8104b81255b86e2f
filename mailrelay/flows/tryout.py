"""The story of a rule that is tried before it is switched on: on a message, or on past mail. Nothing is counted."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.author import author, speaker
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.header import split
from mailrelay.core.records import Named
from mailrelay.core.rules import stored, trial
from mailrelay.core.rules.model import Rule, RuleId, StoredRule
from mailrelay.core.rules.trial import Past, Replay, Trial
from mailrelay.flows.manage.rules import RuleWish, checked
from mailrelay.flows.ruling import tested

REPLAYED = timedelta(days=30)
MAX_ENTRIES = 10_000  # of the ledger, for one replay

_NOBODY = Address("nobody", "invalid")  # stands for an alias that is not known
_OF_ALIAS = frozenset({"alias", "alias_description"})


class RuleSource(Protocol):
    """Stored rules. Both raise Absent, recipients also Conflict."""

    async def stored(self, ref: str) -> tuple[AccountId, StoredRule]: ...
    async def recipients(self, owner: Named | AccountId) -> Mapping[str, UUID]: ...


class PastReader(Protocol):
    """As PastMail of the store. Both raise Absent."""

    async def since(self, owner: Named | AccountId, since: datetime, limit: int) -> tuple[list[Past], bool]: ...
    async def description(self, owner: Named | AccountId, alias: Address) -> str: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rule to be tried, switched on or not, stored or not, and whose it is."""

    owner: Named | AccountId
    rule: Rule


async def of_ref(source: RuleSource, ref: str) -> Candidate:
    """A stored rule. ref: its id or UUID. Raises Absent, Malformed if it cannot be understood."""
    account_id, row = await source.stored(ref)
    return Candidate(account_id, await _compiled(row))


async def of_wish(source: RuleSource, owner: Named | AccountId, wanted: RuleWish) -> Candidate:
    """A rule that is not stored. Raises what storing it would."""
    new = checked(wanted, await source.recipients(owner))
    row = StoredRule(
        RuleId(0), new.name, new.conditions, new.actions, new.operator, new.forwards, new.replies, new.sends
    )
    return Candidate(owner, await _compiled(row))


async def _compiled(row: StoredRule) -> Rule:
    book = await asyncio.to_thread(stored.book, [row])  # patterns take their time
    if not book.rules:
        raise Malformed(f"the rule cannot be understood, so that it is skipped: {book.broken[0].reason}")
    return book.rules[0]


async def on_message(
    past: PastReader, candidate: Candidate, content: bytes, sender: str, alias: Address | None
) -> Trial:
    """What a rule says to a message.

    content: with CRLF line ends. sender: of the envelope, '' if unknown. alias: it is for, with or without extension;
    None: what conditions ask about it is not known. Raises Absent.
    """
    message, rule = split(content), candidate.rule
    address = speaker(message, sender).address if trial.main_flow(rule) == "F" else author(message)
    speaking = str(address) if address is not None else sender
    description = await past.description(candidate.owner, alias) if alias is not None else ""
    asked = tested(message, speaking, alias or _NOBODY, description)
    return await asyncio.to_thread(trial.trial, rule, asked, _OF_ALIAS if alias is None else ())


async def on_past_mail(past: PastReader, candidate: Candidate, now: datetime) -> Replay:
    """What a rule would have said to mail of the last 30 days, as far as the ledger tells. Raises Absent."""
    since = now - REPLAYED
    mail, complete = await past.since(candidate.owner, since, MAX_ENTRIES)
    return await asyncio.to_thread(lambda: trial.replay(candidate.rule, mail, since, complete=complete))
