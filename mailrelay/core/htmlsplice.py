"""Where text can be put into foreign HTML without parsing and writing it anew (spec section 3.8).

Only markup that a browser would take for markup counts: not what stands in comments (conditional ones are such), in
attributes, or in elements whose content is text.
"""

import re
from collections.abc import Iterator

# What follows a tag's name, up to its `>`; a quote means something after `=` only. All possessive: linear time.
_ATTRIBUTES = rb"""(?:[^>=]++|=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>"'][^\s>]*+)?+)*+"""
# A tag as browsers read it, an element whose content is text with all of it, a comment or the like.
TOKEN = re.compile(
    rb"""<(?:
      !--[^>]*+(?:(?<!--)(?<!--!)>[^>]*+)*+>?+
    | (?:script(?=[\s/>]) %(attributes)b >?+ [^<]*+ (?:<(?!/script[\s/>])[^<]*+)*+
      |style(?=[\s/>]) %(attributes)b >?+ [^<]*+ (?:<(?!/style[\s/>])[^<]*+)*+
      |title(?=[\s/>]) %(attributes)b >?+ [^<]*+ (?:<(?!/title[\s/>])[^<]*+)*+
      |textarea(?=[\s/>]) %(attributes)b >?+ [^<]*+ (?:<(?!/textarea[\s/>])[^<]*+)*+
      |xmp(?=[\s/>]) %(attributes)b >?+ [^<]*+ (?:<(?!/xmp[\s/>])[^<]*+)*+
      |iframe(?=[\s/>]) %(attributes)b >?+ [^<]*+ (?:<(?!/iframe[\s/>])[^<]*+)*+)
    | (?P<open>body)(?=[\s/>]) %(attributes)b >
    | (?P<close>/body)(?=[\s/>]) %(attributes)b >?+
    | /?[a-z] %(attributes)b >?+
    | [!?/] [^>]*+ >?+
    )"""
    % {b"attributes": _ATTRIBUTES},
    re.IGNORECASE | re.VERBOSE,
)


def after_body_tag(html: bytes) -> int | None:
    """The offset behind the first `<body …>`; None if there is none.

    html: in a charset where ASCII octets mean themselves, see charset.view.
    """
    return next((found.end() for found in _tokens(html, "open")), None)


def before_body_end(html: bytes) -> int | None:
    """The offset of the last `</body>`; None if there is none. html: as above."""
    at = None
    for found in _tokens(html, "close"):
        at = found.start()
    return at


def _tokens(html: bytes, group: str) -> Iterator[re.Match[bytes]]:
    # Without the letters there is nothing to find, and long HTML without them is common (drafts of phones).
    if b"body" in html or b"body" in html.lower():
        for found in TOKEN.finditer(html):
            if found.lastgroup == group:
                yield found
