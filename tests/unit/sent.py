"""Bodies of replies for tests, and how they leave."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from mailrelay.core.address import Address, parse_address
from mailrelay.core.context import Contact, ContactId
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.header import split
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.openpgp import Removal
from mailrelay.core.sending.scrub import Edited, Scrubbing, edit

ALIAS = Address("a1", "alias.example")
HIDDEN = Hidden.of([parse_address("real@inbox.example"), parse_address("second@inbox2.example")], None, ALIAS)
OPAQUE = "r-abcdefghijklmnop@alias.example"
KEEP = Removal(keys=False, signatures=False)
ARMOR = (
    b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\nVersion: x\r\n\r\n%b\r\n=abcd\r\n-----END PGP PUBLIC KEY BLOCK-----\r\n"
)
KEY = ARMOR % b64encode(b"\x99\x01Real Name <real@inbox.example>")


def stored(alias: Address = ALIAS) -> Mapping[str, Contact]:
    return {OPAQUE: Contact(ContactId(1), AccountId(1), AliasId(1), alias, "help@shop.example", "Support Desk")}


def scrubbed(content: bytes, **settings: Any) -> Edited:
    return edit(split(content), Scrubbing(ALIAS, HIDDEN, "app.relay.example", **settings))


def leaf(text: bytes, kind: bytes = b"text/plain; charset=utf-8", more: bytes = b"") -> bytes:
    return b"Content-Type: " + kind + b"\r\n" + more + b"\r\n" + text


def multipart(*parts: bytes, kind: bytes = b"mixed", boundary: bytes = b"b1", params: bytes = b"") -> bytes:
    lines = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    head = b"Content-Type: multipart/%b; boundary=%b%b\r\n\r\n" % (kind, boundary, params)
    return head + lines + b"--%b--\r\n" % boundary


def said(text: bytes, kind: bytes = b"text/plain; charset=utf-8", **settings: Any) -> bytes:
    return scrubbed(leaf(text, kind), **settings).message.body
