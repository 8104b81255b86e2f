"""May mail be sent to this contact? Test f of spec section 4.2."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mailrelay.core import verp
from mailrelay.core.address import Address, Reverse, classify, is_opaque_reverse, split_extension
from mailrelay.core.bans import BanBook, BanId
from mailrelay.core.facts import Reason
from mailrelay.core.lookup import Answer, Mx
from mailrelay.core.realm import Nested, Realm, ServiceDomain
from mailrelay.core.screen import is_operator
from mailrelay.core.selfmail import same_mailbox
from mailrelay.core.sending.facts import SendingFacts

Reach = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Objection:
    """Why not. reply: its key; words: of the contact's server, '' for none."""

    reply: str
    reason: Reason
    ban_id: BanId | None = None
    words: str = ""


def domain_to_ask(contact: Address | None, realm: Realm) -> str | None:
    """The domain that DNS must know, None if there is nothing to ask: of our own domains we know ourselves."""
    if contact is None or "." not in contact.domain or realm.locate(contact.domain) is not None:
        return None
    return contact.domain


def needs_addresses(mx: Answer | None) -> bool:
    """True if A and AAAA decide, as the domain is there without MX records (RFC 5321 section 5.1)."""
    return mx is not None and mx.exists and not mx.records


def reach(mx: Answer | None, addresses: Sequence[Answer | None] = ()) -> Reach:
    """Does a domain take mail?

    mx: the answer for MX; addresses: those for A and AAAA, asked if `needs_addresses`. None: DNS did not answer, which
    speaks against nobody. A null MX (RFC 7505) says no, whatever addresses there are.
    """
    if mx is None:
        return "unknown"
    if mx.records:
        return "yes" if any(isinstance(one, Mx) and one.host for one in mx.records) else "no"
    if any(answer is not None and answer.records for answer in addresses):
        return "yes"
    return "unknown" if None in addresses else "no"


def objection(
    contact: Address | None,
    alias: Address,
    facts: SendingFacts,
    realm: Realm,
    bans: BanBook,
    reached: Reach,
    now: datetime,
) -> Objection | None:
    """What speaks against a contact, None if nothing does.

    contact: None if it cannot be read. alias: folded, without extension. reached: of the contact's domain, `unknown`
    where nobody asked.
    """
    if contact is None or "." not in contact.domain:
        return Objection("BADCONTACT", Reason.BAD_CONTACT)
    ban = bans.mailbox(str(contact), "destination", now)
    if ban is not None:
        return Objection("NOCONTACT", Reason.DESTINATION_BANNED, ban.id)
    if any(one.verified and same_mailbox(contact, one.address) for one in facts.mailboxes):
        return Objection("NOCONTACT", Reason.OWN_CONTACT)
    found = _ours(contact, alias, realm)
    if found is not None:
        return found
    if reached == "no":
        return Objection("BADCONTACT", Reason.BAD_CONTACT)
    if facts.suppressed_until is not None and now < facts.suppressed_until:
        return Objection("NOCONTACT", Reason.CONTACT_SUPPRESSED, words=facts.suppressed_reason)
    return None


def _ours(contact: Address, alias: Address, realm: Realm) -> Objection | None:
    """Spec section 9.5: other aliases are contacts like others, this one and what only copies carry are not."""
    place = realm.locate(contact.domain)
    if place is None or is_operator(contact, place):
        return None
    if isinstance(place, ServiceDomain | Nested):  # also return paths and SRS addresses: no mailbox is there
        return Objection("BADCONTACT", Reason.BAD_CONTACT)
    base, extension = split_extension(contact.local)
    is_reverse = extension is not None and isinstance(classify(extension), Reverse)
    is_return_path = verp.decode(contact.local, contact.domain, (), 0) is not None
    if Address(base, contact.domain) == alias or is_reverse or is_opaque_reverse(contact.local) or is_return_path:
        return Objection("NOCONTACT", Reason.OWN_CONTACT)
    return None
