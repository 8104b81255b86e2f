"""ARC sets of a neighbour, made by another implementation than ours (dkimpy)."""

from pathlib import Path

import dkim

from tools.sandbox.zone import SELECTOR

_SIGNED = [b"from", b"to", b"subject", b"date", b"message-id"]


def sealed(
    content: bytes, keys: Path, *, results: str, domain: str = "inbox.example", validation: str = "none"
) -> bytes:
    """The message with one more set on top.

    keys: folder with DOMAIN.pem. results: what the sealer found, such as `dmarc=pass header.from=shop.example`;
    validation: what it says of the sets below, which decides about its cv=.
    """
    server = f"mx{content.count(b'ARC-Seal:')}.{domain}"  # dkimpy takes all fields of one server together
    found = f"Authentication-Results: {server}; arc={validation}; {results}\r\n".encode() + content
    key = (keys / f"{domain}.pem").read_bytes()
    fields = dkim.arc_sign(found, SELECTOR.encode(), domain.encode(), key, server.encode(), include_headers=_SIGNED)
    assert fields
    return b"".join(fields) + found
