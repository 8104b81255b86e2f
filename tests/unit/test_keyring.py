"""Secrets and signing keys in files."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailrelay.core.errors import BadConfig
from mailrelay.keyring import read_secret
from mailrelay.signing import DkimKeys

FIRST, SECOND = bytes(range(32)), b"previous key ..."


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (FIRST.hex(), (FIRST,)),
        (f"{FIRST.hex().upper()}\n{SECOND.hex()}\n", (FIRST, SECOND)),
        (f"\n  {FIRST.hex()}  \r\n\n{SECOND.hex()}", (FIRST, SECOND)),
    ],
)
def test_the_keys_come_in_the_order_of_their_lines(tmp_path: Path, text: str, keys: tuple[bytes, ...]) -> None:
    (tmp_path / "verp.key").write_text(text)
    assert read_secret(tmp_path, "verp.key") == keys


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "needs a key of at least 16 octets"),
        (b"\n\n", "needs a key of at least 16 octets"),
        (b"00" * 15, "needs a key of at least 16 octets"),
        (b"00" * 16 + b"\n00", "needs a key of at least 16 octets"),
        (b"swordfish", "must hold one hexadecimal key a line"),
        (b"0" * 33, "must hold one hexadecimal key a line"),
        (b"\xff" * 16, "must hold one hexadecimal key a line"),
    ],
)
def test_a_bad_secret_is_named_and_not_shown(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "verp.key").write_bytes(content)
    with pytest.raises(BadConfig) as caught:
        read_secret(tmp_path, "verp.key")
    assert caught.value.problems == (f"{tmp_path / 'verp.key'}: {problem}",)


def test_a_missing_secret_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="mailrelay secrets init"):
        read_secret(tmp_path, "verp.key")


def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "verp.key").mkdir()
    with pytest.raises(BadConfig, match=r"verp\.key: cannot be read"):
        read_secret(tmp_path, "verp.key")


def test_a_credential_of_systemd_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, credentials = tmp_path / "secrets", tmp_path / "credentials"
    for where, key in ((folder, SECOND), (credentials, FIRST)):
        where.mkdir()
        (where / "verp.key").write_text(key.hex())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert read_secret(folder, "verp.key") == (FIRST,)
    (credentials / "verp.key").unlink()
    assert read_secret(folder, "verp.key") == (SECOND,)


# -- DKIM ----------------------------------------------------------------------------------------------------------


def write_key(folder: Path, name: str, rsa: bool = False) -> None:
    private = generate_private_key(65537, 1024) if rsa else Ed25519PrivateKey.generate()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_a_domain_signs_with_its_own_keys_rsa_first(tmp_path: Path) -> None:
    write_key(tmp_path / "relay.example", "a.pem")
    write_key(tmp_path / "relay.example", "mr1.pem", rsa=True)
    write_key(tmp_path / "own.example", "mr1e.pem")
    (tmp_path / "relay.example" / "README").write_text("no key")
    keys = DkimKeys(tmp_path)
    found = [(key.selector, key.algorithm, key.domain) for key in keys("relay.example")]
    assert found == [("mr1", "rsa-sha256", "relay.example"), ("a", "ed25519-sha256", "relay.example")]
    assert [key.selector for key in keys("own.example")] == ["mr1e"]


def test_keys_that_are_made_while_we_run_are_found(tmp_path: Path) -> None:
    keys = DkimKeys(tmp_path)
    assert keys("relay.example") == ()
    write_key(tmp_path / "relay.example", "mr1e.pem")
    assert len(keys("relay.example")) == 1


def test_keys_stay_in_memory_until_forgotten(tmp_path: Path) -> None:
    write_key(tmp_path / "relay.example", "mr1e.pem")
    keys = DkimKeys(tmp_path)
    before = keys("relay.example")
    write_key(tmp_path / "relay.example", "mr2e.pem")
    assert keys("relay.example") is before
    keys.forget()
    assert [key.selector for key in keys("relay.example")] == ["mr1e", "mr2e"]


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "relay.example").mkdir()
    (tmp_path / "relay.example" / "mr1.pem").write_text("no key")
    with pytest.raises(BadConfig, match=r"relay\.example/mr1\.pem: cannot be used"):
        DkimKeys(tmp_path)("relay.example")
