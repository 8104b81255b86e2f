"""Deactivating an alias by mail to `<alias id>@unsubscribe.<shared domain>` (spec section 8.3)."""

import re
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.realm import Place, Subdomain

LABEL = "unsubscribe"  # no username may be that

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def is_unsubscribe(place: Place | None) -> bool:
    """Whether a domain is for nothing else."""
    return isinstance(place, Subdomain) and place.label == LABEL


def alias_named(rcpt: Address) -> UUID | None:
    """The alias that such an address names, None if it has another form."""
    return UUID(rcpt.local) if _UUID.fullmatch(rcpt.local) else None
