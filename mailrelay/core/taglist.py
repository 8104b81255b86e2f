"""Lists of `tag=value;` as DKIM, ARC and their key records write them (RFC 6376 section 3.2)."""

import re
from collections.abc import Mapping

_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_BLANKS = b" \t\r\n"


def tags(text: bytes) -> Mapping[bytes, bytes] | None:
    """Values by tag, without white space around them; None for what is no such list, or names a tag twice.

    Tags are case-sensitive. Empty pieces between semicolons are let pass.
    """
    found: dict[bytes, bytes] = {}
    for piece in text.split(b";"):
        name, equals, value = piece.partition(b"=")
        name = name.strip(_BLANKS)
        if not name and not equals:
            continue
        if not equals or name in found or _NAME.fullmatch(name) is None:
            return None
        found[name] = value.strip(_BLANKS)
    return found
