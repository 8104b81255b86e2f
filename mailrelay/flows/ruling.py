"""What the owner's rules say of one message (spec section 5)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from unicodedata import normalize
from uuid import UUID

from mailrelay.core.address import Address, split_extension
from mailrelay.core.background import Style
from mailrelay.core.facts import AccountId, Alias, Target
from mailrelay.core.header import Message
from mailrelay.core.phrase import decoded
from mailrelay.core.rules.evaluate import Tried, evaluate, tried
from mailrelay.core.rules.model import NO_EFFECTS, Book, Effects, Flow, RuleId, Tested

# The rules of an account as they are now. Raises Unavailable.
ReadBook = Callable[[AccountId], Awaitable[Book]]
# One more message for each of these rules. Raises Unavailable.
CountRules = Callable[[Sequence[RuleId]], Awaitable[None]]


# What conditions ask about and no envelope tells.
UNKNOWN_OF_ENVELOPES = frozenset({"subject"})
# Hears what rules are asked, and about what.
Listen = Callable[[Book, Flow, Tested], None]


class ReadTargets(Protocol):
    """The recipients with these uuids, in their order, without those of others. Raises Unavailable."""

    async def __call__(self, account_id: AccountId, uuids: Sequence[UUID], /) -> Sequence[Target]: ...


def _nobody(book: Book, flow: Flow, tested: Tested, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Ruling:
    """Asks rules and counts them. Everything raises Unavailable. listen: for those who explain."""

    read_book: ReadBook
    read_targets: ReadTargets
    count: CountRules
    listen: Listen = _nobody

    async def ask(
        self, account_id: AccountId, flow: Flow, message: Message, speaker: str, rcpt: Address, alias: Alias | None
    ) -> Effects:
        """speaker: the contact of mail that is forwarded, else the mailbox that writes. rcpt: may have an extension."""
        book = await self.read_book(account_id)
        if not (book.rules or book.broken):
            return NO_EFFECTS
        asked = tested(message, speaker, rcpt, alias.description if alias is not None else "")
        self.listen(book, flow, asked)
        return evaluate(book, flow, asked)

    async def targets(self, account_id: AccountId, effects: Effects) -> Sequence[Target]:
        """Who gets the copies instead; empty: nobody is named who may get any."""
        if not effects.forward_to:
            return ()
        return [target for target in await self.read_targets(account_id, effects.forward_to) if target.verified]


def tested(message: Message, speaker: str, rcpt: Address, description: str) -> Tested:
    """What rules are asked about. speaker, rcpt: as Ruling.ask has them; description: of the alias, '' if none."""
    return Tested(speaker, normalize("NFC", decoded(message.first(b"subject") or b"")), _base(rcpt), description)


def by_envelope(book: Book, flow: Flow, sender: str, rcpt: Address, description: str) -> tuple[Tried, ...]:
    """What rules say to a message of which only the envelope is known: as far as they ask about that."""
    return tried(book, flow, Tested(sender, "", _base(rcpt), description), UNKNOWN_OF_ENVELOPES)


def _base(rcpt: Address) -> str:
    return str(Address(split_extension(rcpt.local)[0], rcpt.domain))


def styled(style: Style, effects: Effects) -> Style:
    """How copies are made when rules have had their say."""
    if not effects.matched:
        return style
    return replace(
        style,
        email_subject=style.email_subject if effects.subject is None else effects.subject,
        banner_location=effects.banner or style.banner_location,
        display_from=effects.display_from or "",
        remove_attachments=effects.remove_attachments,
        no_encryption=effects.no_encryption,
    )
