"""The story of one message from Postfix' queue: for every recipient gather facts, decide, hand over, record."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from mailrelay import log, metrics
from mailrelay.core import eom, ingress, loopguard, srs, verp
from mailrelay.core.address import (
    Address,
    BadAddress,
    is_opaque_reverse,
    parse_address,
    split_extension,
)
from mailrelay.core.background import Background
from mailrelay.core.banner import Danger
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import REASON_TEXTS, AccountId, Alias, AliasId, Facts, Reason, Target
from mailrelay.core.held import Held, Hold, storable
from mailrelay.core.inquiry import Inquiry, inquire
from mailrelay.core.judge import NOT_READY_FOR, Deliver, Deny, Verdict, judge
from mailrelay.core.ledger import Ending, Envelope, OutboundId
from mailrelay.core.plan import Mail
from mailrelay.core.realm import Nested, Place, ServiceDomain
from mailrelay.core.receive import dead_end, structural_refusal
from mailrelay.core.reply import ACCEPTED, Reply
from mailrelay.core.screen import day_number, is_operator, question
from mailrelay.core.selfmail import NewMessageId, Normal, ToOthers, self_mail
from mailrelay.flows.evidence import content_of, is_bare, read_ingress
from mailrelay.flows.handover import Destination, Dispatcher, Draft, Handover
from mailrelay.flows.letter import Letter, open_letter
from mailrelay.flows.order import Case, Order
from mailrelay.flows.ports import Clock, LedgerPort, ReadBackground, ReadFacts, ReadReport
from mailrelay.flows.rules import Rules
from mailrelay.flows.secondtry import SecondTry
from mailrelay.flows.srsbounce import SrsBounces

_NO_ALIAS = UUID(int=0)
_ROOM_OCTETS = 64 * 1024
_WAIT_SECONDS = NOT_READY_FOR.total_seconds()


class AliasMaker(Protocol):
    """Creates the alias that mail asked for, as `verdict` allows. Doing it twice is harmless. Raises Unavailable.

    extension: raw text after the first `+` of the recipient, None if there is none.
    """

    async def __call__(self, inquiry: Inquiry, verdict: Deliver, extension: str | None) -> None: ...


class KeepMail(Protocol):
    """Keeps a message for its owner's decision; repeated, it does nothing. Raises Unavailable."""

    async def __call__(self, hold: Hold) -> Held: ...


class Compose(Protocol):
    """Prepares the copies of one recipient. draft raises Unavailable."""

    def for_operator(self, letter: Letter, envelope: Envelope) -> Draft: ...
    async def draft(self, order: Order, destinations: Sequence[Address]) -> Draft: ...


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of a recipient: the reply to Postfix, and the words for log and metrics."""

    reply: Reply
    outcome: str
    reason: Reason | None = None
    account_id: AccountId | None = None
    alias_id: AliasId | None = None
    copies: int = 0


@dataclass(slots=True)
class Delivery:
    """Answers every recipient of a mail on its own; trouble with one is no answer for another."""

    rules: Rules
    read_facts: ReadFacts
    read_background: ReadBackground
    ledger: LedgerPort
    make_alias: AliasMaker
    keep: KeepMail
    composer: Compose
    dispatcher: Dispatcher
    read_report: ReadReport
    srs_bounces: SrsBounces
    second_try: SecondTry
    clock: Clock
    timeout_seconds: float = 60.0

    async def __call__(self, mail: Mail) -> Sequence[Reply]:
        """One reply per recipient, in their order (RFC 2033 section 4.2)."""
        log.queue_id.set(mail.queue_id or "-")
        letter = await self._open(mail)
        log.queue_id.set(letter.queue_id or "-")
        # An address that is named twice, in whatever spelling, is one recipient with one outcome.
        names = [_folded(rcpt) for rcpt in mail.rcpts]
        unique = dict(zip(names, mail.rcpts, strict=True))
        # The milter measured it before Postfix and itself put their fields on top.
        room = _ROOM_OCTETS if letter.checked is not None else 0
        refusal = structural_refusal(mail.content, self.rules.message_octets, self.rules.replies, room)
        replies = await asyncio.gather(*(self._recipient(letter, rcpt, refusal) for rcpt in unique.values()))
        by_name = dict(zip(unique, replies, strict=True))
        return [by_name[name] for name in names]

    async def _open(self, mail: Mail) -> Letter:
        rules, now = self.rules, self.clock()
        letter = await open_letter(mail, now, lambda message: read_ingress(message, rules, now))
        if letter.checked is not None and letter.checked.route == "internal":
            return letter
        around = rules.around
        returned = loopguard.is_returned(letter.author, around.realm, around.keys.verp, day_number(now))
        return replace(letter, returned=returned)

    async def _recipient(self, letter: Letter, rcpt: str, refusal: tuple[Reply, Reason] | None) -> Reply:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.timeout_seconds):
                if refusal is not None:
                    done = await self._reject(letter.envelope(rcpt), *refusal)
                else:
                    done = await self._deliver(letter, rcpt)
        except (Unavailable, TimeoutError) as error:
            log.logger().warning("recipient.unavailable", problem=str(error) or "time-out")
            done = _Done(self.rules.replies["TEMP"], "deferred")
        except Exception:
            # Our bug: with 451 the mail waits until we have mended it.
            log.logger().exception("recipient.failed")
            done = _Done(self.rules.replies["TEMP"], "deferred")
        metrics.RECIPIENTS.labels(done.outcome, done.reason.value if done.reason else "none").inc()
        log.logger().info(
            "recipient.done",
            outcome=done.outcome,
            reason=done.reason.value if done.reason else None,
            reply=f"{done.reply.code} {done.reply.enhanced}",
            account=done.account_id,
            alias=done.alias_id,
            copies=done.copies,
            ms=round((time.perf_counter() - started) * 1000, 1),
        )
        return done.reply

    async def _deliver(self, letter: Letter, text: str) -> _Done:
        realm = self.rules.around.realm
        place = realm.locate_text(text.rpartition("@")[2])
        if place is None:
            # Postfix says this domain is ours and we do not know it: a change is on its way, or a mistake was made.
            raise Unavailable("the recipient's domain is not served here")
        try:
            rcpt = parse_address(text)
        except BadAddress as error:
            return await self._reject(letter.envelope(text), self.rules.replies[error.fault.value], Reason.SYNTAX)
        technical = await self._technical(letter, rcpt, place)
        return technical if technical is not None else await self._alias(letter, rcpt, place)

    async def _technical(self, letter: Letter, rcpt: Address, place: Place) -> _Done | None:
        """Return paths, SRS addresses and the operator's; None for addresses of people."""
        keys, today = self.rules.around.keys, day_number(letter.now)
        path = verp.decode(rcpt.local, rcpt.domain, keys.verp, today)
        if isinstance(path, verp.VerpId):
            return await self._return_path(letter, rcpt, OutboundId(path.outbound_id))
        if path is not None:
            return await self._end(letter.envelope(str(rcpt)), Reason.RETURN_PATH_INVALID)
        if is_opaque_reverse(rcpt.local):
            return await self._end(letter.envelope(str(rcpt)), Reason.RESERVED)
        if rcpt.domain == self.rules.around.realm.srs_domain and srs.looks_srs(rcpt.local):
            sender = srs.reverse(rcpt.local, keys.srs, today)
            if isinstance(sender, Address):
                return await self._srs(letter, rcpt, sender)
            return await self._end(letter.envelope(str(rcpt)), Reason.RETURN_PATH_INVALID)
        if is_operator(rcpt, place):
            return await self._operator(letter, rcpt)
        if isinstance(place, ServiceDomain | Nested):
            return await self._end(letter.envelope(str(rcpt)), Reason.UNKNOWN)
        return None

    async def _return_path(self, letter: Letter, rcpt: Address, outbound_id: OutboundId) -> _Done:
        """A bounce belongs to its copy; neither it nor anything else that comes here goes further."""
        envelope = letter.envelope(str(rcpt))
        copy = await self.ledger.outbound(outbound_id)
        if copy is None:
            return await self._end(envelope, Reason.RETURN_PATH_UNKNOWN)
        bounce = self.read_report(letter.mail.content)
        if bounce is None:
            return await self._end(envelope, Reason.RETURN_PATH_MAIL)
        if bounce.failed:
            await self.ledger.bounced(outbound_id, bounce.status, bounce.text)
            await self.second_try(letter, bounce, copy)
        return await self._end(envelope, Reason.BOUNCE_REPORT)

    async def _srs(self, letter: Letter, rcpt: Address, sender: Address) -> _Done:
        """A bounce of a copy that left with the SRS address as its sender."""
        envelope = letter.envelope(str(rcpt))
        told = await self.srs_bounces(letter, envelope, sender)
        return _Done(ACCEPTED, "discarded", told) if isinstance(told, Reason) else self._handed(envelope, told)

    async def _operator(self, letter: Letter, rcpt: Address) -> _Done:
        envelope = letter.envelope(str(rcpt))
        if split_extension(rcpt.local)[0] == "noreply":
            return await self._end(envelope, Reason.NOREPLY)
        stop = self._dead_end(letter, None)
        if stop is not None and stop is not Reason.BACKSCATTER:
            return await self._end(envelope, stop)
        destinations = [
            Destination(-number, mailbox)
            for number, mailbox in enumerate(self.rules.identity.operator, 1)
            if not self._leads_back(mailbox)
        ]
        if not destinations:
            raise Unavailable("service.operator names only operator addresses of our own")
        draft = self.composer.for_operator(letter, envelope)
        handover = await self.dispatcher.dispatch(letter, envelope, draft, destinations, "")
        return self._handed(envelope, handover)

    def _leads_back(self, mailbox: Address) -> bool:
        """True for an operator's mailbox whose mail would come to the operator again, and again."""
        place = self.rules.around.realm.locate(mailbox.domain)
        return isinstance(place, ServiceDomain) or (place is not None and is_operator(mailbox, place))

    async def _alias(self, letter: Letter, rcpt: Address, place: Place) -> _Done:
        if isinstance(letter.ingress, ingress.Invalid) and self.rules.checks.required:
            log.logger().warning("recipient.unchecked", problem=letter.ingress.reason)
            return _Done(self.rules.replies["UNCHECKED"], "deferred")
        author = str(letter.author) if letter.author is not None else ""
        inquiry = inquire(rcpt, place, letter.mail.sender, author, letter.mail.client, self.rules.around.organisation)
        facts, verdict = await self._look_up(letter, rcpt, place, inquiry)
        if isinstance(verdict, Deliver) and verdict.alias is None:
            stop = self._dead_end(letter, None)
            if stop is not None:
                return await self._end(self._envelope(letter, rcpt, facts), stop)
            await self._create(verdict, inquiry, rcpt)
            facts, verdict = await self._look_up(letter, rcpt, place, replace(inquiry, keys=()))
        envelope = self._envelope(letter, rcpt, facts)
        if isinstance(verdict, Deny):
            # Mail that was accepted waits at a limit, however far away its end is (spec section 2.4).
            reply = self.rules.replies["RATE" if verdict.reason is Reason.QUOTA else verdict.reply]
            if reply.temporary:
                return _Done(reply, "deferred", verdict.reason, envelope.account_id, envelope.alias_id)
            return await self._end(envelope, verdict.reason, verdict)
        if not isinstance(verdict, Deliver):
            return await self._end(envelope, verdict.reason)
        if verdict.alias is None:
            raise Unavailable("the alias was not there after it had been made")
        return await self._forward(
            Case(letter, rcpt, place, envelope, facts, verdict.alias, inquiry.sender_org), verdict
        )

    async def _look_up(self, letter: Letter, rcpt: Address, place: Place, inquiry: Inquiry) -> tuple[Facts, Verdict]:
        facts = await self.read_facts(inquiry)
        asked = question(rcpt, place, honour_reverse=False)
        return facts, judge(asked, facts, self.rules.limits, letter.now)

    async def _create(self, verdict: Deliver, inquiry: Inquiry, rcpt: Address) -> None:
        assert verdict.parent is not None  # judge allows no creation without one
        extension = split_extension(rcpt.local)[1]
        await self.make_alias(inquiry, verdict, extension)

    async def _forward(self, case: Case, verdict: Deliver) -> _Done:
        letter, envelope, alias = case.letter, case.envelope, case.alias
        targets = loopguard.elsewhere(verdict.targets, self.rules.around.realm)
        if not targets:
            if letter.checked is not None and letter.now.timestamp() - letter.checked.time >= _WAIT_SECONDS:
                # Postfix would give up at last, and bounce to whoever is said to have written (invariant I4).
                return await self._end(envelope, Reason.OWN_DOMAIN)
            return _Done(
                self.rules.replies["NOTREADY"], "deferred", Reason.OWN_DOMAIN, envelope.account_id, envelope.alias_id
            )
        background = await self.read_background(case.inquiry(verdict.account.id, targets))
        stop = self._dead_end(letter, alias, background)
        if stop is None and not eom.is_allowed(alias, letter.author, letter.mail.sender):
            stop = Reason.NOT_ALLOWED
        if stop is not None:
            return await self._end(envelope, stop)
        warning: Danger | None = None
        if letter.checked is not None:
            content = content_of(letter, letter.checked, self.rules)
            fate = self._fate(letter, content, background)
            if isinstance(fate, eom.Refuse):
                # Another recipient took the message, so its sender has not heard of this one's answer.
                assert fate.reason is not None  # only what is not known here has none
                return await self._end(envelope, fate.reason)
            danger: Danger = "dmarc" if content.dmarc_fails else "spam"
            if fate.act == "quarantine":
                kept = await self._quarantine(case, danger)
                if kept is not None:
                    return kept
            warning = danger if fate.act != "none" else None
        return await self._send(case, verdict, targets, background, warning)

    def _fate(self, letter: Letter, content: eom.Content, background: Background) -> eom.Fate:
        """What the owner wants done with mail that failed checks; the rest was judged before."""
        rules = self.rules
        rcpt = eom.Rcpt("person", preferences=background.preferences)
        author, sender = letter.author, letter.mail.sender
        return eom.decide(content, rcpt, author, sender, rules.around.keys.loop, rules.message_octets, rules.replies)

    async def _quarantine(self, case: Case, danger: Danger) -> _Done | None:
        """None: the account's room is full, so that the mail goes on, with its warning (spec section 3.14)."""
        letter, identity = case.letter, self.rules.identity
        name = f"{identity.header_prefix}ingress".lower().encode("ascii")
        reason = Reason.DMARC if danger == "dmarc" else Reason.SPAM
        hold = Hold(
            case.envelope,
            "quarantined",
            reason,
            REASON_TEXTS[reason],
            identity.hostname,
            str(letter.author) if letter.author is not None else "",
            case.org,
            storable(letter.message, identity.header_prefix),
            evidence=letter.message.first(name) or b"",
            bounce_type="spam",
        )
        if (await self.keep(hold)).no_room:
            return None
        return _Done(ACCEPTED, "held", reason, case.envelope.account_id, case.envelope.alias_id)

    async def _send(
        self,
        case: Case,
        verdict: Deliver,
        targets: Sequence[Target],
        background: Background,
        warning: Danger | None,
    ) -> _Done:
        letter, envelope = case.letter, case.envelope
        authenticated = letter.checked is not None and letter.checked.findings.author_authenticated
        found = self_mail(letter.author, targets, authenticated=authenticated, bare=is_bare(case.rcpt))
        match found:
            case ToOthers(others):
                targets = others
            case Normal() | NewMessageId():
                pass
        order = Order(
            letter,
            envelope,
            case.rcpt,
            case.place,
            case.facts,
            case.alias,
            verdict.account.id,
            background,
            warning,
            new_message_id=isinstance(found, NewMessageId),
        )
        draft = await self.composer.draft(order, [target.address for target in targets])
        destinations = [self._destination(target, letter) for target in targets]
        return self._handed(envelope, await self.dispatcher.dispatch(letter, envelope, draft, destinations, case.org))

    def _destination(self, target: Target, letter: Letter) -> Destination:
        ban = self.rules.around.bans.mailbox(target.address.folded, "destination", letter.now)
        return Destination(target.id, target.address, ban is not None)

    def _handed(self, envelope: Envelope, handover: Handover) -> _Done:
        if not handover.done:
            outcome, reply = "deferred", self.rules.replies["TEMP"]
        else:
            outcome, reply = ("failed" if handover.failed else "delivered"), ACCEPTED
        return _Done(reply, outcome, handover.failed, envelope.account_id, envelope.alias_id, handover.delivered)

    def _dead_end(self, letter: Letter, alias: Alias | None, background: Background | None = None) -> Reason | None:
        loop_name = f"{self.rules.identity.header_prefix}loop".lower().encode("ascii")
        uuid = alias.uuid if alias is not None else _NO_ALIAS
        return dead_end(
            letter.message,
            letter.mail.sender,
            uuid,
            self.rules.around.keys.loop,
            loop_name,
            accept_foreign_dsn=background is not None and background.accepts_foreign_dsn,
            arrivals=background.arrivals if background is not None else 0,
            returned=letter.returned,
        )

    @staticmethod
    def _envelope(letter: Letter, rcpt: Address, facts: Facts) -> Envelope:
        account_id = facts.account.id if facts.account is not None else None
        return letter.envelope(str(rcpt), account_id, facts.alias.id if facts.alias is not None else None)

    async def _reject(self, envelope: Envelope, reply: Reply, reason: Reason) -> _Done:
        """Refuse for good what waiting does not mend. Postfix had accepted it, so the books tell its end."""
        await self.ledger.end(Ending(envelope, "failed", reason))
        return _Done(reply, "failed", reason)

    async def _end(self, envelope: Envelope, reason: Reason, denied: Deny | None = None) -> _Done:
        """Take the mail and send nothing; the row says why (spec section 2.4)."""
        blocked_by = denied.blocked_by if denied is not None else None
        await self.ledger.end(Ending(envelope, "discarded", reason, blocked_by=blocked_by))
        return _Done(ACCEPTED, "discarded", reason, envelope.account_id, envelope.alias_id)


def _folded(rcpt: str) -> str:
    try:
        return parse_address(rcpt).folded
    except BadAddress:
        return rcpt
