"""What delivery knows and decided about one recipient, for whoever makes its copies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailrelay.core.address import Address
from mailrelay.core.background import Background, BackgroundInquiry
from mailrelay.core.banner import Danger
from mailrelay.core.facts import AccountId, Alias, Facts, Target
from mailrelay.core.ledger import Envelope
from mailrelay.core.locks import Lock
from mailrelay.core.mode import Why
from mailrelay.core.realm import Place
from mailrelay.flows.handover import Draft
from mailrelay.flows.letter import Letter


@dataclass(frozen=True, slots=True)
class Case:
    """A recipient that gets mail through an alias.

    org: the sender's organisational domain, '' if unknown. created: the alias was made for this message. tagged: the
    author is to be warned of, whatever was found out.
    """

    letter: Letter
    rcpt: Address
    place: Place
    envelope: Envelope
    facts: Facts
    alias: Alias
    org: str
    created: bool = False
    tagged: bool = False

    def inquiry(self, account_id: AccountId, targets: Sequence[Target]) -> BackgroundInquiry:
        """What to ask about the past and the owner's wishes."""
        letter = self.letter
        receivers = tuple(dict.fromkeys(target.address.domain for target in targets))
        rcpt, message_id = self.envelope.rcpt, letter.message_id
        return BackgroundInquiry(account_id, self.alias.id, receivers, rcpt, message_id, letter.fingerprint, letter.key)


@dataclass(frozen=True, slots=True)
class Order:
    """A recipient whose copies are wanted.

    rcpt: as addressed, with its extension. facts: with account and alias. warning: about what the reader is to be
    warned. new_message_id: the author is the only recipient (spec section 9.4). resend: it was held or failed before.
    rewrite: why the copies are rewritten whatever is set; None: that is decided for each of them.
    """

    letter: Letter
    envelope: Envelope
    rcpt: Address
    place: Place
    facts: Facts
    alias: Alias
    account_id: AccountId
    background: Background
    warning: Danger | None = None
    new_message_id: bool = False
    resend: bool = False
    rewrite: Why | None = None


class Compose(Protocol):
    """Prepares the copies of one recipient. Raises Unavailable."""

    async def draft(self, order: Order, destinations: Sequence[Address], locks: Mapping[str, Lock]) -> Draft: ...
