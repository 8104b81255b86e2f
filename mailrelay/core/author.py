"""Who wrote a message, as far as its fields can be read without trusting them."""

from mailrelay.core.address import Address
from mailrelay.core.header import Message
from mailrelay.core.mailbox import MAX_AUTHORS, Mailbox, address_of, first_address, mailboxes

VALUE_OCTETS = 8192  # longer ones name no author


def from_values(message: Message) -> list[bytes]:
    """The From fields as every part of us reads them: unfolded, and up to a NUL, behind which milters see nothing.

    Whom the milter judged and whom a copy names must be the same: nobody reads From in another way.
    """
    return [value.partition(b"\0")[0] for value in message.values(b"from")]


def author(message: Message) -> Address | None:
    """The first address of the From field, read leniently: display names may hold anything (spec section 3.4)."""
    values = from_values(message)
    return first_address(values[0][:VALUE_OCTETS]) if values else None


def speaker(message: Message, sender: str) -> Mailbox:
    """Whom a reply is for: the author, else who is in the Sender field, else the envelope sender (spec section 3.1).

    sender: of the envelope, without brackets; '' is the null sender, under which a Sender field proves nothing. The
    name is that of the From field in any case; address None: nobody.
    """
    value = (from_values(message) or [b""])[0]
    found = [one for one in mailboxes(value[:VALUE_OCTETS], limit=MAX_AUTHORS) if isinstance(one, Mailbox)]
    for mailbox in found:
        if mailbox.address is not None:
            return mailbox
    name = found[0].name if found else ""
    address = first_address((message.first(b"sender") or b"")[:VALUE_OCTETS]) if sender else None
    if address is None:
        address = address_of(sender.encode("utf-8", "surrogateescape"))
    return Mailbox(name, address, b"")
