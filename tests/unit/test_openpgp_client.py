"""Messages that we sign and encrypt, read by GnuPG; and what is encrypted to the service (spec 4.9, 6.2, 6.5)."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pysequoia
import pytest
from pysequoia import Profile, Tsk

from mailrelay.clients.openpgp import INLINE_OCTETS, Decrypted, OpenPgp, create_service_key, public_of
from mailrelay.core.certificate import Certificate, KeyUnusable, Unusable
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.pgppackets import inspect
from tests.unit import pgp
from tests.unit.pgp import NOW, Gpg

SECRET, PUBLIC = create_service_key("relay@relay.example", NOW)
EVERY_OCTET = bytes(range(256)) * 3 + b"\r\n.\r\n\n\r\r\n--b\r\nFrom x\r\n \t \r\n\x00\x1a"
ENTITY = b"Content-Type: text/plain\r\n\r\ntrailing space \r\nlone LF\nlone CR\r=C3=A9\r\n\r\n"


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    yield from pgp.home(tmp_path_factory.mktemp("gpg") / "home")


@pytest.fixture
async def openpgp() -> AsyncIterator[OpenPgp]:
    made = OpenPgp([SECRET])
    yield made
    await made.close()


def stored(octets: bytes, now: datetime = NOW) -> bytes:
    found = inspect(octets, now)
    assert isinstance(found, Certificate)
    return found.binary


KINDS = [("rsa2048", "rsa2048"), ("rsa4096", "rsa4096"), ("ed25519", "cv25519"), ("nistp256", "nistp256")]


@pytest.mark.parametrize(("primary", "subkey"), KINDS)
@pytest.mark.parametrize(
    "content",
    [b"", b"x", ENTITY, EVERY_OCTET, os.urandom(INLINE_OCTETS + 1)],
    ids=["nothing", "one octet", "entity", "every octet", "large"],
)
async def test_row_151_gpg_decrypts_and_verifies(
    gpg: Gpg, openpgp: OpenPgp, primary: str, subkey: str, content: bytes
) -> None:
    user_id = f"{primary}@inbox.example"
    known = gpg.run("--list-keys", "--with-colons").decode()
    if user_id not in known:
        gpg.create(user_id, primary, subkey)
    message = await openpgp.encrypt(content, [stored(gpg.public(user_id))])
    said, signer = gpg.decrypt(message, PUBLIC)
    assert said == content
    assert signer == pysequoia.Cert.from_bytes(PUBLIC).fingerprint.upper()


@pytest.mark.parametrize("size", [100, INLINE_OCTETS + 7])
async def test_the_armor_is_seven_bit_short_lines_with_crlf(openpgp: OpenPgp, size: int) -> None:
    message = await openpgp.encrypt(os.urandom(size), [stored(PUBLIC)])
    assert message.startswith(b"-----BEGIN PGP MESSAGE-----\r\n\r\n")
    assert message.endswith(b"\r\n-----END PGP MESSAGE-----\r\n")
    assert not re.search(rb"[^\r]\n|\r[^\n]", message) and message.isascii()
    assert max(map(len, message.split(b"\r\n"))) <= 76
    assert b"Version:" not in message and b"Comment:" not in message


async def test_several_recipients_all_can_read(gpg: Gpg, openpgp: OpenPgp) -> None:
    keys = [stored(gpg.public(gpg.create(f"{name}@inbox.example", "ed25519", "cv25519"))) for name in ("one", "two")]
    message = await openpgp.encrypt(ENTITY, [*keys, stored(PUBLIC)])
    packets = gpg.run("--list-packets", given=message).decode()
    assert packets.count(":pubkey enc packet:") == 3
    assert gpg.decrypt(message, PUBLIC)[0] == ENTITY
    assert await openpgp.decrypt(message) == Decrypted(ENTITY)


async def test_gnupg_gets_integrity_protection_that_it_knows(gpg: Gpg, openpgp: OpenPgp) -> None:
    key = stored(gpg.public(gpg.create("mdc@inbox.example", "ed25519", "cv25519")))
    packets = gpg.run("--list-packets", given=await openpgp.encrypt(ENTITY, [key])).decode()
    assert "mdc_method: 2" in packets and ":compressed packet:" not in packets
    hashes = set(re.findall(r"digest algo (\d+)", packets))
    assert hashes and hashes <= {"8", "9", "10"}


async def test_a_key_of_version_6_gets_aead(openpgp: OpenPgp) -> None:
    key = Tsk.generate("six@inbox.example", profile=Profile.RFC9580)
    message = await openpgp.encrypt(EVERY_OCTET, [stored(bytes(key.extract_certificate()))])
    assert pysequoia.decrypt(message, decryptor=key.decryptor()).bytes == EVERY_OCTET


async def test_two_messages_are_never_alike(openpgp: OpenPgp) -> None:
    first, second = [await openpgp.encrypt(b"same", [stored(PUBLIC)]) for _ in range(2)]
    assert first != second


async def test_expiry_is_seen_when_it_comes_not_when_the_key_was_stored(gpg: Gpg) -> None:
    key = stored(gpg.public(gpg.create("ends@inbox.example", "ed25519", "cv25519", expires="2d")))
    now = NOW
    openpgp = OpenPgp([SECRET], clock=lambda: now)
    await openpgp.encrypt(b"x", [key])
    now = NOW + timedelta(days=3)
    with pytest.raises(KeyUnusable) as caught:
        await openpgp.encrypt(b"x", [key])
    assert caught.value.reason == Unusable.EXPIRED
    assert caught.value.fingerprint == pysequoia.Cert.from_bytes(key).fingerprint.upper()


@pytest.mark.parametrize("size", [1, INLINE_OCTETS + 1])
async def test_one_bad_key_and_nothing_is_encrypted(gpg: Gpg, openpgp: OpenPgp, size: int) -> None:
    fingerprint = gpg.create(f"revoked{size}@inbox.example", "ed25519", "cv25519")
    gpg.revoke(fingerprint)
    with pytest.raises(KeyUnusable) as caught:
        await openpgp.encrypt(bytes(size), [stored(PUBLIC), gpg.public(fingerprint)])
    assert caught.value.reason == Unusable.REVOKED and caught.value.fingerprint == fingerprint
    for junk, reason in ((b"", Unusable.NOT_A_KEY), (SECRET, Unusable.SECRET)):
        with pytest.raises(KeyUnusable) as caught:
            await openpgp.encrypt(bytes(size), [junk])
        assert caught.value.reason == reason
    with pytest.raises(Malformed):
        await openpgp.encrypt(bytes(size), [])


@pytest.mark.parametrize("keys", [[], [b"junk"], [PUBLIC]])
@pytest.mark.parametrize("size", [1, INLINE_OCTETS + 1])
async def test_without_a_service_key_it_is_our_trouble(keys: list[bytes], size: int) -> None:
    openpgp = OpenPgp(keys)
    with pytest.raises(Unavailable):
        await openpgp.encrypt(bytes(size), [stored(PUBLIC)])
    await openpgp.close()


async def test_errors_carry_nothing_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUST_BACKTRACE", "full")
    with pytest.raises(Unavailable) as caught:
        await OpenPgp([b"\xc5\x01junk"]).encrypt(b"x", [stored(PUBLIC)])
    with pytest.raises(Malformed) as refused:
        public_of(b"\xc5\x01junk")
    for error in (caught.value, refused.value):
        assert "\n" not in str(error) and "sequoia" not in str(error).lower()
        assert error.__suppress_context__


def test_the_check_proves_that_the_key_works(gpg: Gpg) -> None:
    openpgp = OpenPgp([])
    found = openpgp.check(gpg.public(gpg.create("proof@inbox.example", "nistp256", "nistp256"), armor=True), NOW)
    assert isinstance(found, Certificate)
    assert openpgp.check(b"junk", NOW) == Unusable.NOT_A_KEY
    assert openpgp.check(SECRET, NOW) == Unusable.SECRET


async def test_only_so_many_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailrelay.clients.openpgp.KEPT_KEYS", 2)
    openpgp = OpenPgp([SECRET])
    keys = [stored(bytes(Tsk.generate(f"{i}@inbox.example").extract_certificate())) for i in range(4)]
    for key in (*keys, keys[0]):
        await openpgp.encrypt(b"x", [key])
    assert len(openpgp._known) == 2


async def test_gpg_writes_and_the_service_reads(gpg: Gpg, openpgp: OpenPgp) -> None:
    gpg.run("--import", given=PUBLIC)
    for content in (b"", ENTITY, EVERY_OCTET, os.urandom(1 << 20)):
        for armor in ((), ("--armor",)):
            message = gpg.run(*armor, "--encrypt", "-r", "relay@relay.example", given=content)
            assert await openpgp.decrypt(message) == Decrypted(content)
            assert await openpgp.decrypt(message.replace(b"\n", b"\r\n") if armor else message) == Decrypted(content)


async def test_old_service_keys_still_decrypt(gpg: Gpg) -> None:
    newer, _ = create_service_key("relay@relay.example", NOW)
    openpgp = OpenPgp([newer, SECRET])
    message = await OpenPgp([SECRET]).encrypt(ENTITY, [PUBLIC])
    assert await openpgp.decrypt(message) == Decrypted(ENTITY)
    assert await OpenPgp([newer]).encrypt(ENTITY, [PUBLIC]) != message
    await openpgp.close()


async def test_what_is_not_for_us_stays_as_it_is(gpg: Gpg, openpgp: OpenPgp) -> None:
    gpg.create("other@inbox.example", "ed25519", "cv25519")
    other = gpg.run("--armor", "--encrypt", "-r", "other@inbox.example", given=ENTITY)
    gpg.run("--import", given=PUBLIC)
    ours = gpg.run("--encrypt", "-r", "relay@relay.example", given=ENTITY)
    spoiled = ours[:-5] + bytes((ours[-5] ^ 1,)) + ours[-4:]
    for message in (other, spoiled, ours[:-30], b"", b"hello", b"-----BEGIN PGP MESSAGE-----\n", os.urandom(9000)):
        assert await openpgp.decrypt(message) is None
    assert await OpenPgp([]).decrypt(ours) is None
    assert await openpgp.decrypt(ours) == Decrypted(ENTITY)


async def test_a_bomb_does_not_unfold(gpg: Gpg, openpgp: OpenPgp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailrelay.clients.openpgp.MAX_DECRYPTED_OCTETS", 1 << 20)
    gpg.run("--import", given=PUBLIC)
    bomb = gpg.run("--compress-algo", "zip", "--encrypt", "-r", "relay@relay.example", given=bytes(50 << 20))
    assert len(bomb) < 1 << 17
    assert await openpgp.decrypt(bomb) is None
    message = await openpgp.encrypt(ENTITY, [PUBLIC])
    assert await openpgp.decrypt(message) == Decrypted(ENTITY)


@pytest.mark.parametrize(
    ("content", "subject"),
    [
        (b'Content-Type: text/plain; hp="cipher"\r\nSubject: Inside\r\n\r\nx', b"Inside"),
        (b'Content-Type: text/plain;\r\n protected-headers="v1"\r\nSubject: In\r\n side\r\n\r\nx', b"In side"),
        (b"Content-Type: text/plain\r\nSubject: Of something else\r\n\r\nx", None),
        (b'Content-Type: text/plain; hp="cipher"\r\n\r\nSubject: body', None),
        (b"Subject: plain text", None),
        (b"", None),
    ],
)
def test_the_subject_inside(content: bytes, subject: bytes | None) -> None:
    assert Decrypted(content).subject == subject


def test_a_service_key_signs_and_decrypts_for_ever(gpg: Gpg) -> None:
    assert public_of(SECRET) == PUBLIC
    found = inspect(PUBLIC, datetime(2100, 1, 1, tzinfo=UTC))
    assert isinstance(found, Certificate)
    assert found.user_ids == ("relay@relay.example",) and found.expires is None and found.version == 4
    with pytest.raises(Unavailable):
        create_service_key("relay@relay.example", NOW - timedelta(days=400))


async def test_many_at_once_do_not_mix(openpgp: OpenPgp) -> None:
    contents = [os.urandom(size) for size in (10, INLINE_OCTETS + 1, 2000, INLINE_OCTETS + 99, 5, 1 << 20)]
    messages = await asyncio.gather(*(openpgp.encrypt(content, [PUBLIC]) for content in contents))
    decryptor = Tsk.from_bytes(SECRET)
    assert [pysequoia.decrypt(message, decryptor=decryptor.decryptor()).bytes for message in messages] == contents
