"""Mail that a login writes to others in the name of an alias: whose it is, and the way it takes through us.

Its recipients elsewhere become reverse addresses of the alias, so that it is a send like any other (spec section 4).
"""

from collections.abc import Iterable

from mailrelay.core.address import (
    MAX_ADDRESS_OCTETS,
    Address,
    BadAddress,
    Reverse,
    classify,
    is_opaque_reverse,
    parse_address,
    split_extension,
)
from mailrelay.core.author import VALUE_OCTETS
from mailrelay.core.mailbox import MAX_AUTHORS, Mailbox, address_of, mailboxes
from mailrelay.core.realm import Realm, ServiceDomain
from mailrelay.core.reverse import reverse
from mailrelay.core.screen import is_operator


def is_in_our_name(sender: str, from_values: Iterable[bytes], realm: Realm) -> bool:
    """Whether a message names an address as sender or author that only an alias' owner may use.

    sender: of the envelope; from_values: of all From fields. The operator's addresses are the host's affair.
    """
    envelope = address_of(sender.encode("utf-8", "surrogateescape"))
    named = [one for value in from_values for one in mailboxes(value[:VALUE_OCTETS], limit=MAX_AUTHORS)]
    authors = [one.address for one in named if isinstance(one, Mailbox)]
    return any(one is not None and _is_alias_like(one, realm) for one in (envelope, *authors))


def _is_alias_like(address: Address, realm: Realm) -> bool:
    place = realm.locate(address.domain)
    return place is not None and not isinstance(place, ServiceDomain) and not is_operator(address, place)


def alias_of(author: Address | None, realm: Realm) -> Address | None:
    """The alias that an author would be, without extension; None if it can be none."""
    if author is None or not _is_alias_like(author, realm) or is_opaque_reverse(author.local):
        return None
    base, extension = split_extension(author.local)
    if extension and isinstance(classify(extension), Reverse):
        return None
    return Address(base, author.domain)


def way(alias: Address, rcpt: str, command: str) -> Address | None:
    """The reverse address that leads to a recipient elsewhere; None if none does.

    rcpt: as Postfix understands it, in lower case; command: as the client wrote it. Where that is another address
    Postfix could not be told to leave the recipient out. It may be longer than the addresses that people get to see.
    """
    try:
        contact = parse_address(command)
        if contact.folded != parse_address(rcpt).folded:
            return None
    except BadAddress:
        return None
    found = reverse(alias, contact)
    is_short = len(str(found)) <= MAX_ADDRESS_OCTETS
    leads_there = found.local.isascii() and classify(found.local.partition("+")[2]) == Reverse(contact)
    return found if is_short and leads_there else None
