"""Proof that an account owns a domain: a text that only whoever runs its DNS can publish there (addy.io API, E25)."""

import hmac
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256

from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId

PREFIX = "aa-verify="
_DIGITS = 40
# The last label is no single letter; without that, and in all other labels, as the data model has it.
_NAME = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9][a-z0-9-]{0,61}[a-z0-9]")


def custom_name(text: str) -> str:
    """Fold the name of a domain that somebody wants to bring here. Raises Malformed.

    International names are A-labels here: what people see and what DNS has must not be two things.
    """
    name = text.lower() if text.isascii() else ""
    if not 4 <= len(name) <= 253 or _NAME.fullmatch(name) is None:
        raise Malformed(f"{text!r} is no domain name")
    return name


def proof(key: bytes, account: AccountId, domain: str) -> str:
    """What an account publishes as a TXT record at a folded domain. It is the same whenever it is asked for."""
    said = f"domain ownership\0{account}\0{domain}".encode()
    return PREFIX + hmac.new(key, said, sha256).hexdigest()[:_DIGITS]


def proves(texts: Iterable[bytes], keys: Sequence[bytes], account: AccountId, domain: str) -> bool:
    """True if one of the TXT records at a domain, each with its strings joined, is the proof under one of the keys."""
    published = {text.strip() for text in texts}
    return any(proof(key, account, domain).encode("ascii") in published for key in keys)
