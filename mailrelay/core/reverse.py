"""Reverse addresses: `this contact through this alias`, as an address of ours (spec sections 1.6 and 1.7)."""

from collections.abc import Mapping
from typing import Literal

from mailrelay.core.address import MAX_ADDRESS_OCTETS, MAX_LOCAL_OCTETS, Address, Reverse, classify

ReverseStyle = Literal["plain", "opaque"]

OPAQUE_OCTETS = 10  # of randomness in an opaque address


def reverse(alias: Address, contact: Address) -> Address:
    """The plain form, which anybody can compute. Only if `needs_opaque` denies.

    alias: without extension, lower case. The contact's local part keeps its case.
    """
    return Address(f"{alias.local}+{contact.local}={contact.domain}", alias.domain)


def needs_opaque(alias: Address, contact: Address, style: ReverseStyle = "plain") -> bool:
    """True if the plain form would be too long, would not lead back to the contact, or is not what the owner chose."""
    plain = reverse(alias, contact)
    return (
        style == "opaque"
        or not plain.local.isascii()
        or len(plain.local) > MAX_LOCAL_OCTETS
        or len(plain.local) + 1 + len(plain.domain) > MAX_ADDRESS_OCTETS
        or classify(plain.local.partition("+")[2]) != Reverse(contact)
    )


def reverse_by(
    alias: Address, contact: Address, stored: Mapping[str, Address], style: ReverseStyle = "plain"
) -> Address | None:
    """The reverse address to write for a contact; None if it needs an opaque one and has none.

    stored: opaque reverse addresses by contact, as str() writes it.
    """
    return stored.get(str(contact)) if needs_opaque(alias, contact, style) else reverse(alias, contact)
