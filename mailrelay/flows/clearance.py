"""Mail to a reverse address: who writes, and may it go out? Asked at the end of a message, and again at delivery."""

from dataclasses import dataclass, replace
from typing import Protocol

from mailrelay.core.address import Address, is_opaque_reverse
from mailrelay.core.facts import Facts
from mailrelay.core.inquiry import inquire
from mailrelay.core.judge import Question
from mailrelay.core.realm import Custom, Place
from mailrelay.core.sending.authorise import Allowed, Attempt, Refusal, authorise
from mailrelay.core.sending.classify import Aim, Evidence, Owner, Who, classify, opaque_aim, plain_aim
from mailrelay.core.sending.contact import Reach, domain_to_ask, objection
from mailrelay.core.sending.facts import SendingFacts, SendingInquiry
from mailrelay.flows.ports import Clock, ReadFacts, ReadSending
from mailrelay.flows.rules import Rules


class AskReach(Protocol):
    """Whether a domain takes mail. Never raises."""

    async def __call__(self, domain: str, /) -> Reach: ...


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was found out. facts: of the alias; decision: None for strangers."""

    aim: Aim
    facts: Facts
    sending: SendingFacts
    who: Who
    decision: Allowed | Refusal | None

    @property
    def is_login(self) -> bool:
        """Whether whoever writes has signed in as a recipient of the account."""
        return isinstance(self.who, Owner) and self.who.by_login

    @property
    def contact(self) -> Address:
        """Whom an allowed message is for."""
        assert self.aim.contact is not None  # authorise has seen to it
        return self.aim.contact


def is_reverse(rcpt: Address) -> bool:
    """Whether an address has the form of a reverse address, plain or opaque."""
    return is_opaque_reverse(rcpt.local) or plain_aim(rcpt) is not None


@dataclass(frozen=True, slots=True)
class Clearance:
    """Asks for one recipient. Two round trips to the database, as for a forward."""

    rules: Rules
    read_facts: ReadFacts
    read_sending: ReadSending
    reach: AskReach
    clock: Clock

    async def __call__(
        self,
        rcpt: Address,
        place: Place,
        evidence: Evidence,
        client: str,
        *,
        together: int = 1,
        confirmed: bool = False,
    ) -> Cleared | None:
        """None: no account has that address. Raises Unavailable.

        together: how many recipients of the message there are to be cleared; confirmed: the owner vouches for it.
        """
        aim = plain_aim(rcpt)
        if aim is None:
            sending = await self.read_sending(SendingInquiry(opaque=rcpt))
            aim = opaque_aim(sending) if sending is not None else None
            facts = await self._facts(aim.alias, place, evidence, client) if aim is not None else Facts()
        else:
            facts = await self._facts(rcpt, place, evidence, client)
            sending = await self._plain(aim, facts)
        if aim is None or sending is None:
            return None
        who = classify(evidence, aim.alias, sending)
        decision = None
        if isinstance(who, Owner):
            decision = await self._decide(
                aim, place, evidence, who, facts, sending, together=together, confirmed=confirmed
            )
        return Cleared(aim, facts, sending, who, decision)

    async def _facts(self, rcpt: Address, place: Place, evidence: Evidence, client: str) -> Facts:
        author = str(evidence.author) if evidence.author is not None else ""
        organisation = self.rules.around.organisation
        return await self.read_facts(inquire(rcpt, place, evidence.sender, author, client, organisation))

    async def _plain(self, aim: Aim, facts: Facts) -> SendingFacts | None:
        if facts.account is None:
            return None
        alias_id = facts.alias.id if facts.alias is not None else None
        parent = facts.parent if facts.alias is None else None
        return await self.read_sending(SendingInquiry(facts.account.id, alias_id, parent, str(aim.contact)))

    async def _decide(
        self,
        aim: Aim,
        place: Place,
        evidence: Evidence,
        owner: Owner,
        facts: Facts,
        sending: SendingFacts,
        *,
        together: int,
        confirmed: bool,
    ) -> Allowed | Refusal:
        rules, now = self.rules, self.clock()
        question = Question(aim.alias.local, isinstance(place, Custom), reverse=True)
        attempt = Attempt(evidence, owner, facts, question, sending, together=together)
        decision = authorise(attempt, rules.sending_limits, rules.limits, now, confirmed=confirmed)
        if isinstance(decision, Refusal):
            # Whoever only claims to be the owner must not make us ask: who runs the contact's DNS would see it.
            return decision
        domain = domain_to_ask(aim.contact, rules.around.realm)
        reached: Reach = await self.reach(domain) if domain is not None else "unknown"
        objected = objection(aim.contact, aim.alias, sending, rules.around.realm, rules.around.bans, reached, now)
        attempt = replace(attempt, objection=objected)
        return authorise(attempt, rules.sending_limits, rules.limits, now, confirmed=confirmed)


async def unasked(domain: str, /) -> Reach:
    """Where nobody asks DNS: a contact that cannot be reached then comes back as a bounce."""
    return "unknown"
