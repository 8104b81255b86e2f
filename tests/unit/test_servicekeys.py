"""The service's own OpenPGP key: its file, its generations, the commands, and what is published."""

import json
import os
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mailrelay.cli import servicekey
from mailrelay.cli.root import run
from mailrelay.clients.atomicfile import replace_file
from mailrelay.clients.openpgp import public_of
from mailrelay.core.certificate import Certificate
from mailrelay.core.errors import BadConfig, Conflict, Malformed
from mailrelay.core.pgppackets import inspect
from mailrelay.core.servicekeys import DECRYPTS_FOR, Generation, generations, public_block, written
from mailrelay.keyring import SERVICE_KEY, read_service_keys
from mailrelay.store.servicekeys import ServiceKeyFile

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SETTINGS = """
service: {{domain: relay.example, hostname: mx.relay.example, operator: [admin@inbox.example]}}
database: {{dsn: "dbname=mailrelay"}}
secrets: {folder}/etc/secrets
dkim: {folder}/etc/dkim
"""


def block(name: str) -> bytes:
    return f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{name}\n-----END PGP PRIVATE KEY BLOCK-----\n".encode()


ONE, TWO, THREE = block("one"), block("two"), block("three")

# -- the file -----------------------------------------------------------------------------------------------------


def test_generations_are_read_as_they_were_written() -> None:
    known = [Generation(TWO, NOW), Generation(ONE, NOW - 40 * DAY)]
    first, second = generations(written(known))
    assert (first.secret, first.since, first.until) == (TWO, NOW, None)
    assert (second.secret, second.since, second.until) == (ONE, NOW - 40 * DAY, NOW + DECRYPTS_FOR)


def test_keys_that_somebody_else_put_there_are_taken_and_never_end_by_themselves() -> None:
    found = generations(b"\r\n" + TWO.replace(b"\n", b"\r\n") + b"\n" + ONE + b"# since yesterday\n" + THREE)
    assert [one.since for one in found] == [None] * 3
    assert [one.until for one in found] == [None] * 3
    assert not any(one.is_over(NOW + 9999 * DAY) for one in found)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        ONE + b"x",
        b"x" + ONE,
        ONE[:-30],
        ONE.replace(b"PRIVATE", b"PUBLIC"),
        b"# since 2026-01-01\n",
        b"\xff",
    ],
)
def test_a_file_with_anything_else_in_it_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        generations(content)
    (tmp_path / SERVICE_KEY).write_bytes(content)
    with pytest.raises(BadConfig, match="must hold armored OpenPGP secret keys"):
        read_service_keys(tmp_path)


def test_without_a_file_there_are_no_keys_and_credentials_go_before_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_service_keys(tmp_path) == ()
    (tmp_path / SERVICE_KEY).write_bytes(written([Generation(ONE, NOW), Generation(TWO, None)]))
    assert read_service_keys(tmp_path) == (ONE, TWO)
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / SERVICE_KEY).write_bytes(THREE)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert read_service_keys(tmp_path) == (THREE,)


def test_an_old_key_decrypts_for_a_year_and_then_goes(tmp_path: Path) -> None:
    file = ServiceKeyFile(tmp_path / SERVICE_KEY, replace_file)
    with pytest.raises(Conflict, match="pgp-key create"):
        file.rotate(TWO, NOW)
    file.create(ONE, NOW)
    with pytest.raises(Conflict, match="pgp-key rotate"):
        file.create(TWO, NOW)
    assert file.rotate(TWO, NOW + 100 * DAY) == 0
    assert [one.until for one in file.read()] == [None, NOW + 465 * DAY]
    assert file.rotate(THREE, NOW + 464 * DAY) == 0
    assert [one.secret for one in file.read()] == [THREE, TWO, ONE]
    assert file.rotate(ONE, NOW + 465 * DAY) == 1
    assert [one.secret for one in file.read()] == [ONE, THREE, TWO]


def test_of_a_key_that_somebody_else_put_there_the_end_is_known_once_it_has_a_successor(tmp_path: Path) -> None:
    path = tmp_path / SERVICE_KEY
    path.write_bytes(ONE)
    file = ServiceKeyFile(path, replace_file)
    file.rotate(TWO, NOW)
    assert [one.until for one in file.read()] == [None, NOW + DECRYPTS_FOR]


# -- the commands -------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mailrelay.yaml"
    path.write_text(SETTINGS.format(folder=tmp_path))
    monkeypatch.setenv("MAILRELAY_CONFIG", str(path))
    return path


@pytest.fixture
def told(config: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def command(*arguments: str) -> Any:
        code = run(["--json", *arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return command


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(servicekey, "now", lambda: moment)


def gpg(home: Path, *arguments: str) -> str:
    home.mkdir(mode=0o700, exist_ok=True)
    result = subprocess.run(
        ["gpg", "--homedir", str(home), "--batch", "--no-options", "--no-autostart", "--with-colons", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    return result.stdout


def fingerprints(listing: str) -> list[str]:
    """Of primary keys in gpg's listing."""
    lines = [line.split(":") for line in listing.splitlines()]
    return [after[9] for before, after in pairwise(lines) if before[0] in ("pub", "sec")]


def uses(listing: str) -> list[str]:
    """Of subkeys in gpg's listing."""
    return [line.split(":")[11] for line in listing.splitlines() if line.startswith("sub:")]


def test_the_first_key_is_for_the_address_of_notifications(
    told: Callable[..., Any], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = told("pgp-key", "create")
    path = tmp_path / "etc" / "secrets" / SERVICE_KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    [shown] = told("pgp-key", "show")
    assert shown == made
    assert "notifications@relay.example" in shown["user_ids"][0]
    assert (shown["signs"], shown["decrypts_until"], shown["problem"]) == (True, None, None)
    assert fingerprints(gpg(tmp_path / "home", "--show-keys", str(path))) == [shown["fingerprint"]]
    before = path.read_bytes()
    assert run(["pgp-key", "create"]) == 1
    assert "pgp-key rotate" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_new_key_signs_and_the_old_one_decrypts_for_a_year(
    told: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = datetime.now(UTC).replace(microsecond=0)
    first = told("pgp-key", "create")["fingerprint"]
    at(monkeypatch, begun + 10 * DAY)
    second = told("pgp-key", "rotate")
    assert second["removed"] == 0
    now, old = told("pgp-key", "show")
    assert (now["fingerprint"], now["signs"]) == (second["fingerprint"], True)
    until = (begun + 375 * DAY).isoformat().replace("+00:00", "Z")
    assert (old["fingerprint"], old["signs"], old["decrypts_until"]) == (first, False, until)
    secrets = read_service_keys(tmp_path / "etc" / "secrets")
    found = [inspect(public_of(secret), begun + 10 * DAY) for secret in secrets]
    assert [one.fingerprint for one in found if isinstance(one, Certificate)] == [second["fingerprint"], first]
    at(monkeypatch, begun + 376 * DAY)
    assert told("pgp-key", "rotate")["removed"] == 1
    assert len(read_service_keys(tmp_path / "etc" / "secrets")) == 2


def test_commands_without_a_key_say_how_to_make_one(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["show"], ["rotate"], ["publish", str(config.parent / "www")]):
        assert run(["pgp-key", *arguments]) == 1
        assert "`mailrelay pgp-key create` makes the first key" in capsys.readouterr().err
    assert not (config.parent / "www").exists()


def test_the_current_key_is_published_for_everybody(told: Callable[..., Any], tmp_path: Path) -> None:
    told("pgp-key", "create")
    current = told("pgp-key", "rotate")["fingerprint"]
    root = tmp_path / "www"
    for _ in range(2):  # it may be repeated
        told("pgp-key", "publish", str(root))
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert len(names) == 5 and "service-key.asc" in names
    folder = root / ".well-known" / "openpgpkey"
    [binary] = (folder / "hu").iterdir()
    assert (folder / "relay.example" / "hu" / binary.name).read_bytes() == binary.read_bytes()
    assert (folder / "policy").read_bytes() == (folder / "relay.example" / "policy").read_bytes() == b""
    for path in (binary, root / "service-key.asc"):
        listing = gpg(tmp_path / "home", "--show-keys", str(path))
        assert fingerprints(listing) == [current]
        assert uses(listing) == ["s", "e"]  # whoever has it can verify our signatures, and encrypt to us
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert b"PRIVATE" not in path.read_bytes()
    assert binary.name == "dpopf5mtmb3s3xyukxm1w5qrjjuzrfd9"  # gpg-wks-client --print-wkd-hash notifications@…
    assert not binary.read_bytes().startswith(b"-----")


def test_check_config_looks_at_the_file(
    told: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told("pgp-key", "create")
    path = tmp_path / "etc" / "secrets" / SERVICE_KEY
    path.chmod(0o644)
    run(["check-config"])
    assert f"{path}: may be read by others: chmod 600" in capsys.readouterr().err
    path.write_bytes(b"junk")
    run(["check-config"])
    assert f"{path}: must hold armored OpenPGP secret keys" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 2, 3, 47, 48, 49, 1000])
def test_our_armor_is_armor(size: int) -> None:
    octets = bytes(range(256)) * 4
    result = subprocess.run(["gpg", "--dearmor"], input=public_block(octets[:size]), capture_output=True, check=False)
    assert result.stdout == octets[:size]
    assert b"CRC" not in result.stderr
