"""Whether a reply or send would show its owner, asked while its author can mend it (spec sections 4.8 and 4.9)."""

from dataclasses import dataclass

from mailrelay.core.address import Address
from mailrelay.core.header import Message
from mailrelay.core.notices import Notice
from mailrelay.core.plan import Mail
from mailrelay.core.realm import Place
from mailrelay.core.rules.model import Flow
from mailrelay.core.sending import told
from mailrelay.core.sending.authorise import Allowed
from mailrelay.core.sending.leaks import Verdict, may_be_refused
from mailrelay.core.verp import EmailType
from mailrelay.flows.clearance import Cleared
from mailrelay.flows.correspondence import Errand
from mailrelay.flows.letter import open_letter
from mailrelay.flows.ports import Clock
from mailrelay.flows.ruling import Ruling
from mailrelay.flows.sending import Compose


@dataclass(frozen=True, slots=True)
class LeakTest:
    """Makes the message as delivery would, and looks at what is left in it."""

    ruling: Ruling
    composer: Compose
    clock: Clock

    async def __call__(
        self, mail: Mail, message: Message, rcpt: Address, place: Place, cleared: Cleared
    ) -> Notice | None:
        """What to tell its author if it is to be refused, None if it may pass. Raises Unavailable.

        What is undecided is left to delivery.

        mail: as it came; message: the same, parsed. cleared: what is known of the one recipient.
        """
        allowed, alias = cleared.decision, cleared.facts.alias
        if not isinstance(allowed, Allowed) or alias is None:
            return None
        if not may_be_refused(message, cleared.sending.manner.leak_policy):
            return None
        letter = await open_letter(mail, self.clock())
        flow: Flow = "R" if allowed.kind is EmailType.REPLY else "S"
        account_id, speaker = cleared.sending.account_id, str(allowed.mailbox.address)
        effects = await self.ruling.ask(account_id, flow, message, speaker, cleared.aim.alias, alias)
        if effects.block is not None or effects.quarantine is not None:
            return None
        errand = Errand(letter, place, alias, cleared.aim.alias, cleared.contact, cleared.sending, allowed, effects)
        outbound = await self.composer.compose(errand)
        if outbound.verdict is not Verdict.REFUSE:
            return None
        leaks, exposed, mailbox = outbound.leaks, outbound.exposed, allowed.mailbox
        return told.of_leaks(leaks, exposed, cleared.aim.alias, account_id, mailbox.id, None, refused=True)
