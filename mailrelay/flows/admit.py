"""The story of one recipient at RCPT time: screen, look up, judge, answer, and note a refusal."""

import asyncio
import hashlib
from dataclasses import dataclass, field

from mailrelay import log, metrics
from mailrelay.core.destinations import Exchangers, deliverable, unknown
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, AliasId, Facts, Reason
from mailrelay.core.inquiry import Inquiry
from mailrelay.core.judge import Deliver, Deny, Drop, Question, Verdict, judge
from mailrelay.core.ledger import Ending, Envelope, IngressKey, OutboundId
from mailrelay.core.loopguard import within_reach
from mailrelay.core.reply import Reply
from mailrelay.core.screen import Accept, AskAlias, AskOutbound, AskReverse, RcptRequest, Refusal, Screened, screen
from mailrelay.core.sending.facts import SendingInquiry
from mailrelay.flows.cache import FactsCache
from mailrelay.flows.ports import Clock, LedgerPort, ReadFacts, ReadSending
from mailrelay.flows.rules import Rules

DUNNO = "DUNNO"
# Finding a labelled metric costs more than counting: the two of the fast path are found once.
_HIT = metrics.CACHE_LOOKUPS.labels("hit")
_ACCEPTED = metrics.POLICY_ANSWERS.labels("accept", "none")
_DEADLINE_SECONDS = 3.0  # Postfix would wait 100 s; spec section 2.1 wants an answer within 5
_PATIENCE_SECONDS = 0.5  # where facts from memory would do: a smtpd that waits serves nobody else
_NOTES_LIMIT = 10_000  # refusals waiting to be written while the database is slow


@dataclass(slots=True)
class Admission:
    """Answers policy requests. `at_once` answers from memory, `by_database` whatever is left."""

    rules: Rules
    cache: FactsCache
    read_facts: ReadFacts
    read_sending: ReadSending
    ledger: LedgerPort
    clock: Clock
    exchangers: Exchangers = unknown
    _null_senders: "_Instances" = field(default_factory=lambda: _Instances())
    _notes: set[asyncio.Task[None]] = field(default_factory=set)

    def at_once(self, request: RcptRequest) -> str | None:
        """The answer, or None if the database has to be asked."""
        screened = screen(request, self.rules.around, self.clock())
        match screened:
            case Accept():
                return self._accept()
            case Refusal():
                return self._refuse(request, self._reply(screened), screened.reason, screened=screened)
            case AskOutbound() | AskReverse():
                return None
            case AskAlias(inquiry, question):
                if self._is_null_multi(request):
                    return self._null_multi(request)
                facts = self.cache.fresh(inquiry)
                verdict = None if facts is None else self._judge(question, facts)
                if facts is None or isinstance(verdict, Deny):
                    return None  # only good news is cached; anything else deserves current facts
                self.cache.count_answer(facts)
                _HIT.inc()
                return self._accept_alias(request)

    async def by_database(self, request: RcptRequest) -> str:
        """The answer from current facts; from old ones or a temporary refusal while the database is away."""
        screened = screen(request, self.rules.around, self.clock())
        known = self._is_known(screened)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS if known else _DEADLINE_SECONDS):
                return await self._ask(request, screened)
        except (Unavailable, TimeoutError) as error:
            log.logger().warning("policy.database_away", problem=str(error) or "time-out")
            return self._without_database(known)

    async def _ask(self, request: RcptRequest, screened: Screened) -> str:
        match screened:
            case AskOutbound(outbound_id):
                if await self.ledger.outbound(OutboundId(outbound_id)) is not None:
                    return self._accept()
                unknown = self.rules.replies["UNKNOWN"]
                return self._refuse(request, unknown, Reason.RETURN_PATH_UNKNOWN)
            case AskReverse(rcpt):
                if await self.read_sending(SendingInquiry(opaque=rcpt)) is not None:
                    return self._accept_alias(request)
                return self._refuse(request, self.rules.replies["UNKNOWN"], Reason.RESERVED)
            case AskAlias(inquiry, question):
                metrics.CACHE_LOOKUPS.labels("miss").inc()
                epoch = self.cache.epoch
                facts = await self.read_facts(inquiry)
                verdict = self._judge(question, facts)
                if not isinstance(verdict, Deny):
                    self._remember(inquiry, facts, verdict, epoch)
                    return self._accept_alias(request)
                return self._refuse(request, self.rules.replies[verdict.reply], verdict.reason, facts, verdict)
            case _:
                return self.at_once(request) or DUNNO

    def _judge(self, question: Question, facts: Facts) -> Verdict:
        """By the facts and by what is banned now: bans are never cached with facts."""
        around, now = self.rules.around, self.clock()
        verdict = judge(question, facts, self.rules.limits, now)
        if question.reverse:
            return within_reach(verdict, around.realm)  # who writes, and to whom, shows at the end of the message
        return deliverable(verdict, around.realm, around.bans, now, self.exchangers)

    def _remember(self, inquiry: Inquiry, facts: Facts, verdict: Deliver | Drop, epoch: int) -> None:
        """Keep facts about existing aliases only: what would be created has limits of its own."""
        if facts.alias is not None:
            self.cache.keep(inquiry, facts, self.rules.limits, epoch)

    def _is_known(self, screened: Screened) -> bool:
        """True if facts of any age would accept."""
        if not isinstance(screened, AskAlias):
            return False
        facts = self.cache.stale(screened.inquiry)
        return facts is not None and not isinstance(self._judge(screened.question, facts), Deny)

    def _without_database(self, known: bool) -> str:
        metrics.DATABASE_ERRORS.inc()
        if known:
            metrics.CACHE_LOOKUPS.labels("stale").inc()
            return self._accept()
        metrics.POLICY_ANSWERS.labels("defer", "database").inc()
        return str(self.rules.replies["LOOKUP"])

    def _accept(self) -> str:
        _ACCEPTED.inc()
        return DUNNO

    def _accept_alias(self, request: RcptRequest) -> str:
        if not request.sender and request.instance:
            self._null_senders.accepted(request)
        return self._accept()

    def _reply(self, refusal: Refusal) -> Reply:
        if refusal.ban is not None and refusal.reply == "BANNED":
            return self.rules.replies.banned(refusal.ban.id)
        return self.rules.replies[refusal.reply]

    def _refuse(
        self,
        request: RcptRequest,
        reply: Reply,
        reason: Reason,
        facts: Facts | None = None,
        denied: Deny | None = None,
        screened: Refusal | None = None,
    ) -> str:
        metrics.POLICY_ANSWERS.labels("defer" if reply.temporary else "refuse", reason.value).inc()
        alias = facts.alias if facts is not None else None
        account = facts.account if facts is not None else None
        envelope = Envelope(
            key=_instance_key(request),
            queue_id="",
            message_id="",
            sender=request.sender,
            rcpt=request.rcpt.lower(),
            client=request.client,
            size_octets=0,
            account_id=AccountId(account.id) if account is not None else None,
            alias_id=AliasId(alias.id) if alias is not None else None,
        )
        ban_id = screened.ban.id if screened is not None and screened.ban is not None else None
        if denied is not None:
            ban_id = denied.ban_id
        blocked_by = denied.blocked_by if denied is not None else None
        log.logger().info(
            "rcpt.refused",
            reason=reason.value,
            reply=f"{reply.code} {reply.enhanced}",
            account=envelope.account_id,
            alias=envelope.alias_id,
        )
        self._note(Ending(envelope, "refused", reason, ban_id, blocked_by))
        return str(reply)

    def _note(self, ending: Ending) -> None:
        """Write the refusal behind the answer: Postfix need not wait for it."""
        if len(self._notes) >= _NOTES_LIMIT:
            log.logger().warning("rcpt.not_noted", reason=ending.reason.value)
            return
        task = asyncio.get_running_loop().create_task(self._write(ending))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write(self, ending: Ending) -> None:
        try:
            await self.ledger.end(ending)
        except Unavailable as error:
            log.logger().warning("rcpt.not_noted", reason=ending.reason.value, problem=str(error))

    def _is_null_multi(self, request: RcptRequest) -> bool:
        return not request.sender and bool(request.instance) and self._null_senders.is_further(request)

    def _null_multi(self, request: RcptRequest) -> str:
        return self._refuse(request, self.rules.replies["NULLMULTI"], Reason.NULL_SENDER_MULTI)

    async def drain(self) -> None:
        """Wait until every refusal is written."""
        if self._notes:
            await asyncio.wait(self._notes, timeout=_DEADLINE_SECONDS)


def _instance_key(request: RcptRequest) -> IngressKey:
    """One transaction at RCPT: Postfix gives all its requests the same instance."""
    name = request.instance or f"{request.client} {request.sender}"
    return IngressKey(hashlib.sha256(b"policy\0" + name.encode("utf-8", "replace")).digest()[:16])


class _Instances:
    """The first accepted recipient of each null-sender transaction, as long as such a transaction may last."""

    _LIMIT = 4096

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def is_further(self, request: RcptRequest) -> bool:
        """True if another recipient of this transaction was accepted before."""
        return self._first.get(request.instance, request.rcpt) != request.rcpt

    def accepted(self, request: RcptRequest) -> None:
        """Remember the first recipient that was accepted."""
        if len(self._first) >= self._LIMIT:
            del self._first[next(iter(self._first))]
        self._first.setdefault(request.instance, request.rcpt)
