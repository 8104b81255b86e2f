"""The gate for OpenPGP keys, with keys that GnuPG and Sequoia made (spec section 6.5)."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pysequoia
import pytest
from pysequoia import CipherSuite, Profile, Tsk
from pysequoia.packet import PacketPile

from mailrelay.core.certificate import Certificate, Unusable
from mailrelay.core.pgppackets import CLOCK_SKEW, inspect
from tests.unit import pgp
from tests.unit.pgp import NOW, Gpg

BACK_THEN = "20200101T000000"
THEN = datetime(2020, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    yield from pgp.home(tmp_path_factory.mktemp("gpg") / "home")


def usable(octets: bytes, now: datetime = NOW) -> Certificate:
    found = inspect(octets, now)
    assert isinstance(found, Certificate), found
    # What is stored says the same, and the library takes it.
    assert inspect(found.binary, now) == found
    assert pysequoia.encrypt(b"x", recipients=[pysequoia.Cert.from_bytes(found.binary)])
    return found


@pytest.mark.parametrize(
    ("primary", "subkey", "name"),
    [
        ("rsa2048", "rsa2048", "RSA 2048"),
        ("rsa3072", "rsa3072", "RSA 3072"),
        ("rsa4096", "rsa4096", "RSA 4096"),
        ("ed25519", "cv25519", "Ed25519"),
        ("nistp256", "nistp256", "NIST P-256"),
        ("nistp384", "nistp521", "NIST P-384"),
        ("rsa2048", "cv25519", "RSA 2048"),
    ],
)
def test_common_keys_are_usable(gpg: Gpg, primary: str, subkey: str, name: str) -> None:
    fingerprint = gpg.create(f"Ann <{primary}.{subkey}@inbox.example>", primary, subkey)
    armored = gpg.public(fingerprint, armor=True)
    found = usable(armored)
    assert found.fingerprint == fingerprint and found.version == 4 and found.primary_algorithm == name
    assert found.user_ids == (f"Ann <{primary}.{subkey}@inbox.example>",)
    assert found.expires is None and found.encryption_subkeys == 1
    assert abs(found.created - NOW) < timedelta(hours=1)
    assert usable(gpg.public(fingerprint)) == found
    assert len(found.binary) <= len(gpg.public(fingerprint))


@pytest.mark.parametrize("profile", [Profile.RFC4880, Profile.RFC9580])
@pytest.mark.parametrize("suite", ["Cv25519", "Cv448", "P256", "P384", "P521", "RSA2k"])
def test_keys_of_sequoia_are_usable_in_version_4_and_6(profile: Profile, suite: str) -> None:
    key = Tsk.generate("ann@inbox.example", profile=profile, cipher_suite=getattr(CipherSuite, suite))
    found = usable(str(key.extract_certificate()).encode())
    assert found.fingerprint == key.extract_certificate().fingerprint.upper()
    assert found.version == (4 if profile == Profile.RFC4880 else 6)
    assert len(found.fingerprint) == (40 if found.version == 4 else 64)


def test_post_quantum_signatures_are_not_known() -> None:
    key = Tsk.generate("a@inbox.example", profile=Profile.RFC9580, cipher_suite=CipherSuite.MLDSA65_Ed25519)
    assert inspect(bytes(key.extract_certificate()), NOW) == Unusable.UNKNOWN_ALGORITHM


def test_post_quantum_encryption_is_usable() -> None:
    key = Tsk.generate("a@inbox.example", encryption_algorithm=pysequoia.EncryptionAlgorithm.MLKEM768_X25519)
    assert usable(bytes(key.extract_certificate())).encryption_subkeys == 1


def test_an_expired_primary_key(gpg: Gpg) -> None:
    key = gpg.public(gpg.create("old@inbox.example", "ed25519", "cv25519", expires="1y", at=BACK_THEN))
    assert inspect(key, NOW) == Unusable.EXPIRED
    assert usable(key, THEN + timedelta(days=1)).expires == THEN + YEAR


def test_a_key_ends_on_the_dot(gpg: Gpg) -> None:
    key = gpg.public(gpg.create("dot@inbox.example", "ed25519", "cv25519", expires="1y", at=BACK_THEN))
    usable(key, THEN + YEAR - timedelta(seconds=1))
    assert inspect(key, THEN + YEAR) == Unusable.EXPIRED


def test_an_expired_subkey_and_a_renewed_one(gpg: Gpg) -> None:
    fingerprint = gpg.create("sub@inbox.example", "ed25519", at=BACK_THEN)
    gpg.run("--faked-system-time", f"{BACK_THEN}!", "--quick-add-key", fingerprint, "cv25519", "encr", "1y")
    assert inspect(gpg.public(fingerprint), NOW) == Unusable.EXPIRED
    assert usable(gpg.public(fingerprint), THEN + timedelta(days=3)).expires == THEN + YEAR
    gpg.run("--quick-add-key", fingerprint, "cv25519", "encr", "never")
    found = usable(gpg.public(fingerprint))
    assert found.encryption_subkeys == 1 and found.expires is None


def test_an_extended_key_lives_on(gpg: Gpg) -> None:
    fingerprint = gpg.create("longer@inbox.example", "ed25519", "cv25519", expires="1y", at=BACK_THEN)
    gpg.run("--quick-set-expire", fingerprint, "20y")
    assert inspect(gpg.public(fingerprint), NOW) == Unusable.EXPIRED  # the subkey still is
    gpg.run("--faked-system-time", "20200601T000000!", "--quick-set-expire", fingerprint, "20y", "*")
    found = usable(gpg.public(fingerprint))
    assert found.expires is not None and found.expires > NOW + 10 * YEAR


def test_the_last_of_several_subkeys_decides(gpg: Gpg) -> None:
    fingerprint = gpg.create("many@inbox.example", "ed25519")
    for span in ("30d", "90d", "60d"):
        gpg.run("--quick-add-key", fingerprint, "cv25519", "encr", span)
    found = usable(gpg.public(fingerprint))
    assert found.encryption_subkeys == 3
    assert found.expires is not None and abs(found.expires - NOW - timedelta(days=90)) < timedelta(days=1)
    assert usable(gpg.public(fingerprint), NOW + timedelta(days=75)).encryption_subkeys == 1


def test_a_revoked_primary_key(gpg: Gpg) -> None:
    fingerprint = gpg.create("gone@inbox.example", "ed25519", "cv25519")
    usable(gpg.public(fingerprint))
    gpg.revoke(fingerprint)
    assert inspect(gpg.public(fingerprint), NOW) == Unusable.REVOKED
    assert inspect(gpg.public(fingerprint, armor=True), NOW + 100 * YEAR) == Unusable.REVOKED


def test_a_revoked_subkey(gpg: Gpg) -> None:
    fingerprint = gpg.create("lost@inbox.example", "ed25519", "cv25519")
    gpg.edit(fingerprint, "key 1", "revkey", "y", "0", "", "y")
    assert inspect(gpg.public(fingerprint), NOW) == Unusable.REVOKED
    gpg.run("--quick-add-key", fingerprint, "cv25519", "encr", "never")
    assert usable(gpg.public(fingerprint)).encryption_subkeys == 1


def test_a_revoked_user_id_is_not_shown(gpg: Gpg) -> None:
    fingerprint = gpg.create("new@inbox.example", "ed25519", "cv25519")
    gpg.run("--quick-add-uid", fingerprint, "left@inbox.example")
    assert set(usable(gpg.public(fingerprint)).user_ids) == {"new@inbox.example", "left@inbox.example"}
    gpg.run("--quick-revoke-uid", fingerprint, "left@inbox.example")
    assert usable(gpg.public(fingerprint)).user_ids == ("new@inbox.example",)


def test_a_key_that_only_signs(gpg: Gpg) -> None:
    fingerprint = gpg.create("sign@inbox.example", "rsa2048")
    gpg.run("--quick-add-key", fingerprint, "rsa2048", "sign", "never")
    assert inspect(gpg.public(fingerprint), NOW) == Unusable.NO_ENCRYPTION_SUBKEY


def test_a_primary_key_that_encrypts_itself(gpg: Gpg) -> None:
    found = usable(gpg.public(gpg.create("one@inbox.example", "rsa2048 cert,sign,encr")))
    assert found.encryption_subkeys == 1


@pytest.mark.parametrize(
    "lines",
    [
        ("Key-Type: DSA", "Key-Length: 1024", "Subkey-Type: ELG", "Subkey-Length: 1024", "Name-Email: a@inbox.example"),
        ("Key-Type: DSA", "Key-Length: 2048", "Name-Email: b@inbox.example"),
        ("Key-Type: RSA", "Key-Length: 1024", "Subkey-Type: RSA", "Subkey-Length: 1024", "Name-Email: c@inbox.example"),
        (
            "Key-Type: RSA",
            "Key-Length: 2048",
            "Key-Usage: sign",
            "Subkey-Type: ELG",
            "Subkey-Length: 1024",
            "Name-Email: d@inbox.example",
        ),
        (
            "Key-Type: RSA",
            "Key-Length: 2048",
            "Key-Usage: sign",
            "Subkey-Type: RSA",
            "Subkey-Length: 1024",
            "Name-Email: e@inbox.example",
        ),
    ],
)
def test_weak_algorithms(gpg: Gpg, lines: tuple[str, ...]) -> None:
    assert inspect(gpg.public(gpg.batch(*lines)), NOW) == Unusable.WEAK_ALGORITHM


def test_sha_1_vouches_for_nothing_until_it_is_signed_anew(gpg: Gpg) -> None:
    old = ("--cert-digest-algo", "SHA1", "--faked-system-time", "20150101T000000!")
    said = gpg.run(*old, "--quick-gen-key", "sha@inbox.example", "rsa2048", "cert", "never", status=True)
    fingerprint = next(line.split()[3] for line in said.decode().splitlines() if "KEY_CREATED" in line)
    gpg.run(*old, "--quick-add-key", fingerprint, "rsa2048", "encr", "never")
    assert inspect(gpg.public(fingerprint), NOW) == Unusable.WEAK_ALGORITHM
    gpg.run("--quick-set-expire", fingerprint, "10y")
    assert inspect(gpg.public(fingerprint), NOW) == Unusable.WEAK_ALGORITHM  # the subkey still is
    gpg.run("--quick-set-expire", fingerprint, "10y", "*")
    usable(gpg.public(fingerprint))


def test_a_key_from_the_future(gpg: Gpg) -> None:
    key = gpg.public(gpg.create("soon@inbox.example", "ed25519", "cv25519"))
    created = usable(key).created
    usable(key, created - CLOCK_SKEW)
    assert inspect(key, created - YEAR) == Unusable.NOT_YET


def test_secret_keys_are_refused_in_every_form(gpg: Gpg) -> None:
    fingerprint = gpg.create("mine@inbox.example", "ed25519", "cv25519")
    secret = gpg.secret(fingerprint)
    armored = gpg.run("--armor", "--export-secret-keys", fingerprint)
    for octets in (secret, armored, gpg.public(fingerprint) + secret, gpg.public(fingerprint, armor=True) + armored):
        assert inspect(octets, NOW) == Unusable.SECRET
    assert inspect(armored.replace(b"PRIVATE", b"PUBLIC"), NOW) == Unusable.SECRET


def test_two_keys_in_one_file(gpg: Gpg) -> None:
    ann = gpg.create("ann2@inbox.example", "ed25519", "cv25519")
    ben = gpg.create("ben2@inbox.example", "ed25519", "cv25519")
    assert inspect(gpg.public(ann, ben), NOW) == Unusable.SEVERAL
    assert inspect(gpg.public(ann, ben, armor=True), NOW) == Unusable.SEVERAL
    assert inspect(gpg.public(ann, armor=True) + gpg.public(ben, armor=True), NOW) == Unusable.SEVERAL
    assert inspect(gpg.public(ann), NOW) != inspect(gpg.public(ben), NOW)


def test_what_others_signed_and_photos_are_dropped(gpg: Gpg) -> None:
    ann = gpg.create("ann3@inbox.example", "ed25519", "cv25519")
    plain = usable(gpg.public(ann))
    ben = gpg.create("ben3@inbox.example", "ed25519", "cv25519")
    gpg.run("--local-user", ben, "--quick-sign-key", ann)
    signed = gpg.public(ann)
    photo = signed + pgp.framed(17, b"\xd2\x01" + bytes(400)) + pgp.framed(12, b"x") + pgp.framed(21, b"padding")
    assert usable(signed) == plain and usable(photo) == plain and len(plain.binary) < len(signed)


def test_subkeys_that_the_key_did_not_bind_do_not_count(gpg: Gpg) -> None:
    ann, eve = (gpg.create(f"{name}4@inbox.example", "ed25519", "cv25519") for name in ("ann", "eve"))
    split = _at_subkey(gpg.public(ann)), _at_subkey(gpg.public(eve))
    assert inspect(split[0][0] + split[1][1], NOW) == Unusable.BROKEN
    both = usable(split[0][0] + split[0][1] + split[1][1])
    assert both == usable(gpg.public(ann))


def test_a_forged_revocation_does_not_count(gpg: Gpg) -> None:
    ann, eve = (gpg.create(f"{name}5@inbox.example", "ed25519", "cv25519") for name in ("ann", "eve"))
    gpg.revoke(eve)
    revocation = next(
        bytes(p) for p in PacketPile.from_bytes(gpg.public(eve)) if "KeyRevocation" in str(p.signature_type)
    )
    primary, *rest = map(bytes, PacketPile.from_bytes(gpg.public(ann)))
    assert usable(b"".join((primary, revocation, *rest))) == usable(gpg.public(ann))


def _at_subkey(key: bytes) -> tuple[bytes, bytes]:
    found = list(PacketPile.from_bytes(key))
    at = next(i for i, p in enumerate(found) if "PublicSubkey" in str(p.tag))
    return b"".join(map(bytes, found[:at])), b"".join(map(bytes, found[at:]))


def test_without_user_ids_nothing_vouches_for_the_key(gpg: Gpg) -> None:
    key = gpg.public(gpg.create("bare@inbox.example", "ed25519", "cv25519"))
    found = list(PacketPile.from_bytes(key))
    bare = b"".join(bytes(p) for p in (found[0], *found[3:]))
    assert inspect(bare, NOW) == Unusable.BROKEN


@pytest.mark.parametrize(
    "spoil", [lambda o: o[:-1] + bytes((o[-1] ^ 1,)), lambda o: o[:40] + bytes((o[40] ^ 1,)) + o[41:]]
)
def test_damage_is_noticed(spoil: Callable[[bytes], bytes]) -> None:
    key = bytes(Tsk.generate("hurt@inbox.example").extract_certificate())
    assert inspect(spoil(key), NOW) == Unusable.BROKEN


def test_user_ids_are_shown_as_one_harmless_line(gpg: Gpg) -> None:
    fingerprint = gpg.create("Jörg Müller <joerg@inbox.example>", "ed25519", "cv25519")
    assert usable(gpg.public(fingerprint)).user_ids == ("Jörg Müller <joerg@inbox.example>",)
    for name in ("a\u202eb", "c\x1b[2Jd", "e\nf"):
        key = bytes(Tsk.generate(f"{name} <x@inbox.example>").extract_certificate())
        (shown,) = usable(key).user_ids
        assert shown.isprintable() and shown.endswith("<x@inbox.example>")


def test_at_most_ten_user_ids_the_main_one_first() -> None:
    key = bytes(Tsk.generate(user_ids=[f"u{i}@inbox.example" for i in range(30)]).extract_certificate())
    found = usable(key)
    assert len(found.user_ids) == 10 and found.user_ids[0] == "u0@inbox.example"


def test_every_reason_has_a_sentence() -> None:
    for reason in Unusable:
        assert reason.sentence.isascii() and reason.sentence.endswith(".") and "\n" not in reason.sentence
