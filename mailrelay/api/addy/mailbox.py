"""Rules for what should be an address (addy-api.md sections 1.10 and 3.7)."""

import re
from typing import Final

from email_validator import EmailNotValidError, validate_email

from mailrelay.api.addy.checks import Rule
from mailrelay.api.addy.php import Value
from mailrelay.core.address import parse_address
from mailrelay.core.errors import Malformed

MAX_CHARACTERS = 254
BAD_MAILBOX: Final = "The {a} must be a valid email address."
_LONG = re.compile(r"[^\s@]+@[^\s@]*[^\s@.]")

ASCII: Final = Rule(
    lambda value: isinstance(value, str) and value.isascii(),
    "The {a} field must only contain single-byte alphanumeric characters and symbols.",
)


def is_mailbox(value: Value) -> bool:
    """An address that a mailbox of somebody may have: in ASCII, with a domain that the world could know."""
    if not isinstance(value, str):
        return False
    if len(value) > MAX_CHARACTERS:
        # It looks right otherwise: that it is too long is for another rule to say.
        return _LONG.fullmatch(value) is not None and "." in value.rpartition("@")[2]
    try:
        validate_email(value, allow_smtputf8=False, allow_quoted_local=True, strict=True, check_deliverability=False)
        parse_address(value)
    except (EmailNotValidError, Malformed):
        return False
    return True


MAILBOX: Final = Rule(is_mailbox, BAD_MAILBOX, {"format": "email"})
