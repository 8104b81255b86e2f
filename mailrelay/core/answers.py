"""Automatic answers to what an owner wrote: they come to the return path, and go on to the alias (spec section 7.2)."""

from mailrelay.core.address import Address
from mailrelay.core.header import Message, edit, fold, split


def for_alias(message: Message, alias: Address) -> Message:
    """The message as if it had been written to the alias: To names it, and nobody is told to answer elsewhere.

    All else keeps its octets.
    """
    return split(edit(message, (b"to", b"cc", b"reply-to"), (fold("To", str(alias)),)))
