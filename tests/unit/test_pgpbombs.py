"""Keys that were made to hurt, and keys that mail programs and editors went over: bounded time, the right reason."""

import random
import time
import tracemalloc
from base64 import b64encode
from collections.abc import Callable

import pytest
from pysequoia import CipherSuite, Tsk

from mailrelay.core.certificate import Certificate, Unusable
from mailrelay.core.pgpframing import MAX_PACKETS, Packet, packets
from mailrelay.core.pgppackets import MAX_ENCRYPTION_SUBKEYS, MAX_OCTETS, inspect
from tests.unit.pgp import NOW, framed, number

KEY = Tsk.generate("ann@inbox.example", cipher_suite=CipherSuite.Cv25519).extract_certificate()
OCTETS = bytes(KEY)
ARMORED = str(KEY).encode()
PARTS = packets(OCTETS)
FINE = inspect(OCTETS, NOW)
CPU_SECONDS = 0.5  # on the slowest machine; it takes a tenth of that
MEMORY_OCTETS = 16 << 20


def written(*parts: Packet) -> bytes:
    return b"".join(part.framed() for part in parts)


def rsa(bits: int, exponent: bytes = b"\x01\x00\x01") -> bytes:
    """A version 4 RSA key packet."""
    modulus = b"\xff" * (bits // 8 - 1) + b"\xff"
    return framed(6, b"\x04\x60\x00\x00\x00\x01" + number(modulus) + number(exponent))


PRIMARY, DIRECT, USER_ID, CERTIFICATION = PARTS[:4]
SUBKEY, BINDING = PARTS[-2:]
VALID = written(*PARTS)

BOMBS: dict[str, tuple[bytes, Unusable]] = {
    "10 MB of binary": (OCTETS + bytes(10 << 20), Unusable.OVERSIZE),
    "10 MB of armor": (ARMORED.replace(b"\n\n", b"\n\n" + b"A" * (10 << 20)), Unusable.OVERSIZE),
    "one octet too many": (bytes(MAX_OCTETS + 1), Unusable.OVERSIZE),
    "user ids": (written(PRIMARY, *[USER_ID] * 1500), Unusable.TOO_COMPLEX),
    "packets": (written(PRIMARY, *[Packet(13, b"a")] * (MAX_PACKETS + 1)), Unusable.TOO_COMPLEX),
    "empty packets": (b"\xcd\x00" * 100_000, Unusable.TOO_COMPLEX),
    "subkeys": (written(*PARTS, *[SUBKEY, BINDING] * 500), Unusable.TOO_COMPLEX),
    "certifications that fail late": (
        written(PRIMARY, USER_ID, *[Packet(2, CERTIFICATION.body[:-1] + bytes([CERTIFICATION.body[-1] ^ 1]))] * 900),
        Unusable.TOO_COMPLEX,
    ),
    "huge RSA": (rsa(65_528), Unusable.WEAK_ALGORITHM),
    "RSA of 16384": (rsa(16_384), Unusable.WEAK_ALGORITHM),
    "huge exponent": (rsa(4096, b"\xff" * 512), Unusable.WEAK_ALGORITHM),
    "exponent one": (rsa(4096, b"\x01"), Unusable.WEAK_ALGORITHM),
    "small RSA": (rsa(1024), Unusable.WEAK_ALGORITHM),
    "RSA of nothing": (framed(6, b"\x04\x60\x00\x00\x00\x01\x00\x00\x00\x00"), Unusable.BROKEN),
    "unsigned RSA": (rsa(4096), Unusable.BROKEN),
    "version 3": (framed(6, b"\x03" + bytes(200)), Unusable.OLD_FORMAT),
    "version 5": (framed(6, b"\x05" + bytes(200)), Unusable.UNKNOWN_ALGORITHM),
    "algorithm 99": (framed(6, b"\x04\x60\x00\x00\x00\x63" + bytes(99)), Unusable.UNKNOWN_ALGORITHM),
    "partial length": (b"\xc6\xe9" + bytes(512) + b"\x00", Unusable.BROKEN),
    "indeterminate length": (b"\x9b" + PRIMARY.body, Unusable.BROKEN),
    "length beyond the end": (b"\xc6\xff\xff\xff\xff\xff" + PRIMARY.body, Unusable.BROKEN),
    "length cut short": (b"\xc6\xff\x00", Unusable.BROKEN),
    "key in a key": (framed(6, VALID), Unusable.BROKEN),
    "compressed": (framed(8, b"\x01" + VALID), Unusable.NOT_A_KEY),
    "an encrypted message": (framed(1, b"\x03" + bytes(90)) + framed(18, b"\x01" + bytes(99)), Unusable.NOT_A_KEY),
    "nothing": (b"", Unusable.NOT_A_KEY),
    "spaces": (b" \r\n" * 1000, Unusable.NOT_A_KEY),
    "a sentence": (b"my key is in the attachment", Unusable.NOT_A_KEY),
    "a certificate for TLS": (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", Unusable.NOT_A_KEY),
    "a signature": (b"-----BEGIN PGP SIGNATURE-----\n\nwsBz\n-----END PGP SIGNATURE-----\n", Unusable.NOT_A_KEY),
    "truncated armor": (ARMORED[: len(ARMORED) // 2], Unusable.BROKEN),
    "armor without its last lines": (ARMORED.rpartition(b"\n=")[0], Unusable.BROKEN),
    "armor with a hole": (ARMORED[:200] + ARMORED[264:], Unusable.BROKEN),
    "armor of nothing": (
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----",
        Unusable.NOT_A_KEY,
    ),
    "armors without end": (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n" * 6000, Unusable.BROKEN),
    "armors with one end": (
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n" * 6000 + b"-----END PGP PUBLIC KEY BLOCK-----",
        Unusable.BROKEN,
    ),
    "primary key alone": (written(PRIMARY), Unusable.BROKEN),
    "subkeys in pieces": (written(*PARTS[:4], Packet(14, SUBKEY.body[:-3]), BINDING), Unusable.BROKEN),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_little_and_say_why(name: str) -> None:
    octets, reason = BOMBS[name]
    started = time.process_time()
    assert inspect(octets, NOW) == reason
    assert time.process_time() - started < CPU_SECONDS
    tracemalloc.start()
    inspect(octets, NOW)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY_OCTETS


def padded(body: bytes, junk: bytes) -> Packet:
    """A signature with more in its unsigned part."""
    end = 6 + int.from_bytes(body[4:6])
    rest = end + 2 + int.from_bytes(body[end : end + 2])
    unsigned = body[end + 2 : rest] + junk
    return Packet(2, body[:end] + len(unsigned).to_bytes(2) + unsigned + body[rest:])


@pytest.mark.parametrize(
    "octets",
    [
        written(*PARTS[:4], *[Packet(2, bytes(100))] * 1900, *PARTS[4:]),
        written(*PARTS[:4], *[Packet(2, b"\x04\x10\x16\x0a" + b"\xff" * 20_000)] * 12, *PARTS[4:]),
        written(*PARTS[:4], padded(CERTIFICATION.body, b"\x02\x14\x00" * 20_000), *PARTS[4:]),
        written(*PARTS[:4], *[padded(CERTIFICATION.body, b"\x02\x14\x00" * 90)] * 400, *PARTS[4:]),
        written(*PARTS[:4], *[Packet(2, CERTIFICATION.body[:-9] + bytes(9))] * 50, *PARTS[4:]),
        written(*PARTS, *[Packet(63, b"?" * 100)] * 1900),
        written(Packet(12, b"trust"), Packet(10, b"PGP"), *PARTS, Packet(21, bytes(1000))),
        written(*PARTS[:4], *[Packet(13, b"x" * 3000)] * 70, *PARTS[4:]),
        written(*PARTS[:4], *[Packet(13, b"\xff\x00\x1b" * 9)] * 90, *PARTS[4:]),
    ],
)
def test_what_hangs_on_a_good_key_does_not_matter(octets: bytes) -> None:
    assert len(octets) <= MAX_OCTETS
    started = time.process_time()
    assert inspect(octets, NOW) == FINE
    assert time.process_time() - started < CPU_SECONDS


def test_a_message_never_has_more_than_a_few_session_keys_per_recipient() -> None:
    found = inspect(written(*PARTS, *[SUBKEY, BINDING] * 40), NOW)
    assert isinstance(found, Certificate)
    assert found.encryption_subkeys == MAX_ENCRYPTION_SUBKEYS


HEADERS = b"Version: Something 1.0\nComment: https://x.example\nCharset: utf-8\n"
BARE = b"\n".join(line for line in ARMORED.split(b"\n") if not line.startswith(b"="))


@pytest.mark.parametrize(
    "spelling",
    [
        lambda a: a.replace(b"\n", b"\r\n"),
        lambda a: a.replace(b"\n", b"\r"),
        lambda a: a.replace(b"\n", b"\r\n", 5).replace(b"\n", b"\n", 3),
        lambda a: b"\r".join(a.split(b"\n", 4)),
        lambda a: a.replace(b"\n", b"  \n \t"),
        lambda a: b"Here it is:\r\n\r\n" + a + b"\r\n-- \r\nAnn\r\n",
        lambda a: a.strip(),
        lambda a: a.replace(b"\n\n", b"\n" + HEADERS + b"\n", 1),
        lambda a: a.replace(b"\n\n", b"\n" + HEADERS, 1),
        lambda a: a.replace(b"\n\n", b"\n", 1),
        lambda a: b"\xef\xbb\xbf" + a,
        lambda a: a.decode().encode("utf-16"),
        lambda a: BARE,
        lambda a: BARE.replace(b"-----END", b"=AAAA\n-----END"),
        lambda a: (
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + b64encode(OCTETS) + b"\n-----END PGP PUBLIC KEY BLOCK-----"
        ),
    ],
)
def test_armor_of_any_spelling(spelling: Callable[[bytes], bytes]) -> None:
    assert inspect(spelling(ARMORED), NOW) == FINE


def test_old_headers_of_packets_are_read() -> None:
    old = b"".join(bytes((0x81 | part.tag << 2,)) + len(part.body).to_bytes(2) + part.body for part in PARTS)
    assert inspect(old, NOW) == FINE
    longer = b"".join(bytes((0x82 | part.tag << 2,)) + len(part.body).to_bytes(4) + part.body for part in PARTS)
    assert inspect(longer, NOW) == FINE
    assert inspect(b"".join(framed(part.tag, part.body) for part in PARTS), NOW) == FINE


def test_every_cut_and_every_changed_octet_has_an_answer() -> None:
    chance = random.Random(6)
    for end in range(len(OCTETS)):
        assert isinstance(inspect(OCTETS[:end], NOW), Certificate | Unusable)
    for at in range(len(OCTETS)):
        spoiled = bytearray(OCTETS)
        spoiled[at] = chance.randrange(256)
        found = inspect(bytes(spoiled), NOW)
        # Whatever is still taken is no other key than this one.
        assert isinstance(found, Unusable) or (isinstance(FINE, Certificate) and found.fingerprint == FINE.fingerprint)


def test_random_octets_have_an_answer() -> None:
    chance = random.Random(7)
    for _ in range(3000):
        octets = bytes((0xC6,)) + chance.randbytes(chance.randrange(300))
        assert isinstance(inspect(octets, NOW), Unusable)
        assert isinstance(inspect(VALID + octets, NOW), Certificate | Unusable)
