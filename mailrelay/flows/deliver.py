"""The story of one message from Postfix' queue: for every recipient gather facts, decide, hand over, record."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mailrelay import log, metrics
from mailrelay.core import ingress, loopguard
from mailrelay.core.address import Address, BadAddress, parse_address, split_extension
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Facts, Reason
from mailrelay.core.inquiry import Inquiry, inquire
from mailrelay.core.judge import Deliver, Deny, Verdict, judge
from mailrelay.core.ledger import Envelope
from mailrelay.core.plan import Mail
from mailrelay.core.realm import Place
from mailrelay.core.receive import structural_refusal
from mailrelay.core.reply import Reply
from mailrelay.core.screen import RcptRequest, Refusal, banned, banned_domain, day_number, question
from mailrelay.core.waiting import must_end
from mailrelay.flows.books import Books, Done
from mailrelay.flows.clearance import is_reverse
from mailrelay.flows.evidence import read_ingress, stopped
from mailrelay.flows.forward import Forwarding
from mailrelay.flows.letter import Letter, open_letter
from mailrelay.flows.order import Case
from mailrelay.flows.ports import Clock, MakeAlias, ReadFacts
from mailrelay.flows.rules import Rules
from mailrelay.flows.sending import Detour, Sending
from mailrelay.flows.technical import TechnicalMail

_ROOM_OCTETS = 64 * 1024


@dataclass(slots=True)
class Delivery:
    """Answers every recipient of a mail on its own; trouble with one is no answer for another."""

    rules: Rules
    books: Books
    read_facts: ReadFacts
    make_alias: MakeAlias
    technical: TechnicalMail
    sending: Sending
    forwarding: Forwarding
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
                    done = await self.books.reject(letter.envelope(rcpt), *refusal)
                else:
                    done = await self._deliver(letter, rcpt)
                    if done.outcome == "deferred" and done.reason is not None and must_end(letter.checked, letter.now):
                        # A report of Postfix would go to whoever is said to have written (invariant I4).
                        envelope = letter.envelope(rcpt, done.account_id, done.alias_id)
                        done = await self.books.end(envelope, Reason.WAITED_TOO_LONG)
        except (Unavailable, TimeoutError) as error:
            log.logger().warning("recipient.unavailable", problem=str(error) or "time-out")
            done = Done(self.rules.replies["TEMP"], "deferred")
        except Exception:
            # Our bug: with 451 the mail waits until we have mended it.
            log.logger().exception("recipient.failed")
            done = Done(self.rules.replies["TEMP"], "deferred")
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

    async def _deliver(self, letter: Letter, text: str) -> Done:
        realm = self.rules.around.realm
        place = realm.locate_text(text.rpartition("@")[2])
        if place is None:
            # Postfix says this domain is ours and we do not know it: a change is on its way, or a mistake was made.
            raise Unavailable("the recipient's domain is not served here")
        try:
            rcpt = parse_address(text)
        except BadAddress as error:
            return await self.books.reject(letter.envelope(text), self.rules.replies[error.fault.value], Reason.SYNTAX)
        technical = await self.technical(letter, rcpt, place)
        if isinstance(technical, Done):
            return technical
        if technical is None:
            return await self._person(letter, rcpt, rcpt, place)
        place = realm.locate(technical.rcpt.domain)
        if place is None:
            return await self.books.end(letter.envelope(text), Reason.RETURN_PATH_MAIL)
        return await self._person(technical.letter, rcpt, technical.rcpt, place, owners=technical.owners)

    async def _person(
        self, letter: Letter, named: Address, rcpt: Address, place: Place, *, owners: bool = False
    ) -> Done:
        """named: as in the envelope; rcpt: whom it is for, which is the same but for mail to return paths. owners: an
        automatic answer to a copy, which ends here if it is another's.
        """
        if isinstance(letter.ingress, ingress.Invalid) and self.rules.checks.required:
            log.logger().warning("recipient.unchecked", problem=letter.ingress.reason)
            return Done(self.rules.replies["UNCHECKED"], "deferred")
        refusal = self._banned(letter, rcpt)
        if refusal is not None and refusal.ban is not None:
            facts = await self.read_facts(self._inquiry(letter, rcpt, place))
            return await self.books.end(self._envelope(letter, named, facts), refusal.reason, ban_id=refusal.ban.id)
        if not is_reverse(rcpt):
            return await self._alias(letter, named, place, Detour(rcpt))
        sent = await self.sending(letter, rcpt, place)
        if isinstance(sent, Done):
            return sent
        if owners:
            return await self.books.end(letter.envelope(str(named)), Reason.AUTO_REPLY)
        return await self._alias(letter, named, place, sent)

    async def _alias(self, letter: Letter, named: Address, place: Place, meant: Detour) -> Done:
        """named: as in the envelope; meant: the alias, with an extension if there is one."""
        rcpt = meant.rcpt
        inquiry = self._inquiry(letter, rcpt, place)
        facts, verdict = await self._look_up(letter, rcpt, place, inquiry)
        created = isinstance(verdict, Deliver) and verdict.alias is None
        if isinstance(verdict, Deliver) and verdict.alias is None:
            stop = stopped(letter, None, self.rules)
            if stop is not None:
                return await self.books.end(self._envelope(letter, named, facts), stop)
            await self._create(verdict, inquiry, rcpt)
            facts, verdict = await self._look_up(letter, rcpt, place, replace(inquiry, keys=()))
        envelope = self._envelope(letter, named, facts)
        if isinstance(verdict, Deny):
            # Mail that was accepted waits at a limit, however far away its end is (spec section 2.4).
            reply = self.rules.replies["RATE" if verdict.reason is Reason.QUOTA else verdict.reply]
            if reply.temporary:
                return self.books.wait(envelope, reply, verdict.reason)
            return await self.books.end(envelope, verdict.reason, verdict)
        if not isinstance(verdict, Deliver):
            return await self.books.end(envelope, verdict.reason)
        if verdict.alias is None:
            raise Unavailable("the alias was not there after it had been made")
        org = inquiry.sender_org
        case = Case(letter, rcpt, place, envelope, facts, verdict.alias, org, created=created, tagged=meant.tagged)
        return await self.forwarding(case, verdict)

    def _banned(self, letter: Letter, rcpt: Address) -> Refusal | None:
        """A ban that was made since RCPT. Its sender was told that we take the mail, so nobody hears of it."""
        around, mail = self.rules.around, letter.mail
        request = RcptRequest(mail.sender, str(rcpt), mail.client, "", authenticated=False)
        found = banned(request, rcpt, around, letter.now) or banned_domain(rcpt, around, letter.now)
        if found is not None or letter.author is None:
            return found
        hit = around.bans.mailbox(str(letter.author), "sender", letter.now)
        return Refusal("BANNED", Reason.BANNED, hit) if hit is not None else None

    def _inquiry(self, letter: Letter, rcpt: Address, place: Place) -> Inquiry:
        author = str(letter.author) if letter.author is not None else ""
        return inquire(rcpt, place, letter.mail.sender, author, letter.mail.client, self.rules.around.organisation)

    async def _look_up(self, letter: Letter, rcpt: Address, place: Place, inquiry: Inquiry) -> tuple[Facts, Verdict]:
        facts = await self.read_facts(inquiry)
        asked = question(rcpt, place, honour_reverse=False)
        return facts, judge(asked, facts, self.rules.limits, letter.now)

    async def _create(self, verdict: Deliver, inquiry: Inquiry, rcpt: Address) -> None:
        assert verdict.parent is not None  # judge allows no creation without one
        extension = split_extension(rcpt.local)[1]
        await self.make_alias(inquiry, verdict, extension)

    @staticmethod
    def _envelope(letter: Letter, rcpt: Address, facts: Facts) -> Envelope:
        account_id = facts.account.id if facts.account is not None else None
        return letter.envelope(str(rcpt), account_id, facts.alias.id if facts.alias is not None else None)


def _folded(rcpt: str) -> str:
    try:
        return parse_address(rcpt).folded
    except BadAddress:
        return rcpt
