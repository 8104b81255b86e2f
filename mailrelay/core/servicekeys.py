"""The service's own OpenPGP key in its generations: the first signs, those before it still decrypt (spec 6.7)."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mailrelay.core.errors import Malformed

# How long what was encrypted to an old key can still be read, from the day on which it was replaced.
DECRYPTS_FOR = timedelta(days=365)

_SECRET = "PGP PRIVATE KEY BLOCK"  # noqa: S105  # a label
_PUBLIC = "PGP PUBLIC KEY BLOCK"
_BLOCK = re.compile(
    rb"(?:#[ \t]*since[ \t]+(\S{1,40})[ \t]*\r?\n\s*)?"
    rb"(-----BEGIN PGP PRIVATE KEY BLOCK-----.*?-----END PGP PRIVATE KEY BLOCK-----[ \t]*\r?\n?)",
    re.DOTALL,
)
_POLYNOMIAL = 0x1864CFB  # CRC-24, RFC 9580 section 6.1.1
_LINE = 64


@dataclass(frozen=True, slots=True)
class Generation:
    """One of the keys. secret: armored. since: when it became the one that signs, None: somebody else put it there.

    until: how long it decrypts, None: no end is known.
    """

    secret: bytes = field(repr=False)
    since: datetime | None
    until: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """True if nobody needs it any more."""
        return self.until is not None and self.until <= now


def generations(content: bytes) -> tuple[Generation, ...]:
    """The keys of a file, the newest first: armored, each behind a line `# since <RFC 3339>`. Raises Malformed."""
    blocks = _BLOCK.findall(content)
    if not blocks or _BLOCK.sub(b"", content).strip():
        raise Malformed("must hold armored OpenPGP secret keys and nothing else")
    found: list[Generation] = []
    for since, secret in blocks:
        successor = found[-1].since if found else None
        found.append(Generation(secret, _moment(since), None if successor is None else successor + DECRYPTS_FOR))
    return tuple(found)


def written(known: Sequence[Generation]) -> bytes:
    """The content of the file."""
    return b"".join(
        (b"" if one.since is None else b"# since %b\n" % one.since.isoformat().encode("ascii"))
        + _armored(_SECRET, one.secret)
        for one in known
    )


def _moment(text: bytes) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.decode("ascii", "replace"))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def public_block(octets: bytes) -> bytes:
    """A public key in armor, if it is not yet."""
    return _armored(_PUBLIC, octets)


def _armored(label: str, octets: bytes) -> bytes:
    if octets.startswith(b"-----BEGIN "):
        return octets if octets.endswith(b"\n") else octets + b"\n"
    text = base64.b64encode(octets).decode("ascii")
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    check = base64.b64encode(_crc24(octets).to_bytes(3, "big")).decode("ascii")
    return "\n".join((f"-----BEGIN {label}-----", "", *lines, f"={check}", f"-----END {label}-----", "")).encode(
        "ascii"
    )


def _crc24(octets: bytes) -> int:
    found = 0xB704CE
    for octet in octets:
        found ^= octet << 16
        for _ in range(8):
            found = found << 1 ^ (_POLYNOMIAL if found & 0x800000 else 0)
    return found & 0xFFFFFF
