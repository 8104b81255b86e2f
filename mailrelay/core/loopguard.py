"""The guard against loops through systems that strip our marks: how often has this message been here?

Spec section 9.2: the same message for the same alias for the 5th time within 24 hours is a loop. Section 9.5: mail
whose author is a return path or reverse address of ours comes from a forwarder that sent our copy back; it passes once.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from mailrelay.core import verp
from mailrelay.core.address import Address, Reverse, classify, is_opaque_reverse, split_extension
from mailrelay.core.facts import Reason, Target
from mailrelay.core.header import Message
from mailrelay.core.judge import Deliver, Deny, Verdict
from mailrelay.core.realm import Realm, ServiceDomain

WITHIN = timedelta(hours=24)
MAX_ARRIVALS = 4
MAX_ARRIVALS_OF_RETURNED = 1


def fingerprint(message: Message, author: Address | None, *, returned: bool) -> int:
    """A signed 64-bit number that is equal for arrivals of one message, whichever hosts it has passed.

    It stands for Message-ID and author, or without Message-ID for Date, author, Subject and the size of the body.
    returned: see is_returned; the author of such mail changes each time round, so that only its Message-ID counts.
    """
    message_id = message.first(b"message-id")
    if message_id:
        parts = [b"id", message_id]
    else:
        size_octets = len(message.content) - message.body_start
        parts = [b"none", message.first(b"date") or b"", message.first(b"subject") or b"", b"%d" % size_octets]
    if returned:
        parts.append(b"returned")
    elif author is not None:
        parts.append(author.folded.encode("utf-8", "surrogateescape"))
    else:
        parts.append(b"?" + (message.first(b"from") or b""))
    covered = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    return int.from_bytes(hashlib.sha256(covered).digest()[:8], "big", signed=True)


def is_repeated(arrivals: int, *, returned: bool) -> bool:
    """True if this arrival is one too many. arrivals: earlier ones at the same alias, not counting retries."""
    return arrivals >= (MAX_ARRIVALS_OF_RETURNED if returned else MAX_ARRIVALS)


def elsewhere(targets: Sequence[Target], realm: Realm) -> tuple[Target, ...]:
    """The targets less those at domains that are served here: their mail would come back to us (spec section 9.5).

    Such a recipient cannot be added, but its domain may have become ours later. The rest is skipped and recorded.
    """
    return tuple(target for target in targets if realm.locate(target.address.domain) is None)


def within_reach(verdict: Verdict, realm: Realm) -> Verdict:
    """The verdict, but that nobody is ready where every target is at a domain that is served here (spec section 9.5).

    Its sender keeps the mail until an owner mends that. Delivery finds out by itself what is left of the targets.
    """
    if isinstance(verdict, Deliver) and not elsewhere(verdict.targets, realm):
        return Deny("NOTREADY", Reason.OWN_DOMAIN)
    return verdict


def is_returned(author: Address | None, realm: Realm, verp_keys: Sequence[bytes], today: int) -> bool:
    """True if the author is an address that only our copies carry: a reverse address or a return path of ours.

    Ask it about mail from outside only: what we inject for another alias of ours (route `internal`) may have one.
    today: days since 1970-01-01, UTC.
    """
    place = realm.locate(author.domain) if author is not None else None
    if author is None or place is None:
        return False
    if is_opaque_reverse(author.local):
        return True
    path = verp.decode(author.local, author.domain, verp_keys, today)
    if path is not None:
        return path is not verp.Invalid.FORGED
    extension = split_extension(author.local)[1]
    return not isinstance(place, ServiceDomain) and extension is not None and isinstance(classify(extension), Reverse)
