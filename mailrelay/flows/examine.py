"""The story of a message at its end, while its sender waits: who wrote it, who takes it, and what to change in it."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core import authres, eom, ingress
from mailrelay.core.address import Address, client_ip
from mailrelay.core.author import VALUE_OCTETS, from_values
from mailrelay.core.author import author as find_author
from mailrelay.core.automatic import is_report
from mailrelay.core.eom import DEFAULT_PREFERENCES, Content, Fate, Preferences, Refuse
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, Reason
from mailrelay.core.findings import Findings
from mailrelay.core.forged import forged, values
from mailrelay.core.header import MAX_FIELDS, Message, split
from mailrelay.core.ledger import Ending, Envelope, IngressKey, ingress_key
from mailrelay.core.mailbox import FromProblem, from_problem
from mailrelay.core.notices import Notice
from mailrelay.core.reply import Reply
from mailrelay.core.rules.model import RuleId
from mailrelay.core.sending.submitted import is_in_our_name
from mailrelay.core.spam import read_score
from mailrelay.flows.authenticate import Client
from mailrelay.flows.ports import Clock, LedgerPort, Post
from mailrelay.flows.recipients import Arrival, Known, Outsider, Recipients
from mailrelay.flows.rules import Rules
from mailrelay.flows.ruling import CountRules

_NOTES_LIMIT = 1000  # refusals waiting to be written while the database is slow
_DRAIN_SECONDS = 3.0
_NOTHING_FOUND = Findings()
_OWN_FIELDS = 10  # what Postfix and we put on top must not push others out of delivery's sight


@dataclass(frozen=True, slots=True)
class Changes:
    """What the milter does to a message that is accepted.

    remove: (name, number among the fields of that name from 1), in this order. add: (name, value folded with CRLF), to
    be put on top one after the other. redirect: (recipient as the client wrote it, who gets it instead).
    """

    remove: tuple[tuple[str, int], ...]
    add: tuple[tuple[str, bytes], ...]
    redirect: tuple[tuple[str, str], ...] = ()


Examined = Changes | Reply


class Authenticate(Protocol):
    """As Authenticator.authenticate. Never raises but when cancelled."""

    async def __call__(self, message: Message, client: Client, author_domain: str, now: int) -> Findings: ...


class ReadPreferences(Protocol):
    """What accounts want done with mail that fails checks. Raises Unavailable."""

    async def __call__(self, accounts: Sequence[AccountId]) -> Mapping[AccountId, Preferences]: ...


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whose word is taken besides that of our own checks.

    sealers: d= domains of ARC seals (spec section 11.3); spam_header: the field that a filter before us adds, ''.
    """

    sealers: frozenset[str] = frozenset()
    spam_header: str = ""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found out about a message. known, fates: of the recipients of ours, and of those elsewhere that are
    reached through an alias; reply: None if somebody takes it. redirect: as in Changes.
    """

    message: Message
    content: Content
    author: Address | None
    known: Sequence[Known]
    fates: Sequence[Fate]
    reply: Reply | None
    redirect: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Examination:
    """Examines messages that have a recipient of ours, or that a login writes in our name.

    Mutable, as a reload changes whom it trusts.
    """

    rules: Rules
    trusted: Trusted
    authenticate: Authenticate
    recipients: Recipients
    read_preferences: ReadPreferences
    count_rules: CountRules
    ledger: LedgerPort
    post: Post
    clock: Clock
    timeout_seconds: float = 30.0
    _notes: set[asyncio.Task[None]] = field(default_factory=set)

    def is_ours(self, rcpt: str) -> bool:
        """True for addresses at domains served here. May be called from any thread."""
        return self.rules.around.realm.locate_text(rcpt.rpartition("@")[2]) is not None

    def is_in_our_name(self, sender: str, header: Sequence[tuple[str, bytes]]) -> bool:
        """True if only the owner of an alias may say who it is from. May be called from any thread."""
        authors = [value.partition(b"\0")[0] for value in values(header, "from")]
        return is_in_our_name(sender, authors, self.rules.around.realm)

    async def __call__(self, arrival: Arrival) -> Examined:
        """What to do. Trouble of our own is a temporary refusal, a bug an exception."""
        log.queue_id.set(arrival.queue_id or "-")
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._examine(arrival)
        except (Unavailable, TimeoutError) as error:
            log.logger().warning("message.unavailable", problem=str(error) or "time-out")
            metrics.MILTER_MESSAGES.labels("defer", "none").inc()
            return self.rules.replies["TEMP"]
        finally:
            metrics.MILTER_SECONDS.observe(time.perf_counter() - started)

    async def _examine(self, arrival: Arrival) -> Examined:
        found = await self.inspect(arrival)
        metrics.DMARC_RESULTS.labels(found.content.findings.dmarc.result).inc()
        self._tell(arrival, found.content, found.reply, found.fates)
        if found.reply is not None:
            self._note(arrival, found.message, found.known, found.fates)
            return found.reply
        return self.changes(arrival, found)

    async def inspect(self, arrival: Arrival) -> Inspected:
        """Find out everything and decide, but write and count nothing. Raises Unavailable."""
        message = split(arrival.content)
        content, author = self._first_look(arrival, message)
        ours = list({rcpt.lower(): rcpt for rcpt in arrival.rcpts if self.is_ours(rcpt)}.values())
        outsiders = self._outsiders(arrival) if arrival.login else []
        structural = eom.refuse_structure(content, self.rules.message_octets, self.rules.replies)
        finding = self._findings(arrival, message, content, author) if structural is None else _nothing()
        checks = asyncio.create_task(finding)
        try:
            asked = (self.recipients.known(arrival, message, author, rcpt, checks) for rcpt in ours)
            known = await asyncio.gather(*asked)
            sent = await self.recipients.submitted(arrival, message, author, outsiders, checks)
            findings = await checks
        finally:
            checks.cancel()
        content = replace(content, findings=findings, arc_override=findings.arc_override(self.trusted.sealers))
        if eom.needs_preferences(content):
            known = await self._with_preferences(known)
        fates = [self._fate(content, one, author, arrival.sender) for one in known]
        left = len(arrival.rcpts) - len(outsiders) - sum(map(self.is_ours, arrival.rcpts))
        sent_fates = [_stricter(self._fate(content, one, author, arrival.sender), one) for one in sent]
        others: list[Fate] = [eom.Pass()] * left
        reply = _of_sent(sent_fates) or eom.unanimous([*fates, *sent_fates, *others])
        redirect = tuple((old.command, new.text) for old, new in zip(outsiders, sent, strict=True))
        if reply is None and not all(self.is_ours(new) for _, new in redirect):
            raise RuntimeError("a recipient elsewhere that is not reached through its alias")
        return Inspected(message, content, author, [*known, *sent], [*fates, *sent_fates], reply, redirect)

    def _outsiders(self, arrival: Arrival) -> list[Outsider]:
        """The recipients that an alias' owner writes to elsewhere; none if the login writes in its own name."""
        if not self.is_in_our_name(arrival.sender, arrival.header):
            return []
        pairs = zip(arrival.rcpts, arrival.commands or arrival.rcpts, strict=True)
        return [Outsider(rcpt, command) for rcpt, command in pairs if not self.is_ours(rcpt)]

    # --- what is known ---------------------------------------------------------------------------------------------

    def _first_look(self, arrival: Arrival, message: Message) -> tuple[Content, Address | None]:
        """What needs no questions, and the author if there is one."""
        authors = from_values(message)
        problem = from_problem(authors, null_sender=not arrival.sender, is_report=is_report(message))
        if any(len(value) > VALUE_OCTETS for value in authors):
            problem = FromProblem.UNREADABLE
        body = arrival.content
        content = Content(
            # Ours, which Postfix does not show, will be among those that delivery counts.
            hops=len(values(arrival.header, "received")) + 1,
            has_long_header=len(arrival.header) > MAX_FIELDS - _OWN_FIELDS,
            size_octets=arrival.size_octets,
            has_stray_newline=not body.count(b"\r\n") == body.count(b"\n") == body.count(b"\r"),
            from_problem=problem is not None,
            loop_marks=values(arrival.header, f"{self.rules.identity.header_prefix}loop".lower()),
            exempt=arrival.route != "smtp" or self._is_own_network(arrival.client),
            spam=self.rules.checks.thresholds.verdict(self.score(arrival)),
        )
        return content, find_author(message) if problem is None else None

    def _is_own_network(self, client: str) -> bool:
        ip = client_ip(client)
        return ip is not None and any(ip in network for network in self.rules.around.trusted)

    def score(self, arrival: Arrival) -> float | None:
        """What a filter before us says, None if none looked."""
        if arrival.spam_macro:
            return read_score(arrival.spam_macro)
        name = self.trusted.spam_header.lower()
        found = values(arrival.header, name) if name else []
        return read_score(found[0].decode("ascii", "replace")) if found else None

    async def _findings(self, arrival: Arrival, message: Message, content: Content, author: Address | None) -> Findings:
        client = Client(client_ip(arrival.client), arrival.helo, arrival.sender, content.exempt)
        domain = author.domain if author is not None else ""
        return await self.authenticate(message, client, domain, int(self.clock().timestamp()))

    async def _with_preferences(self, known: Sequence[Known]) -> list[Known]:
        accounts = {one.facts.account.id for one in known if one.facts.account is not None}
        try:
            found = await self.read_preferences(sorted(accounts)) if accounts else {}
        except Unavailable as error:
            log.logger().warning("message.preferences_away", problem=str(error))
            metrics.DATABASE_ERRORS.inc()
            found = {}

        def wanted(one: Known) -> Preferences | None:
            if one.facts.account is None:  # the operator's, nobody's, or unknown
                return one.rcpt.preferences
            return found.get(one.facts.account.id)

        return [replace(one, rcpt=replace(one.rcpt, preferences=wanted(one))) for one in known]

    # --- what follows ----------------------------------------------------------------------------------------------

    def _fate(self, content: Content, one: Known, author: Address | None, sender: str) -> Fate:
        keys = self.rules.around.keys.loop
        return eom.decide(content, one.rcpt, author, sender, keys, self.rules.message_octets, self.rules.replies)

    def changes(self, arrival: Arrival, found: Inspected) -> Changes:
        """What delivery is to see of it."""
        content = found.content
        hostname, prefix = self.rules.identity.hostname, self.rules.identity.header_prefix
        override = content.arc_override and content.findings.dmarc.result == "fail"
        note = "arc-override" if override else ""
        results = authres.value(content.findings, hostname, arrival.client, note)
        header = ingress.Ingress(
            queue_id=arrival.queue_id,
            time=int(self.clock().timestamp()),
            ip=arrival.client,
            helo=arrival.helo,
            mail_from=arrival.sender,
            route=arrival.route,
            findings=content.findings,
            spam=self.score(arrival),
            action=eom.act(content, DEFAULT_PREFERENCES),
            note=note,
            results=results,
        )
        signed = ingress.compose(header, found.message, self.rules.checks.keys[0])
        return Changes(
            remove=tuple(forged(arrival.header, prefix, hostname)),
            add=(
                (authres.NAME, authres.field(results).partition(b": ")[2].removesuffix(b"\r\n")),
                (f"{prefix}Ingress", signed),
            ),
            redirect=found.redirect,
        )

    def _tell(self, arrival: Arrival, content: Content, reply: Reply | None, fates: Sequence[Fate]) -> None:
        verdict = "accept" if reply is None else "defer" if reply.temporary else "refuse"
        refusals = [fate for fate in fates if isinstance(fate, Refuse)]
        reason = next((str(one.reason) for one in refusals if one.reply == reply and one.reason), "none")
        metrics.MILTER_MESSAGES.labels(verdict, reason).inc()
        log.logger().info(
            "message.examined",
            verdict=verdict,
            reason=reason,
            reply=None if reply is None else f"{reply.code} {reply.enhanced}",
            recipients=len(fates),
            refused=len(refusals),
            route=arrival.route.partition(":")[0],
            spf=content.findings.spf.result,
            dmarc=content.findings.dmarc.result,
            octets=arrival.size_octets,
        )

    def _note(self, arrival: Arrival, message: Message, known: Sequence[Known], fates: Sequence[Fate]) -> None:
        """Write the refusals behind the answer: the sender need not wait for it."""
        key = ingress_key(arrival.queue_id, arrival.content)
        endings = [
            _ending(arrival, message, key, one, fate, fate.reason)
            for one, fate in zip(known, fates, strict=True)
            if isinstance(fate, Refuse) and fate.reason is not None
        ]
        if len(self._notes) >= _NOTES_LIMIT:
            log.logger().warning("message.not_noted", recipients=len(endings))
        elif endings:
            matched = [
                one.effects.matched
                for one, fate in zip(known, fates, strict=True)
                if isinstance(fate, Refuse) and fate.reason is Reason.RULE
            ]
            notices = [one.notice for one in known if one.notice is not None]
            task = asyncio.get_running_loop().create_task(self._write(endings, matched, notices))
            self._notes.add(task)
            task.add_done_callback(self._notes.discard)

    async def _write(
        self, endings: Sequence[Ending], matched: Sequence[Sequence[RuleId]], notices: Sequence[Notice]
    ) -> None:
        ended = (self.ledger.end(ending) for ending in endings)
        try:
            await asyncio.gather(*ended, *map(self.count_rules, matched), *map(self.post, notices))
        except Unavailable as error:
            log.logger().warning("message.not_noted", recipients=len(endings), problem=str(error))
        except Exception:
            log.logger().exception("message.not_noted", recipients=len(endings))

    async def drain(self) -> None:
        """Wait until every refusal is written."""
        if self._notes:
            await asyncio.wait(self._notes, timeout=_DRAIN_SECONDS)


def _stricter(fate: Fate, one: Known) -> Fate:
    """What is left to delivery elsewhere, such as a loop, is no reason to let somebody write as an alias."""
    return one.rcpt.refusal if one.rcpt.refusal is not None and not isinstance(fate, Refuse) else fate


def _of_sent(fates: Sequence[Fate]) -> Reply | None:
    """The reply for the whole message if one who is elsewhere cannot get it: its author is there to hear of it.

    But for copies to the author itself, which just do not go out: many mail programs add one.
    """
    refusals = [fate for fate in fates if isinstance(fate, Refuse) and fate.reason is not Reason.OWN_CONTACT]
    return next((one.reply for one in refusals if one.reply.temporary), refusals[0].reply) if refusals else None


async def _nothing() -> Findings:
    return _NOTHING_FOUND


def _ending(arrival: Arrival, message: Message, key: IngressKey, one: Known, fate: Refuse, reason: Reason) -> Ending:
    account, alias = one.facts.account, one.facts.alias
    envelope = Envelope(
        key=key,
        queue_id=arrival.queue_id,
        message_id=(message.first(b"message-id") or b"").decode("ascii", "replace"),
        sender=arrival.sender,
        rcpt=one.text.lower(),
        client=arrival.client,
        size_octets=arrival.size_octets,
        account_id=account.id if account is not None else None,
        alias_id=alias.id if alias is not None else None,
    )
    return Ending(envelope, "refused", reason, fate.ban_id, fate.blocked_by)
