"""The zone file of the sandbox: who lives in `.example`, and the keys they publish."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

SELECTOR = "sandbox"  # of the keys that the sandbox's own domains sign with
_DKIM_MARK = "; The product's public keys. The quick start writes everything below this line.\n"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A domain of the outside world that sends mail."""

    domain: str
    address: str  # it sends from here, and its SPF record says so
    signs: bool = False
    dmarc: str = ""  # its policy; empty: it publishes none


NEIGHBOURS = (
    Neighbour("shop.example", "127.0.0.11", signs=True, dmarc="reject"),
    Neighbour("plain.example", "127.0.0.12"),
    Neighbour("inbox.example", "127.0.0.13", signs=True, dmarc="reject"),
)
ANYBODY = "127.0.0.19"  # sends for all other domains and is in nobody's SPF record

_HEAD = """\
; The sandbox's part of the world. Edit it, then run `tools/quickstart reload-dns`.
$ORIGIN example.
$TTL 60
@ IN SOA ns.example. hostmaster.example. 1 3600 600 86400 60
@ IN NS ns.example.
ns IN A 127.0.0.1

; The service: its host, its own domain, the domains of its return paths, the shared alias domain, a custom domain, and
; one that may not be used for sending, as it lacks a record.
mx.relay IN A 127.0.0.1
"""
_OURS = ("relay", "bounces.relay", "srs.relay", "alias", "*.alias", "own", "unsent")


def zone_text(keys: Path) -> str:
    """The zone of a new sandbox. keys: folder with DOMAIN.pem for each neighbour that signs."""
    lines = [_HEAD]
    for name in _OURS:
        lines.append(f"{name} IN MX 10 mx.relay.example.\n")
        lines.append(f'{name} IN TXT "v=spf1 a:mx.relay.example -all"\n')
        if name not in ("*.alias", "unsent"):
            lines.append(f'_dmarc.{name} IN TXT "v=DMARC1; p=none"\n')
    lines.append("\n; The neighbours.\n")
    for neighbour in NEIGHBOURS:
        lines += _neighbour(neighbour, keys)
    return "".join(lines) + "\n" + _DKIM_MARK


def _neighbour(neighbour: Neighbour, keys: Path) -> Iterator[str]:
    name = neighbour.domain.removesuffix(".example")
    yield f"{name} IN MX 10 mx.{neighbour.domain}.\n"
    yield f"mx.{name} IN A {neighbour.address}\n"
    yield f'{name} IN TXT "v=spf1 ip4:{neighbour.address} -all"\n'
    if neighbour.dmarc:
        yield f'_dmarc.{name} IN TXT "v=DMARC1; p={neighbour.dmarc}"\n'
    if neighbour.signs:
        yield _key_line(f"{SELECTOR}._domainkey.{neighbour.domain}.", keys / f"{neighbour.domain}.pem")


def with_product_keys(text: str, dkim: Path) -> str:
    """The zone with one record per key in the product's folder (DOMAIN/SELECTOR.pem) below the mark."""
    kept = text.partition(_DKIM_MARK)[0]
    records = [_key_line(f"{path.stem}._domainkey.{path.parent.name}.", path) for path in sorted(dkim.glob("*/*.pem"))]
    return kept + _DKIM_MARK + "".join(records)


def with_records(text: str, records: str) -> str:
    """The zone with more records in front of the product's keys. records: lines, their names relative to `.example`."""
    kept, mark, keys = text.partition(_DKIM_MARK)
    return f"{kept.rstrip()}\n{records.strip()}\n\n{mark}{keys}"


def _key_line(owner: str, pem: Path) -> str:
    return f"{owner} IN TXT {_strings(dkim_record(pem))}\n"


def dkim_record(pem: Path) -> str:
    """The TXT record (RFC 6376 section 3.6.1, RFC 8463 section 4) for a private key file."""
    key = serialization.load_pem_private_key(pem.read_bytes(), password=None)
    if isinstance(key, rsa.RSAPrivateKey):
        kind = "rsa"
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        kind = "ed25519"
        public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    else:
        raise TypeError(f"{pem} is neither an RSA nor an Ed25519 key")
    return f"v=DKIM1; k={kind}; p={base64.b64encode(public).decode()}"


def _strings(text: str) -> str:
    """A TXT record's value in the quoted strings of at most 255 octets that it consists of."""
    return " ".join(f'"{text[at : at + 250]}"' for at in range(0, len(text), 250))


def create_keys(keys: Path) -> None:
    """Make the private keys of the neighbours that sign, where they are missing."""
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    for neighbour in NEIGHBOURS:
        path = keys / f"{neighbour.domain}.pem"
        if neighbour.signs and not path.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            path.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            path.chmod(0o600)
