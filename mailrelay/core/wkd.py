"""Where a mailbox' OpenPGP key is published: Web Key Directory (draft-koch-openpgp-webkey-service)."""

import hashlib

from mailrelay.core.address import Address

_ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769"  # z-base-32, RFC 6189 section 5.1.6
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_FOLDER = ".well-known/openpgpkey"


def advanced_host(domain: str) -> str:
    """The host that is asked first; where it exists, the domain itself is not asked."""
    return f"openpgpkey.{domain}"


def advanced_path(address: Address) -> str:
    """Of the host above, with the query."""
    return f"/{_FOLDER}/{address.domain}/hu/{hashed(address.local)}?l={_quoted(address.local)}"


def direct_path(address: Address) -> str:
    """Of the domain itself, with the query."""
    return f"/{_FOLDER}/hu/{hashed(address.local)}?l={_quoted(address.local)}"


def files(address: Address, key: bytes) -> dict[str, bytes]:
    """What a web server has to serve for one key, by path: for either method, and the policy of the provider.

    key: binary. The same folder may serve the domain and `openpgpkey.` before it.
    """
    found = {}
    for folder in (_FOLDER, f"{_FOLDER}/{address.domain}"):
        found[f"{folder}/hu/{hashed(address.local)}"] = key
        found[f"{folder}/policy"] = b""  # has to be there, may be empty
    return found


def hashed(local: str) -> str:
    """The name of a file: 32 characters for a local part, whose ASCII letters are folded."""
    folded = "".join(char.lower() if char.isascii() else char for char in local)
    digest = hashlib.sha1(folded.encode("utf-8", "replace"), usedforsecurity=False).digest()
    number = int.from_bytes(digest, "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(155, -1, -5))


def _quoted(text: str) -> str:
    return "".join(chr(octet) if octet in _PLAIN else f"%{octet:02X}" for octet in text.encode("utf-8", "replace"))
