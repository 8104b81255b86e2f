"""What delivery decided about one recipient, for whoever makes its copies."""

from dataclasses import dataclass

from mailrelay.core.address import Address
from mailrelay.core.background import Background
from mailrelay.core.banner import Danger
from mailrelay.core.facts import AccountId, Alias, Facts
from mailrelay.core.ledger import Envelope
from mailrelay.core.realm import Place
from mailrelay.flows.letter import Letter


@dataclass(frozen=True, slots=True)
class Order:
    """A recipient whose copies are wanted.

    rcpt: as addressed, with its extension. facts: with account and alias. warning: about what the reader is to be
    warned. new_message_id: the author is the only recipient (spec section 9.4). resend: it was held or failed before.
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
