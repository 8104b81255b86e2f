"""The story of mail to an alias: what its owner wants done with it, and the copies (spec section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mailrelay.core import eom, keytrouble, loopguard
from mailrelay.core.address import Address, split_extension
from mailrelay.core.author import speaker
from mailrelay.core.background import Background
from mailrelay.core.banner import Danger
from mailrelay.core.facts import AccountId, AliasId, Reason, RecipientId, Target
from mailrelay.core.judge import NOT_READY_FOR, Deliver
from mailrelay.core.mode import Why
from mailrelay.core.selfmail import NewMessageId, Normal, ToOthers, self_mail
from mailrelay.flows.books import Books, Done, is_settled_now
from mailrelay.flows.evidence import content_of, is_bare, stopped
from mailrelay.flows.handover import Destination, Dispatcher
from mailrelay.flows.keeping import KeepMail, held
from mailrelay.flows.letter import Letter
from mailrelay.flows.order import Case, Compose, Order
from mailrelay.flows.ports import Post, ReadBackground
from mailrelay.flows.rules import Rules
from mailrelay.flows.ruling import Ruling, styled
from mailrelay.flows.sealing import Sort

_WAIT_SECONDS = NOT_READY_FOR.total_seconds()


class UnmakeAlias(Protocol):
    """Takes an alias away that was just made, unless it was used since. Raises Unavailable."""

    async def __call__(self, alias_id: AliasId, /) -> None: ...


class AnswersContact(Protocol):
    """Whether a message for an alias itself is part of its owner's reply to all. Raises Unavailable."""

    async def __call__(self, letter: Letter, address: Address, account_id: AccountId, alias_id: AliasId, /) -> bool: ...


class Troubled(Protocol):
    """Mailboxes that refuse mail. Both raise Unavailable."""

    async def take_probe(self, recipient_id: RecipientId, /) -> bool:
        """Whether a failing one may be tried now, which then is today's try."""

    async def spared(self, recipients: Sequence[RecipientId], /) -> bool:
        """Whether mail with a warning is kept from one of these, as their hosts took so much of it for spam."""


@dataclass(slots=True)
class Forwarding:
    """Forwards what an alias may get. Raises Unavailable."""

    rules: Rules
    books: Books
    read_background: ReadBackground
    keep: KeepMail
    composer: Compose
    dispatcher: Dispatcher
    ruling: Ruling
    unmake_alias: UnmakeAlias
    answers_contact: AnswersContact
    troubled: Troubled
    sort: Sort
    post: Post

    async def __call__(self, case: Case, verdict: Deliver) -> Done:
        letter, envelope, alias = case.letter, case.envelope, case.alias
        targets = loopguard.elsewhere(verdict.targets, self.rules.around.realm)
        near = [target for target in verdict.targets if target not in targets]
        if not targets:
            if letter.checked is not None and letter.now.timestamp() - letter.checked.time >= _WAIT_SECONDS:
                return await self.books.end(envelope, Reason.OWN_DOMAIN)
            return self.books.wait(envelope, self.rules.replies["NOTREADY"], Reason.OWN_DOMAIN)
        background = await self.read_background(case.inquiry(verdict.account.id, targets))
        stop = stopped(letter, alias, self.rules, background)
        if stop is None and not eom.is_allowed(alias, letter.author, letter.mail.sender):
            stop = Reason.NOT_ALLOWED
        if stop is not None:
            return await self.books.end(envelope, stop)
        warning: Danger | None = "dmarc" if case.tagged else None
        if letter.checked is not None:
            content = content_of(letter, letter.checked, self.rules)
            fate = self._fate(letter, content, background)
            if isinstance(fate, eom.Refuse):
                # Another recipient took the message, so its sender has not heard of this one's answer.
                assert fate.reason is not None  # only what is not known here has none
                return await self.books.end(envelope, fate.reason)
            danger: Danger = "dmarc" if content.dmarc_fails else "spam"
            if fate.act == "quarantine" or (
                fate.act == "tag"
                and background.preferences.stores_failed
                and await self.troubled.spared([target.id for target in targets])
            ):
                reason = Reason.DMARC if danger == "dmarc" else Reason.SPAM
                kept = await self._quarantine(case, reason)
                if kept is not None:
                    return kept
            warning = danger if fate.act != "none" else warning
        return await self._by_rules(case, verdict, targets, near, background, warning)

    async def _by_rules(
        self,
        case: Case,
        verdict: Deliver,
        targets: Sequence[Target],
        near: Sequence[Target],
        background: Background,
        warning: Danger | None,
    ) -> Done:
        """As the owner's rules want it (spec section 5.5). They are counted once the recipient has its outcome.

        near: those that get no copy, as their domains are served here by now (section 9.5).
        """
        letter, account_id = case.letter, verdict.account.id
        contact = speaker(letter.message, letter.mail.sender).address
        name = str(contact) if contact is not None else ""
        # Before there was an alias, it had no description that a rule could ask for.
        alias = replace(case.alias, description="") if case.created else case.alias
        effects = await self.ruling.ask(account_id, "F", letter.message, name, case.rcpt, alias)
        done: Done | None = None
        if effects.block is not None:
            done = await self._blocked(case)
        elif effects.quarantine is not None:
            done = await self._quarantine(case, Reason.RULE_QUARANTINE)
        if done is None:
            chosen = loopguard.elsewhere(await self.ruling.targets(account_id, effects), self.rules.around.realm)
            background = replace(background, style=styled(background.style, effects))
            done = await self._send(case, verdict, chosen or targets, () if chosen else near, background, warning)
        if effects.matched and is_settled_now(done):
            await self.ruling.count(effects.matched)
        return done

    async def _blocked(self, case: Case) -> Done:
        """Nothing is sent; an alias that this message brought into being goes again."""
        envelope = case.envelope
        if case.created:
            await self.unmake_alias(case.alias.id)
            envelope = replace(envelope, alias_id=None)
        return await self.books.end(envelope, Reason.RULE)

    def _fate(self, letter: Letter, content: eom.Content, background: Background) -> eom.Fate:
        """What the owner wants done with mail that failed checks; the rest was judged before."""
        rules = self.rules
        rcpt = eom.Rcpt("person", preferences=background.preferences)
        author, sender = letter.author, letter.mail.sender
        return eom.decide(content, rcpt, author, sender, rules.around.keys.loop, rules.message_octets, rules.replies)

    async def _quarantine(self, case: Case, reason: Reason) -> Done | None:
        """None: the account's room is full, so that the mail goes on, with its warning (spec section 3.14)."""
        kept = await held(
            self.keep,
            self.rules.identity,
            case.letter,
            case.envelope,
            "quarantined",
            reason,
            org=case.org,
            bounce_type="rule" if reason is Reason.RULE_QUARANTINE else "spam",
        )
        return kept.done if kept is not None else None

    async def _send(
        self,
        case: Case,
        verdict: Deliver,
        targets: Sequence[Target],
        near: Sequence[Target],
        background: Background,
        warning: Danger | None,
    ) -> Done:
        letter, envelope = case.letter, case.envelope
        authenticated = letter.checked is not None and letter.checked.findings.author_authenticated
        found = self_mail(letter.author, targets, authenticated=authenticated, bare=is_bare(case.rcpt))
        match found:
            case ToOthers(others):
                targets = others
            case NewMessageId() if await self._answers_contact(case, verdict):
                return await self.books.end(envelope, Reason.SELF_COPY)
            case Normal() | NewMessageId():
                pass
        targets = await self._tried(targets)
        if not targets:
            return self.books.wait(envelope, self.rules.replies["NOTREADY"], Reason.FAILING)
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
            rewrite=Why.ANSWER if letter.answers else None,
        )
        return await self._copies(case, order, targets, near)

    async def _copies(self, case: Case, order: Order, targets: Sequence[Target], near: Sequence[Target]) -> Done:
        """Encrypted for whoever wants that; where it is not possible, what was chosen for that (spec section 6.5)."""
        letter, envelope = case.letter, case.envelope
        found = await self.sort(letter.message, targets, wanted=not order.background.style.no_encryption)
        done = await self._kept_closed(case) if found.fated("hold") else None
        if done is None or done.outcome == "held":
            destinations = found.destinations(self.rules.around.bans, letter.now, held=True)
            destinations += [Destination(target.id, target.address, Reason.OWN_DOMAIN) for target in near]
            if destinations:
                draft = await self.composer.draft(order, [one.address for one in destinations], found.locks)
                handover = await self.dispatcher.dispatch(letter, envelope, draft, destinations, case.org)
                done = self.books.handed(envelope, handover)
            # Also if a copy has to wait: by the next try the key may be mended, and what was given up stays so.
            for notice in keytrouble.notices(found.useless, envelope, str(case.rcpt), letter.now.isoformat()):
                await self.post(notice)
        assert done is not None  # there is a target, and each is a destination or has its mail kept
        return done

    async def _kept_closed(self, case: Case) -> Done:
        """The message waits, sealed, until it can be encrypted for whoever wants it so."""
        reason = Reason.KEY_UNUSABLE
        kept = await held(
            self.keep, self.rules.identity, case.letter, case.envelope, "held", reason, org=case.org, status="5.7.10"
        )
        # Where there is no room, Postfix has some.
        return kept.done if kept is not None else self.books.wait(case.envelope, self.rules.replies["TEMP"], reason)

    async def _tried(self, targets: Sequence[Target]) -> Sequence[Target]:
        """Less the failing ones that another message tries today (spec section 7.5)."""
        return [
            target for target in targets if target.failing_since is None or await self.troubled.take_probe(target.id)
        ]

    async def _answers_contact(self, case: Case, verdict: Deliver) -> bool:
        base = Address(split_extension(case.rcpt.local)[0], case.rcpt.domain)
        return await self.answers_contact(case.letter, base, verdict.account.id, case.alias.id)
