"""What there is to say about each recipient at the end of a message, before its content is judged."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core.address import Address, BadAddress, is_opaque_reverse, parse_address
from mailrelay.core.author import speaker
from mailrelay.core.destinations import deliverable
from mailrelay.core.eom import Kind, Rcpt, Refuse
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Facts, Reason
from mailrelay.core.findings import Findings
from mailrelay.core.header import Message
from mailrelay.core.inquiry import inquire
from mailrelay.core.judge import Deliver, Verdict, block_behaviour, judge
from mailrelay.core.notices import Notice
from mailrelay.core.plan import Mail
from mailrelay.core.realm import Place
from mailrelay.core.rules.model import NO_EFFECTS, Effects
from mailrelay.core.screen import (
    Accept,
    AskAlias,
    AskReverse,
    RcptRequest,
    Refusal,
    Surroundings,
    is_operator,
    question,
    screen,
)
from mailrelay.core.sending import authorise as sending
from mailrelay.core.sending import told
from mailrelay.core.sending.classify import Evidence, Owner, evidence_of
from mailrelay.core.sending.fate import in_session
from mailrelay.core.sending.submitted import alias_of, way
from mailrelay.flows.clearance import Clearance, Cleared, is_reverse
from mailrelay.flows.ports import Clock, ReadFacts
from mailrelay.flows.rules import Rules
from mailrelay.flows.ruling import Ruling

Checks = asyncio.Task[Findings]  # who needs them waits for them


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as a milter sees it.

    client: its address, '' if unknown; sender: '' for the null sender; rcpts: those that were accepted, also of other
    domains; commands: the same as the client wrote them, () if there is no difference; login: name of the authenticated
    client, ''; is_local: it came by the sendmail command.
    header: name and value of each field, lines ending with LF; content: with CRLF line ends, cut behind the limit;
    size_octets: before that. spam_macro: what the filter's macro says.
    """

    queue_id: str
    client: str
    helo: str
    sender: str
    rcpts: tuple[str, ...]
    login: str
    is_local: bool
    header: tuple[tuple[str, bytes], ...]
    content: bytes
    size_octets: int
    spam_macro: str = ""
    commands: tuple[str, ...] = ()

    @property
    def route(self) -> str:
        """How it came, in the words of the ingress header."""
        return f"login:{self.login}" if self.login else "local" if self.is_local else "smtp"


@dataclass(frozen=True, slots=True)
class Outsider:
    """A recipient at no domain of ours. text: as Postfix understands it, folded; command: as the client wrote it."""

    text: str
    command: str


@dataclass(frozen=True, slots=True)
class Known:
    """One recipient of ours and whose it is.

    effects: of its owner's rules, where they were asked. notice: what the owner is told if the message is refused.
    """

    text: str
    rcpt: Rcpt
    facts: Facts = field(default_factory=Facts)
    effects: Effects = NO_EFFECTS
    notice: Notice | None = None


class FindLeak(Protocol):
    """As LeakTest. Raises Unavailable."""

    async def __call__(
        self, mail: Mail, message: Message, rcpt: Address, place: Place, cleared: Cleared
    ) -> Notice | None: ...


@dataclass(slots=True)
class Recipients:
    """Asks about recipients of ours."""

    rules: Rules
    read_facts: ReadFacts
    ruling: Ruling
    clearance: Clearance
    find_leak: FindLeak
    clock: Clock

    async def known(
        self, arrival: Arrival, message: Message, author: Address | None, text: str, checks: Checks
    ) -> Known:
        """One recipient, judged anew: Postfix may not have asked at RCPT, and now there is an author as well."""
        request = RcptRequest(arrival.sender, text, arrival.client, "", authenticated=arrival.route != "smtp")
        screened = screen(request, self.rules.around, self.clock())
        if isinstance(screened, Refusal):
            return Known(text, Rcpt("person", refusal=self._screened_out(screened)))
        if not isinstance(screened, AskAlias | AskReverse):
            return Known(text, Rcpt(_technical_kind(screened, text, self.rules)))
        banned = self._banned(author)
        if banned is not None:
            return Known(text, Rcpt("person", refusal=banned))
        try:
            rcpt = parse_address(text)
            if is_reverse(rcpt):
                return await self._reverse(arrival, message, author, rcpt, await checks)
            return await self._judged(arrival, message, text, rcpt, await self._facts(arrival, author, rcpt))
        except Unavailable as error:
            # Whatever the facts could say against it, delivery sees as well.
            log.logger().warning("message.facts_away", problem=str(error))
            metrics.DATABASE_ERRORS.inc()
            return Known(text, Rcpt("person", preferences=None))

    async def submitted(
        self, arrival: Arrival, message: Message, author: Address | None, rcpts: Sequence[Outsider], checks: Checks
    ) -> list[Known]:
        """Recipients elsewhere of what a login writes in the name of an alias, in their order. Raises Unavailable.

        The text of each is the reverse address by which it is reached; of one that is refused it may be its own.
        """
        if not rcpts:
            return []
        refused = self._banned(author) or self._too_many(rcpts)
        alias = alias_of(author, self.rules.around.realm)
        if alias is None:
            refused = Refuse(self.rules.replies["NOTALIAS"], Reason.NOT_AUTHENTICATED)
        if alias is None or refused is not None:
            return [Known(one.text, Rcpt("person", refusal=refused)) for one in rcpts]
        together = len(rcpts) + sum(map(_looks_reverse, arrival.rcpts))
        findings = await checks
        asked = (self._outsider(arrival, message, author, findings, alias, one, together) for one in rcpts)
        return await asyncio.gather(*asked)

    async def _outsider(
        self,
        arrival: Arrival,
        message: Message,
        author: Address | None,
        findings: Findings,
        alias: Address,
        one: Outsider,
        together: int,
    ) -> Known:
        around, replies = self.rules.around, self.rules.replies
        rcpt = way(alias, one.text, one.command)
        if rcpt is None:
            return Known(one.text, Rcpt("person", refusal=Refuse(replies["BADCONTACT"], Reason.BAD_CONTACT)))
        request = RcptRequest(arrival.sender, str(rcpt), arrival.client, "", authenticated=True)
        screened = screen(request, around, self.clock())
        if isinstance(screened, Refusal) and screened.ban is not None:
            return Known(str(rcpt), Rcpt("person", refusal=self._screened_out(screened)))
        evidence = evidence_of(message, rcpt, author, arrival.sender, arrival.route, findings)
        cleared = await self.clearance(rcpt, _place(rcpt, around), evidence, arrival.client, together=together)
        if cleared is None or cleared.facts.alias is None or not cleared.is_login:
            # Whose alias it is, and whether there is one, is nobody's business.
            return Known(one.text, Rcpt("person", refusal=Refuse(replies["NOTALIAS"], Reason.NOT_AUTHENTICATED)))
        return await self._of_owner(arrival, message, rcpt, evidence, cleared)

    async def _of_owner(
        self, arrival: Arrival, message: Message, rcpt: Address, evidence: Evidence, cleared: Cleared
    ) -> Known:
        """What the owner writes to a contact, or somebody who says so."""
        refused = in_session(evidence, cleared.who, cleared.decision)
        refusal = self._not_cleared(refused) if refused is not None else None
        account_id, now = cleared.sending.account_id, self.clock()
        notice = (
            told.of_refusal(refused, evidence, cleared.aim, account_id, cleared.who, now, None) if refused else None
        )
        if refusal is None:
            place = _place(rcpt, self.rules.around)
            mail = Mail(arrival.queue_id, arrival.sender, (str(rcpt),), arrival.content, arrival.client)
            notice = await self.find_leak(mail, message, rcpt, place, cleared)
            refusal = Refuse(self.rules.replies["LEAK"], Reason.LEAK) if notice is not None else None
        return Known(str(rcpt), Rcpt("person", refusal=refusal), cleared.facts, notice=notice)

    def _too_many(self, rcpts: Sequence[Outsider]) -> Refuse | None:
        """However long one waits."""
        limits = self.rules.sending_limits
        if any(limit and len(rcpts) > limit for limit in (limits.per_day, limits.per_hour)):
            return Refuse(self.rules.replies["SENDLIMIT"], Reason.SENDING_LIMIT)
        return None

    def _screened_out(self, screened: Refusal) -> Refuse:
        reply, ban = self.rules.replies[screened.reply], screened.ban
        if ban is not None and screened.reply == "BANNED":
            reply = self.rules.replies.banned(ban.id)
        return Refuse(reply, screened.reason, ban_id=ban.id if ban is not None else None)

    def _banned(self, author: Address | None) -> Refuse | None:
        ban = self.rules.around.bans.mailbox(str(author), "sender", self.clock()) if author is not None else None
        return None if ban is None else Refuse(self.rules.replies.banned(ban.id), Reason.BANNED, ban_id=ban.id)

    def _not_cleared(self, refusal: sending.Refusal) -> Refuse:
        reply = refusal.answer(self.rules.replies) or self.rules.replies["TEMP"]
        return Refuse(reply, refusal.reason, ban_id=refusal.ban_id)

    async def _judged(self, arrival: Arrival, message: Message, text: str, meant: Address, facts: Facts) -> Known:
        """Mail to an alias. text: as in the envelope; meant: the alias."""
        around = self.rules.around
        place = _place(meant, around)
        now = self.clock()
        judged = judge(question(meant, place, honour_reverse=False), facts, self.rules.limits, now)
        verdict = deliverable(judged, around.realm, around.bans, now)
        effects = await self._effects(arrival, message, meant, facts, verdict)
        blocks = effects.block is not None
        return Known(text, Rcpt("person", verdict=verdict, alias=facts.alias, rule_blocks=blocks), facts, effects)

    async def _reverse(
        self, arrival: Arrival, message: Message, author: Address | None, rcpt: Address, findings: Findings
    ) -> Known:
        """Mail to a reverse address: rows 13 and 13a. What is neither refused nor the owner's is mail to the alias."""
        evidence = evidence_of(message, rcpt, author, arrival.sender, arrival.route, findings)
        place, together = _place(rcpt, self.rules.around), sum(map(_looks_reverse, arrival.rcpts))
        cleared = await self.clearance(rcpt, place, evidence, arrival.client, together=together)
        text = str(rcpt)
        if cleared is None and is_opaque_reverse(rcpt.local):
            return Known(text, Rcpt("person", refusal=Refuse(self.rules.replies["UNKNOWN"], Reason.RESERVED)))
        if cleared is None:
            return await self._judged(arrival, message, text, rcpt, await self._facts(arrival, author, rcpt))
        if isinstance(cleared.who, Owner):
            return await self._of_owner(arrival, message, rcpt, evidence, cleared)
        refusal = in_session(evidence, cleared.who, cleared.decision)
        if refusal is not None:
            return Known(text, Rcpt("person", refusal=self._not_cleared(refusal)), cleared.facts)
        meant = cleared.aim.alias if is_opaque_reverse(rcpt.local) else rcpt
        return await self._judged(arrival, message, text, meant, cleared.facts)

    async def _effects(
        self, arrival: Arrival, message: Message, rcpt: Address, facts: Facts, verdict: Verdict
    ) -> Effects:
        """What rules say, where a sender whom they block is to hear of it; else delivery asks them."""
        if not isinstance(verdict, Deliver):
            return NO_EFFECTS
        if block_behaviour(facts.alias, facts.parent, verdict.account) != "reject":
            return NO_EFFECTS
        address = speaker(message, arrival.sender).address
        name = str(address) if address is not None else ""
        return await self.ruling.ask(verdict.account.id, "F", message, name, rcpt, facts.alias)

    async def _facts(self, arrival: Arrival, author: Address | None, rcpt: Address) -> Facts:
        place = _place(rcpt, self.rules.around)
        organisation = self.rules.around.organisation
        name = str(author) if author is not None else ""
        return await self.read_facts(inquire(rcpt, place, arrival.sender, name, arrival.client, organisation))


def _looks_reverse(text: str) -> bool:
    try:
        return is_reverse(parse_address(text))
    except BadAddress:
        return False


def _place(rcpt: Address, around: Surroundings) -> Place:
    place = around.realm.locate(rcpt.domain)
    assert place is not None  # it was screened
    return place


def _technical_kind(screened: object, text: str, rules: Rules) -> Kind:
    """What is accepted without looking for an alias: the operator's addresses, and return paths."""
    if isinstance(screened, Accept):
        rcpt = parse_address(text)
        place = rules.around.realm.locate(rcpt.domain)
        if place is not None and is_operator(rcpt, place):
            return "operator"
    return "return_path"
