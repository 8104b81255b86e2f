"""How the copies of one recipient are made: untouched or rewritten, signed, sealed (spec 3.2 to 3.13, 11)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailrelay.core import arc, dkim, loop, mode, verp
from mailrelay.core.address import Address
from mailrelay.core.compose import transparent_header
from mailrelay.core.dkim import SigningKey
from mailrelay.core.facts import Alias
from mailrelay.core.ledger import Envelope, Mode, OutboundId
from mailrelay.core.letterhead import Header, Letterhead, Signer
from mailrelay.core.locks import Lock
from mailrelay.core.mode import Changes, Choice, Evidence, Why
from mailrelay.core.plan import Copy
from mailrelay.core.realm import Place
from mailrelay.core.screen import day_number
from mailrelay.core.signer import sealing_key, signing_domain, usable_keys
from mailrelay.core.verp import EmailType
from mailrelay.flows.letter import Letter, apart
from mailrelay.flows.order import Order
from mailrelay.flows.revision import Reviser, Revision
from mailrelay.flows.rules import Rules
from mailrelay.flows.sealing import Sealing


class SigningKeys(Protocol):
    """The keys to sign with for a domain; none if it has none."""

    def __call__(self, domain: str) -> Sequence[SigningKey]: ...


@dataclass(frozen=True, slots=True)
class Untouched:
    """Copies for the operator, and those that stay as they came in general."""

    press: "Press"

    def mode(self, destination: Address) -> Mode:
        return "transparent"

    async def copy(self, destination: Address, outbound_id: OutboundId) -> Copy:
        return self.press.untouched(destination, outbound_id)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Copies for people: the receiver's past may decide that one is made otherwise than the next.

    locks: of those who get theirs encrypted, by folded address.
    """

    press: "Press"
    choices: dict[str, Choice]  # by the destination's domain
    revision: Revision | None  # there if some copy is rewritten
    sealing: Sealing
    locks: Mapping[str, Lock]

    def mode(self, destination: Address) -> Mode:
        return "rewrite" if destination.folded in self.locks else self.choices[destination.domain].mode

    async def copy(self, destination: Address, outbound_id: OutboundId) -> Copy:
        lock = self.locks.get(destination.folded)
        if lock is not None:
            assert self.revision is not None  # made wherever there are locks
            return await self.press.sealed(self.revision, destination, outbound_id, lock, self.sealing)
        choice = self.choices[destination.domain]
        if choice.mode == "transparent":
            return self.press.untouched(destination, outbound_id)
        assert self.revision is not None  # made whenever a choice says so
        return self.press.rewritten(self.revision, destination, outbound_id, choice.reason)


@dataclass(frozen=True, slots=True)
class Press:
    """Makes single copies of one message for one recipient. place, alias: None for the operator."""

    rules: Rules
    signing_keys: SigningKeys
    letter: Letter
    envelope: Envelope
    place: Place | None = None
    alias: Alias | None = None
    spam: bool = False
    resend: bool = False
    compat: bool = False
    return_full: bool = False  # what comes back is kept for the owner, or made once more (flows/secondtry.py)

    def untouched(self, destination: Address, outbound_id: OutboundId) -> Copy:
        """No octet changes below our fields."""
        identity, letter = self.rules.identity, self.letter
        head = self._letterhead(destination, outbound_id, "")
        header = transparent_header(letter.message, head, identity.header_prefix, identity.hostname)
        domain = signing_domain(
            EmailType.FORWARD,
            "transparent",
            self.place,
            identity.domain,
            verified_for_sending=False,
            sign_transparent=identity.sign_transparent,
        )
        keys = usable_keys(EmailType.FORWARD, "transparent", self.signing_keys(domain)) if domain else ()
        header = self._sealed(header.signed(letter.body_hash, self._signer(keys)), letter.body_hash, "transparent")
        smtputf8 = letter.mail.smtputf8 or not destination.local.isascii()
        content = header.above(letter.message)
        return self._copy(content, identity.bounce_domain, destination, outbound_id, smtputf8=smtputf8)

    def rewritten(self, revision: Revision, destination: Address, outbound_id: OutboundId, reason: str) -> Copy:
        """The author appears under an address of ours. Raises Unavailable if there is no key to sign with."""
        keys = self._keys(revision)
        header = revision.header(self._letterhead(destination, outbound_id, reason))
        header = header.signed(revision.body_hash, self._signer(keys))
        header = self._sealed(header, revision.body_hash, "rewrite")
        content = revision.below(header)
        smtputf8 = not destination.local.isascii()
        return self._copy(content, revision.from_domain, destination, outbound_id, smtputf8=smtputf8)

    async def sealed(
        self, revision: Revision, destination: Address, outbound_id: OutboundId, lock: Lock, sealing: Sealing
    ) -> Copy:
        """Rewritten and encrypted; what is encrypted already is only rewritten. Raises Unavailable."""
        header = revision.header(self._letterhead(destination, outbound_id, Why.ENCRYPTION.value))
        made = await sealing.seal(header, revision.body, lock)
        if made is None:
            return self.rewritten(revision, destination, outbound_id, Why.ENCRYPTION.value)
        header, body = made
        keys = self._keys(revision)
        body_hash = await apart(len(body), lambda: dkim.body_hash(body))
        header = self._sealed(header.signed(body_hash, self._signer(keys)), body_hash, "rewrite")
        content = (header.block + b"\r\n", body)
        smtputf8 = not destination.local.isascii()
        return self._copy(content, revision.from_domain, destination, outbound_id, smtputf8=smtputf8)

    def _keys(self, revision: Revision) -> Sequence[SigningKey]:
        """What rewritten copies are signed with. Raises Unavailable if there is no key."""
        domain = signing_domain(
            EmailType.FORWARD,
            "rewrite",
            self.place,
            self.rules.identity.domain,
            verified_for_sending=revision.sending_verified,
        )
        assert domain is not None  # only untouched copies may go out unsigned
        return usable_keys(EmailType.FORWARD, "rewrite", self.signing_keys(domain))

    def _copy(
        self,
        content: tuple[bytes, ...],
        bounce_domain: str,
        destination: Address,
        outbound_id: OutboundId,
        *,
        smtputf8: bool,
    ) -> Copy:
        path = verp.VerpId(EmailType.FORWARD, outbound_id, day_number(self.letter.now))
        return Copy(
            sender=f"{verp.encode(path, bounce_domain, self.rules.around.keys.verp[0])}@{bounce_domain}",
            rcpt=str(destination),
            content=content,
            envelope_id=f"{outbound_id:016x}",
            eight_bit=not all(chunk.isascii() for chunk in content),
            smtputf8=smtputf8,
            return_full=self.return_full,
        )

    def _letterhead(self, destination: Address, outbound_id: OutboundId, reason: str) -> Letterhead:
        checked = self.letter.checked
        key = self.rules.around.keys.loop[0]
        return Letterhead(
            id=f"{outbound_id:016x}",
            loop_mark=loop.mark(self.alias.uuid, key) if self.alias is not None else "",
            rcpt=self.envelope.rcpt,
            sender=self.letter.mail.sender,
            destination=str(destination),
            authentication_results=checked.results.decode("ascii", "replace") if checked is not None else "",
            spam=self.spam,
            resend=self.resend,
            reason=reason,
            compat=self.compat,
        )

    def _signer(self, keys: Sequence[SigningKey]) -> Signer:
        return Signer(keys, int(self.letter.now.timestamp()))

    def _sealed(self, header: Header, body_hash: bytes, made: Mode) -> Header:
        """The very last change to a header. Without findings of our own there is nothing to seal."""
        identity, checked = self.rules.identity, self.letter.checked
        if identity.arc_seal != "always" and identity.arc_seal != made:
            return header
        key = sealing_key(self.signing_keys(identity.domain))
        if checked is None or not checked.results or key is None:
            return header
        now = int(self.letter.now.timestamp())
        return header.topped(arc.seal(header.fields, body_hash, checked.results, checked.findings.arc.result, key, now))


@dataclass(frozen=True, slots=True)
class Composer:
    """Prepares the copies of recipients."""

    rules: Rules
    signing_keys: SigningKeys
    reviser: Reviser
    sealing: Sealing

    def for_operator(self, letter: Letter, envelope: Envelope) -> Untouched:
        """Copies that pass no alias."""
        return Untouched(Press(self.rules, self.signing_keys, letter, envelope))

    async def draft(self, order: Order, destinations: Sequence[Address], locks: Mapping[str, Lock]) -> Chosen:
        """Copies of an alias' mail to these destinations. Raises Unavailable.

        locks: of those who get theirs encrypted, by folded address: what Sealing.sort says of all of them.
        """
        choices = {one.domain: self.choose(order, one.domain) for one in destinations}
        revision = None
        if locks or any(choice.mode == "rewrite" for choice in choices.values()):
            revision = await self.reviser.revise(order)
        press = Press(
            self.rules,
            self.signing_keys,
            order.letter,
            order.envelope,
            order.place,
            order.alias,
            spam=self._is_spam(order),
            resend=order.resend,
            compat=order.background.style.compat_headers,
            # What was resent in vain is not kept once more (spec section 7.6).
            return_full=order.background.preferences.stores_failed and not order.resend,
        )
        return Chosen(press, choices, revision, self.sealing, locks)

    def _is_spam(self, order: Order) -> bool:
        """True for what is tagged, or was held, as spam: also where the warning is about a worse thing."""
        checked = order.letter.checked
        score = None if checked is None or order.warning is None else checked.spam
        return order.warning == "spam" or self.rules.checks.thresholds.verdict(score) != "none"

    def choose(self, order: Order, receiver: str) -> Choice:
        """The mode of the copies to one domain, and why (spec section 3.2)."""
        if order.rewrite is not None:
            return Choice("rewrite", (order.rewrite,))
        setting = mode.configured(order.facts, self.rules.identity.forward_mode)
        if setting == "rewrite":
            return mode.choose(setting, _NO_EVIDENCE)
        return mode.choose(setting, self.evidence(order, receiver, explicit=setting == "transparent"))

    def evidence(self, order: Order, receiver: str, *, explicit: bool) -> Evidence:
        """What the choice depends on. explicit: `transparent` is set, not `auto`."""
        style, letter = order.background.style, order.letter
        checked, now = letter.checked, int(letter.now.timestamp())
        if checked is None:
            # Nobody looked, so who set `transparent` takes the responsibility, and `auto` cannot.
            lasts, survives = False, explicit
        else:
            lasts, survives = checked.findings.dkim_aligned(now), checked.findings.survives(now)
        return Evidence(
            changes=Changes(
                banner=style.banner_location != "off" and not order.resend,
                subject=bool(style.email_subject),
                display_name=bool(style.display_from),
                attachments=style.remove_attachments,
                warning=order.warning is not None and style.spam_warning != "off",
                list_unsubscribe=1 <= style.list_unsubscribe <= 4 and self.reviser.links_for(letter) is not None,
                message_id=order.new_message_id,
            ),
            reply_via_alias=style.reply_via_alias,
            signature_lasts=lasts,
            enforced=not survives,
            passed=survives,
            long_lines=mode.has_long_lines(letter.mail.content),
            sound_header=mode.is_sound(letter.message),
            rewrites_only=receiver in order.background.rewrites_only,
        )


_NO_EVIDENCE = Evidence(Changes(), False, False, False, False, False, False, False)
