"""Texts that consist of header fields: what receipts and bounces tell programs, and headers that bounces return.

They name mailboxes and hosts on the way there, of which no contact is to learn (RFC 3464, RFC 8098, RFC 5965).
"""

import re
from collections.abc import Callable

STATUSES = frozenset(
    {
        b"message/disposition-notification",
        b"message/global-disposition-notification",
        b"message/delivery-status",
        b"message/global-delivery-status",
        b"message/feedback-report",
        b"message/tracking-status",
    }
)
HEADERS = frozenset({b"text/rfc822-headers", b"message/global-headers"})
# They name a program, or the computer that it runs on.
TELLTALE = frozenset({b"reporting-ua", b"user-agent", b"final-log-id", b"mdn-gateway"})

# A field with its continuations, as long as there is one; other lines belong to none.
_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:[^\n]*+\n?+(?:[ \t][^\n]*+\n?+)*+", re.MULTILINE)


def changed(text: bytes, change: Callable[[bytes, bytes], bytes]) -> bytes:
    """The text with other fields; all other octets stay.

    change: gets the name in lower case and the field with its line ends, and tells what stands there instead.
    """
    return _FIELD.sub(lambda found: change(found[1].lower(), found[0]), text)
