"""DKIM signatures for what leaves: RFC 6376 with RSA-SHA256, RFC 8463 with Ed25519-SHA256.

Canonicalisation is relaxed/relaxed, without `l=` and `i=`; what must not be added later is oversigned (spec
section 11.6). The body is hashed once, however many copies and keys there are. `canonical` and `signed_field` also
serve ARC, whose signatures differ in what they cover only.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from mailrelay.core.errors import Malformed
from mailrelay.core.header import Field

Algorithm = Literal["rsa-sha256", "ed25519-sha256"]

LIFETIME_SECONDS = 7 * 86400

# Named once more than present, so that nobody can add one. The order is that of spec section 3.16.
_OVERSIGNED = (
    b"from",
    b"reply-to",
    b"subject",
    b"date",
    b"to",
    b"cc",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"sender",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"feedback-id",
    b"auto-submitted",
)
# Named as often as present; the fields of each Resent block, too.
_SIGNED = frozenset(
    b"list-id list-help list-post list-owner list-archive list-subscribe content-id content-description "
    b"resent-date resent-from resent-sender resent-to resent-cc resent-message-id resent-reply-to".split()
)
_LINE_OCTETS = 78
_MIN_RSA_BITS = 1024  # RFC 8301 section 3.2
_CHUNK_OCTETS = 1 << 16


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key and where its public half is published: `<selector>._domainkey.<domain>`."""

    domain: str
    selector: str
    algorithm: Algorithm
    private: RSAPrivateKey | Ed25519PrivateKey

    def __post_init__(self) -> None:
        if (self.algorithm == "rsa-sha256") != isinstance(self.private, RSAPrivateKey):
            raise ValueError(f"{self.selector}._domainkey.{self.domain}: the key is not for {self.algorithm}")


def load_pem(pem: bytes, domain: str, selector: str) -> SigningKey:
    """The key in a PEM file (PKCS #8 or PKCS #1, not encrypted); costs milliseconds, so keep it.

    Raises Malformed for another kind of key, one too short, or no PEM at all.
    """
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed("not an unencrypted private key in PEM form") from error
    match private:
        case Ed25519PrivateKey():
            return SigningKey(domain, selector, "ed25519-sha256", private)
        case RSAPrivateKey():
            if private.key_size < _MIN_RSA_BITS:
                raise Malformed(f"an RSA key of {private.key_size} bits is too short for DKIM")
            return SigningKey(domain, selector, "rsa-sha256", private)
        case _:
            raise Malformed("DKIM keys are RSA or Ed25519")


def body_hash(body: bytes) -> bytes:
    """SHA-256 of the relaxed body (RFC 6376 section 3.4.4), for `sign`.

    The body counts as it will arrive: with a line end at its end.
    """
    digest = hashlib.sha256()
    has_text = False
    line_ends = 0  # seen, but not hashed before text follows: empty lines at the end do not count
    for chunk in _whole_lines(body):
        text = _relax(chunk)
        end = _text_end(text)
        if end:
            digest.update(b"\r\n" * line_ends + text[:end])
            has_text = True
            line_ends = 0
        line_ends += (len(text) - end) // 2
    # A body without text hashes as nothing, any other has exactly one line end at its end.
    if has_text:
        digest.update(b"\r\n")
    return digest.digest()


def sign(fields: Sequence[Field], body_hash: bytes, keys: Sequence[SigningKey], now: int) -> tuple[bytes, ...]:
    """One DKIM-Signature field with CRLF for each key, RSA first, to be put above the others.

    fields: the header of the copy; what is added later on top must not be of the signed names.
    now: seconds since 1970; the signatures expire a week later.
    """
    names, covered = _cover(fields)
    ordered = sorted(keys, key=lambda key: key.algorithm != "rsa-sha256")
    return tuple(_signature(key, names, covered, b64encode(body_hash), now) for key in ordered)


def public_record(key: SigningKey) -> str:
    """The text of the TXT record that publishes a key; longer than one DNS string allows, see txt_strings."""
    public = key.private.public_key()
    if key.algorithm == "rsa-sha256":
        kind = "rsa"
        octets = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    else:
        kind = "ed25519"
        octets = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return f"v=DKIM1; k={kind}; p={b64encode(octets).decode('ascii')}"


def txt_strings(record: str) -> tuple[str, ...]:
    """An ASCII record in pieces of at most 255 octets, the strings of a TXT record (RFC 1035 section 3.3)."""
    return tuple(record[at : at + 255] for at in range(0, len(record), 255))


def canonical(name: bytes, raw: bytes) -> bytes:
    """A field in relaxed form (RFC 6376 section 3.4.2), without its line end. name: lower case; raw: all of it."""
    value = raw.partition(b":")[2].replace(b"\r\n", b"").replace(b"\n", b"")
    return name + b":" + _squeeze(value).strip(b" ")


def signed_field(key: SigningKey, name: bytes, lines: list[bytes], words: Iterable[bytes], covered: bytes) -> bytes:
    """A signature field with its CRLF, folded at 78 octets; the value of `b=` is put behind its last word.

    name: lower case; lines: how the field begins, the last of them to be continued; words: the rest of it, each with
    the space before it, up to and with ` b=`; covered: the canonical fields it signs, each with its CRLF.
    """
    *lines, line = lines
    for word in words:
        if len(line) + len(word) > _LINE_OCTETS:
            lines.append(line)
            line = b"\t" + word.lstrip(b" ")
        else:
            line += word
    lines.append(line)
    unsigned = b"\r\n".join(lines)
    # RFC 6376 section 3.7: the signature field itself comes last, with an empty b= and without its line end.
    value = b64encode(_sign(key.private, covered + canonical(name, unsigned)))
    room = max(_LINE_OCTETS - len(line), 0)
    rest = [value[at : at + _LINE_OCTETS - 1] for at in range(room, len(value), _LINE_OCTETS - 1)]
    return b"\r\n\t".join([unsigned + value[:room], *rest]) + b"\r\n"


def name_list(names: Sequence[bytes]) -> list[bytes]:
    """The names of a tag `h=` as words for `signed_field`, its semicolon included."""
    return [*(name + b":" for name in names[:-1]), names[-1] + b";"]


def _signature(key: SigningKey, names: Sequence[bytes], covered: bytes, hashed_body: bytes, now: int) -> bytes:
    start = f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain}; s={key.selector};"
    lines = [start.encode("ascii"), b"\tt=%d; x=%d; h=" % (now, now + LIFETIME_SECONDS)]
    words = [*name_list(names), b" bh=%b;" % hashed_body, b" b="]
    return signed_field(key, b"dkim-signature", lines, words, covered)


def _sign(private: RSAPrivateKey | Ed25519PrivateKey, data: bytes) -> bytes:
    if isinstance(private, RSAPrivateKey):
        return private.sign(data, PKCS1v15(), SHA256())
    return private.sign(hashlib.sha256(data).digest())  # RFC 8463 section 3


def _cover(fields: Sequence[Field]) -> tuple[list[bytes], bytes]:
    """The names of h= and the canonical fields they stand for."""
    present: dict[bytes, list[bytes]] = {}
    for field in fields:
        present.setdefault(field.name, []).append(field.raw)
    names: list[bytes] = []
    covered: list[bytes] = []
    for name in (*_OVERSIGNED, *(name for name in present if name in _SIGNED)):
        raws = present.get(name, [])
        names += [name] * (len(raws) + (name not in _SIGNED))
        # RFC 6376 section 5.4.2: several fields of a name are taken from the bottom.
        covered += [canonical(name, raw) + b"\r\n" for raw in reversed(raws)]
    return names, b"".join(covered)


def _squeeze(text: bytes) -> bytes:
    """Every run of spaces and tabs becomes one space."""
    text = text.replace(b"\t", b" ")
    # Halving runs costs a few passes at the speed of memory; a regular expression would stop at each space.
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text


def _relax(lines: bytes) -> bytes:
    return _squeeze(lines).replace(b" \r\n", b"\r\n")


def _whole_lines(body: bytes) -> Iterator[bytes]:
    """The body in pieces that end where lines do, the last line completed."""
    at = 0
    while at < len(body):
        line_end = body.find(b"\r\n", at + _CHUNK_OCTETS)
        if line_end < 0:
            last = body[at:]
            yield last if last.endswith(b"\r\n") else last + b"\r\n"
            return
        yield body[at : line_end + 2]
        at = line_end + 2


def _text_end(text: bytes) -> int:
    """Where the line ends at the end of `text` begin."""
    end = len(text)
    for run in (b"\r\n" * 4096, b"\r\n"):
        while text.endswith(run, 0, end):
            end -= len(run)
    return end
