"""May mail go where a verdict sends it? What our own domains and bans say (haltman-api.md section 6.6)."""

from collections.abc import Callable, Sequence
from datetime import datetime

from mailrelay.core.address import Address
from mailrelay.core.bans import Ban, BanBook
from mailrelay.core.facts import Reason
from mailrelay.core.judge import Deliver, Deny, Verdict
from mailrelay.core.lookup import Answer, Mx
from mailrelay.core.loopguard import elsewhere, within_reach
from mailrelay.core.realm import Realm

# The hosts that take a domain's mail, folded, as far as that is known without asking anybody.
Exchangers = Callable[[str], Sequence[str]]


def unknown(domain: str, /) -> tuple[str, ...]:
    """Where bans do not apply to MX hosts."""
    return ()


def hosts_of(answer: Answer) -> tuple[str, ...]:
    """The hosts that an answer for MX names. Without any a domain takes its mail itself (RFC 5321 section 5.1)."""
    return tuple(one.host for one in answer.records if isinstance(one, Mx) and one.host)


def destination_ban(address: Address, bans: BanBook, now: datetime, exchangers: Exchangers = unknown) -> Ban | None:
    """The ban that hits a mailbox, its domain, a parent domain, or a host that takes its mail."""
    found = bans.mailbox(address.folded, "destination", now)
    if found is not None:
        return found
    hits = (bans.domain(host, "destination", now) for host in exchangers(address.domain))
    return next((hit for hit in hits if hit is not None), None)


def deliverable(
    verdict: Verdict, realm: Realm, bans: BanBook, now: datetime, exchangers: Exchangers = unknown
) -> Verdict:
    """The verdict, but no where nobody is left who could get it: see within_reach, and banned mailboxes.

    A sender who still waits for an answer hears that now; delivery finds out by itself what is left of the targets.
    """
    reached = within_reach(verdict, realm)
    if not isinstance(reached, Deliver):
        return reached
    hits = [destination_ban(one.address, bans, now, exchangers) for one in elsewhere(reached.targets, realm)]
    first = hits[0]
    if first is None or None in hits:
        return reached
    return Deny("NODELIVERY", Reason.DESTINATION_BANNED, ban_id=first.id)
