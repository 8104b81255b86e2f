"""Who wrote a message, as far as its fields can be read without trusting them."""

from mailrelay.core.address import Address
from mailrelay.core.header import Message
from mailrelay.core.mailbox import MAX_AUTHORS, Mailbox, address_of, first_address, mailboxes

_VALUE_LIMIT = 8192


def author(message: Message) -> Address | None:
    """The first address of the From field, read leniently: display names may hold anything (spec section 3.4)."""
    value = message.first(b"from")
    return first_address(value[:_VALUE_LIMIT]) if value is not None else None


def speaker(message: Message, sender: str) -> Mailbox:
    """Whom a reply is for: the author, else who is in the Sender field, else the envelope sender (spec section 3.1).

    sender: of the envelope, without brackets; '' is the null sender. The name is that of the From field in any case;
    address None: nobody.
    """
    value = message.first(b"from") or b""
    found = [one for one in mailboxes(value[:_VALUE_LIMIT], limit=MAX_AUTHORS) if isinstance(one, Mailbox)]
    for mailbox in found:
        if mailbox.address is not None:
            return mailbox
    name = found[0].name if found else ""
    address = first_address((message.first(b"sender") or b"")[:_VALUE_LIMIT])
    if address is None:
        address = address_of(sender.encode("utf-8", "surrogateescape"))
    return Mailbox(name, address, b"")
