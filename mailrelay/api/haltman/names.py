"""Addresses, names, codes and keys as requests spell them (haltman-api.md section 1.2).

Each takes whatever a request holds and gives the normalised text, or None for what is not well-formed.
"""

import re
from ipaddress import ip_address

from mailrelay.core.address import MAX_ADDRESS_OCTETS, Address

_ATEXT = r"[a-z0-9!#$%&'*+/=?^_`{|}~\-]+"
_LOCAL = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*")
_LABEL = r"[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+[a-z]{{2,63}}")
_TARGET = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._\-]{1,62}[a-z0-9]")
_CODE = re.compile(r"[0-9]{6}")
_KEY = re.compile(r"[a-z0-9]{64}")

MAX_LOCAL = 64
MAX_DOMAIN = 253


def trimmed(value: object) -> str:
    """Lower case without surrounding space; '' for what is no text."""
    return value.strip().lower() if isinstance(value, str) else ""


def local_part(value: object) -> str | None:
    """A dot-atom of at most 64 characters."""
    text = trimmed(value)
    return text if len(text) <= MAX_LOCAL and _LOCAL.fullmatch(text) else None


def mail_domain(value: object) -> str | None:
    """A domain of at least two labels, the last one of letters."""
    text = trimmed(value)
    return text if len(text) <= MAX_DOMAIN and _DOMAIN.fullmatch(text) else None


def mailbox(value: object) -> Address | None:
    """A full address, lower case."""
    local, at, domain = trimmed(value).partition("@")
    if not at or len(local) + 1 + len(domain) > MAX_ADDRESS_OCTETS:
        return None
    if local_part(local) != local or mail_domain(domain) != domain:
        return None
    return Address(local, domain)


def dns_target(value: object) -> str | None:
    """A host name without dots at its end, and no IP address."""
    text = trimmed(value).rstrip(".")
    if not 1 <= len(text) <= MAX_DOMAIN or _TARGET.fullmatch(text) is None:
        return None
    try:
        ip_address(text)
    except ValueError:
        return text
    return None


def username(value: object) -> str | None:
    """Three to 64 letters, digits, dots, underscores and hyphens, a letter or digit at both ends."""
    text = trimmed(value)
    return text if _USERNAME.fullmatch(text) else None


def code(value: object) -> str | None:
    """Six ASCII digits."""
    text = value.strip() if isinstance(value, str) else ""
    return text if _CODE.fullmatch(text) else None


def api_key(value: object) -> str | None:
    """64 letters and digits."""
    text = trimmed(value)
    return text if _KEY.fullmatch(text) else None
