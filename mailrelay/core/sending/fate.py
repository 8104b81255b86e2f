"""What becomes of mail to a reverse address: refused while its sender waits, or ended after that (spec 4.3)."""

from dataclasses import dataclass, replace

from mailrelay.core.facts import Reason
from mailrelay.core.sending.authorise import Allowed, Hurdle, Refusal, unproved
from mailrelay.core.sending.classify import Evidence, Stranger, Who


@dataclass(frozen=True, slots=True)
class Forward:
    """The author is a stranger: the alias is meant, the rest is a tag. tagged: at least the warning goes with it."""

    tagged: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Taken, and nothing sent."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Keep:
    """Taken, and kept until the owner confirms having written it."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Defer:
    """To be tried again."""

    refusal: Refusal


Fate = Allowed | Forward | Drop | Keep | Defer


def in_session(evidence: Evidence, who: Who, decision: Allowed | Refusal | None) -> Refusal | None:
    """What to refuse at end of message; None: delivery decides.

    decision: of `authorise` for the owner, None for a stranger. The answer to somebody who is not authenticated is the
    same whoever it claims to be, and so is that to automatic mail (rows 106 and 106a of section 12.4).
    """
    doubt = unproved(evidence, who)
    if doubt is not None:
        return doubt
    if isinstance(decision, Refusal) and decision.hurdle is not Hurdle.AUTOMATIC:
        # The owner's own mail program tells what is wrong with a contact.
        return replace(decision, notice=None) if decision.hurdle is Hurdle.CONTACT else decision
    return None


def at_delivery(
    evidence: Evidence, decision: Allowed | Refusal | None, *, stores_failed: bool, waited: bool = False
) -> Fate:
    """What to do with a message that was accepted: it is never refused.

    decision: as above. stores_failed: the account keeps failed deliveries. waited: it has been deferred as long as can
    be, so that Postfix would soon give up and bounce to whoever is said to have written (invariant I4).
    """
    if decision is None:
        doubt = unproved(evidence, Stranger())
        # DNS trouble is no result for what is only forwarded, nor is it one that nobody looked.
        return Forward(tagged=doubt is not None and doubt.check != "" and evidence.findings is not None)
    if isinstance(decision, Allowed):
        return decision
    if _is_temporary(decision) and not waited:
        return Defer(decision)
    if decision.hurdle is Hurdle.AUTHENTICATED and stores_failed:
        return Keep(decision)
    return Drop(decision)


def _is_temporary(refusal: Refusal) -> bool:
    return refusal.reply in ("AUTHLATER", "SENDLIMIT_LATER") or refusal.reason is Reason.NEW_ALIAS_LIMIT
