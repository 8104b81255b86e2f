"""The story of mail that deactivates an alias: only its owner's does, and nobody can tell the difference (8.3)."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from mailrelay import log
from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId, AliasId, Reason
from mailrelay.core.links import Action
from mailrelay.core.oneclick import Change, Visitor, Wish
from mailrelay.core.realm import Place
from mailrelay.core.sending.authorise import doubtful
from mailrelay.core.sending.classify import Owner, classify, evidence_of
from mailrelay.core.sending.facts import SendingInquiry
from mailrelay.core.unsubscribe import alias_named, is_unsubscribe
from mailrelay.flows.books import Books, Done
from mailrelay.flows.letter import Letter
from mailrelay.flows.ports import ReadSending


class FindAlias(Protocol):
    """Whose alias a UUID is, and its id; None for unknown ones. Raises Unavailable."""

    async def __call__(self, alias: UUID, /) -> tuple[AccountId, AliasId] | None: ...


class Act(Protocol):
    """Does what was wished, once. Raises Unavailable."""

    async def __call__(self, wish: Wish, visitor: Visitor, /) -> Change | None: ...


@dataclass(frozen=True, slots=True)
class UnsubscribeMail:
    """Takes mail to unsubscribe.<shared domain>. Raises Unavailable."""

    books: Books
    find_alias: FindAlias
    read_sending: ReadSending
    act: Act

    async def __call__(self, letter: Letter, rcpt: Address, place: Place) -> Done | None:
        """None for other addresses. What comes here goes no further and counts for nobody."""
        if not is_unsubscribe(place):
            return None
        alias = alias_named(rcpt)
        envelope = letter.envelope(str(rcpt))
        if alias is None:
            return await self.books.end(envelope, Reason.UNKNOWN)
        owner = await self._owner(letter, rcpt, alias)
        if owner is not None:
            visitor = Visitor(f"recipient:{owner.mailbox.id}", letter.mail.client, "e-mail", letter.now)
            change = await self.act(Wish(Action.DEACTIVATE, alias), visitor)
            log.logger().info("alias.unsubscribed", about=str(alias), changed=change is not None and change.changed)
        return await self.books.end(envelope, Reason.UNSUBSCRIBE)

    async def _owner(self, letter: Letter, rcpt: Address, alias: UUID) -> Owner | None:
        """Who wrote it, if that is the alias' owner without a doubt."""
        checked = letter.checked
        route, findings = (checked.route, checked.findings) if checked is not None else ("smtp", None)
        evidence = evidence_of(letter.message, rcpt, letter.author, letter.mail.sender, route, findings)
        if evidence.automatic:
            return None
        found = await self.find_alias(alias)
        if found is None:
            return None
        account_id, alias_id = found
        sending = await self.read_sending(SendingInquiry(account_id, alias_id))
        if sending is None or sending.alias is None:
            return None
        who = classify(evidence, sending.alias, sending)
        return who if isinstance(who, Owner) and doubtful(evidence, who) is None else None
