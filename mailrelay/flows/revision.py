"""Rewrites a message for one recipient: what all its copies share is made once (spec sections 3.3 to 3.11)."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mailrelay.core import banner, bodyedit, dkim, listheaders, subject, threads
from mailrelay.core.address import Address, parse_address, split_extension
from mailrelay.core.banner import Fragment
from mailrelay.core.bodyedit import Edited
from mailrelay.core.context import Context, ContextInquiry, Wanted, letters
from mailrelay.core.correspond import Aliased, Correspondents, correspond, correspondents, opaque_needed
from mailrelay.core.display import DisplayFrom
from mailrelay.core.frozen import frozen
from mailrelay.core.header import Field, Message
from mailrelay.core.letterhead import Header, Letterhead
from mailrelay.core.links import Action, Links
from mailrelay.core.listheaders import Unsubscribe
from mailrelay.core.mime import tree
from mailrelay.core.phrase import decoded
from mailrelay.core.reverse import OPAQUE_OCTETS, needs_opaque, reverse_by
from mailrelay.core.rewrite import Edits, House, rewritten
from mailrelay.core.rules import attachments
from mailrelay.core.rules.attachments import Removed
from mailrelay.flows.letter import INLINE_OCTETS, Letter
from mailrelay.flows.order import Order
from mailrelay.flows.rules import Rules

# Behaviours of section 8.1 that leave the original List-Unsubscribe alone: 0 adds a link of ours where there is none.
_ORIGINAL_ONLY = 5
_MESSAGE_ID_OCTETS = 16


class ReadContext(Protocol):
    """Whose addresses and ids a message names. Raises Unavailable."""

    async def __call__(self, inquiry: ContextInquiry, /) -> Context: ...


class MakeReverse(Protocol):
    """Opaque reverse addresses, made where there is none. Raises Unavailable."""

    async def __call__(self, wanted: Sequence[Wanted]) -> Sequence[Address]: ...


@dataclass(frozen=True, slots=True)
class Revision:
    """A message rewritten for one recipient.

    edited: None if the body stays as it is. body_hash: of the copies' body. from_domain: of their From address.
    """

    letter: Letter
    edits: Edits
    house: House
    edited: Edited | None
    body_hash: bytes
    from_domain: str
    sending_verified: bool

    def header(self, head: Letterhead) -> Header:
        """The header of one copy before it is signed."""
        return rewritten(self.letter.message, head, self.edits, self.house)

    @property
    def body(self) -> bytes:
        """Of the copies."""
        return self.letter.message.body if self.edited is None else self.edited.body

    def below(self, header: Header) -> tuple[bytes, ...]:
        """A copy with this header, as chunks that begin and end where lines do."""
        if self.edited is None:
            return header.above(self.letter.message)
        return (header.block + b"\r\n", self.edited.body)


@dataclass(frozen=True, slots=True)
class _Body:
    """What came of the body, and of a warning that it may not have taken."""

    edited: Edited | None
    hash: bytes
    subject_prefix: str


@dataclass(frozen=True, slots=True)
class Reviser:
    """Makes revisions. random: unpredictable octets. url: where links lead, '' for none; url_keys: sign them."""

    rules: Rules
    read_context: ReadContext
    make_reverse: MakeReverse
    random: Callable[[int], bytes]
    url: str
    url_keys: Sequence[bytes]

    def links_for(self, letter: Letter) -> Links | None:
        """Links that act on the alias; None where the world cannot reach us."""
        return Links(self.url, self.url_keys[0], int(letter.now.timestamp())) if self.url else None

    async def revise(self, order: Order) -> Revision:
        """Ask what has to be asked, and rewrite. Raises Unavailable."""
        letter, style = order.letter, order.background.style
        who = correspondents(letter.message, letter.mail.sender)
        aliased = self._aliased(order)
        context = await self._context(order, who, aliased)
        body = await self._body(order, who)
        identity, keys = self.rules.identity, self.rules.around.keys
        from_domain = order.rcpt.domain if style.sending_verified else identity.domain
        edits = self._edits(order, who, aliased, context, body)
        house = House(identity.header_prefix, identity.hostname, keys.loop[0])
        return Revision(letter, edits, house, body.edited, body.hash, from_domain, style.sending_verified)

    def _aliased(self, order: Order) -> Aliased:
        style = order.background.style
        base, extension = split_extension(order.rcpt.local)
        return Aliased(
            Address(base, order.rcpt.domain),
            parse_address(self.rules.identity.fallback_from),
            tag=extension or "",
            verified_for_sending=style.sending_verified,
            form=DisplayFrom(style.display_from_format),
            use_reply_to=style.use_reply_to,
            style="opaque" if style.opaque_addresses else "plain",
            display_from=style.display_from,
        )

    async def _context(self, order: Order, who: Correspondents, aliased: Aliased) -> Context:
        """Whose the addresses are, with an opaque address for every contact that needs one."""
        targets = [
            target
            for target in listheaders.mail_targets(order.letter.message)
            if needs_opaque(aliased.address, target, aliased.style)
        ]
        asked = ContextInquiry(
            order.account_id,
            order.alias.id,
            who.addresses,
            threads.referenced(order.letter.message),
            tuple(map(str, (*opaque_needed(who, aliased, ()), *targets))),
        )
        context = Context() if asked.empty else await self.read_context(asked)
        needed = dict.fromkeys([*opaque_needed(who, aliased, context.own | context.siblings), *targets])
        missing = [contact for contact in needed if str(contact) not in context.opaque]
        if not missing:
            return context
        wanted = [
            Wanted(
                order.account_id,
                order.alias.id,
                str(contact),
                who.speaker.name if contact == who.speaker.address else "",
                aliased.address.domain,
                letters(self.random(OPAQUE_OCTETS)),
            )
            for contact in missing
        ]
        made = await self.make_reverse(wanted)
        opaque = {**context.opaque, **{str(one): reverse for one, reverse in zip(missing, made, strict=True)}}
        return Context(context.own, context.siblings, context.ids, opaque)

    def _edits(self, order: Order, who: Correspondents, aliased: Aliased, context: Context, body: _Body) -> Edits:
        letter, style = order.letter, order.background.style
        fields = {} if body.edited is None else body.edited.fields

        def reverse(contact: Address) -> Address | None:
            return reverse_by(aliased.address, contact, context.opaque, aliased.style)

        return Edits(
            correspondence=correspond(who, aliased, context.own | context.siblings, context.opaque),
            author=str(who.speaker.address or ""),
            alias=order.alias.uuid,
            alias_domain=order.rcpt.domain,
            now=letter.now,
            random_id=self.random(_MESSAGE_ID_OCTETS).hex(),
            reverse=reverse,
            unsubscribe=self._unsubscribe(order, who, reverse),
            subject=subject.changed(_subject(letter), style.email_subject, body.subject_prefix),
            thread=context.ids,
            body_fields={name: Field(name, raw) for name, raw in fields.items()},
            new_message_id=order.new_message_id,
            smtputf8=letter.mail.smtputf8,
        )

    def _unsubscribe(
        self, order: Order, who: Correspondents, reverse: Callable[[Address], Address | None]
    ) -> Unsubscribe:
        links = self.links_for(order.letter)
        behaviour = order.background.style.list_unsubscribe if links is not None else _ORIGINAL_ONLY
        nowhere = Links("", b"", 0)  # is asked for nothing by this behaviour
        return listheaders.unsubscribe(
            order.letter.message, behaviour, links or nowhere, order.alias.uuid, who.speaker.address, reverse
        )

    async def _body(self, order: Order, who: Correspondents) -> _Body:
        """The body with banner and warning. Large ones are edited in a thread, so that other mail goes on meanwhile."""
        if len(order.letter.mail.content) <= INLINE_OCTETS:
            return self._edit_body(order, who)
        return await asyncio.to_thread(self._edit_body, order, who)

    def _edit_body(self, order: Order, who: Correspondents) -> _Body:
        letter, style = order.letter, order.background.style
        has_banner = style.banner_location != "off" and not order.resend
        shows_warning = order.warning is not None and style.spam_warning == "banner"
        dmarc_failed = order.warning == "dmarc"
        message = letter.message
        taken = _without_attachments(message) if style.remove_attachments else None
        edited, may_edit = None, True
        if taken is not None:
            message, edited = taken.message, Edited(taken.message.body, taken.fields, inserted=False)
        if has_banner or shows_warning or bodyedit.needs_reencoding(message):
            parts = tree(message)
            state = frozen(parts)
            above = banner.warning(order.warning) if shows_warning and order.warning is not None else None
            facts = self._banner_facts(order, who, calendar=state.calendar)
            text = banner.banner(facts) if has_banner else None
            top, bottom = _placed(above, text, at_bottom=style.banner_location == "bottom")
            edited = bodyedit.edit(parts, state, top, bottom)
            may_edit = edited.inserted
            if taken is not None:
                edited = replace(edited, fields={**taken.fields, **edited.fields})
            if edited.body == letter.message.body and not edited.fields:
                edited = None
        prefix = ""
        if order.warning is not None:
            prefix = subject.warning(style.spam_warning, dmarc_failed=dmarc_failed, frozen=not may_edit)
        return _Body(edited, letter.body_hash if edited is None else dkim.body_hash(edited.body), prefix)

    def _banner_facts(self, order: Order, who: Correspondents, *, calendar: bool) -> banner.Facts:
        style, links = order.background.style, self.links_for(order.letter)
        original = _subject(order.letter)
        replaced = style.email_subject is not None and original is not None
        return banner.Facts(
            rcpt=order.envelope.rcpt,
            description=style.description,
            sender=str(who.speaker.address or ""),
            original_subject=decoded(original.value) if replaced and original is not None else "",
            link=links.banner(Action.DEACTIVATE, order.alias.uuid) if links is not None else "",
            calendar=calendar,
        )


def _without_attachments(message: Message) -> Removed | None:
    parts = tree(message)
    return attachments.removed(parts, frozen(parts))


def _placed(
    warning: Fragment | None, text: Fragment | None, *, at_bottom: bool
) -> tuple[Fragment | None, Fragment | None]:
    """What goes above and what below the text. A warning is above whatever there is."""
    above = [one for one in (warning, None if at_bottom else text) if one is not None]
    return banner.stack(*above) if above else None, text if at_bottom else None


def _subject(letter: Letter) -> Field | None:
    return next((field for field in letter.message.fields if field.name == b"subject"), None)
