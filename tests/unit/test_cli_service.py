"""secrets init, check-config, and the key files they are about."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mailrelay.cli.root import run
from mailrelay.core import dkim
from mailrelay.core.errors import Unavailable
from mailrelay.keyring import SERVICE_KEY, read_secret, read_service_keys
from mailrelay.signing import DkimKeys
from mailrelay.store import manage_keys
from mailrelay.store.manage_keys import SECRET_NAMES, DkimFolder, create

SETTINGS = """
service: {{domain: relay.example, hostname: mx.relay.example, operator: [admin@inbox.example]}}
database: {{dsn: "dbname=mailrelay"}}
secrets: {folder}/etc/secrets
dkim: {folder}/etc/dkim
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mailrelay.yaml"
    path.write_text(SETTINGS.format(folder=tmp_path))
    monkeypatch.setenv("MAILRELAY_CONFIG", str(path))
    return path


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_for_their_owner_alone(config: Path) -> None:
    assert run(["secrets", "init"]) == 0
    folder = config.parent / "etc" / "secrets"
    assert _mode(folder) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == sorted([*SECRET_NAMES, SERVICE_KEY])
    assert _mode(folder / SERVICE_KEY) == 0o600
    assert len(read_service_keys(folder)) == 1
    for name in SECRET_NAMES:
        assert _mode(folder / name) == 0o600
        assert [len(key) for key in read_secret(folder, name)] == [32]
    assert len({(folder / name).read_bytes() for name in SECRET_NAMES}) == len(SECRET_NAMES)


def test_secrets_that_are_there_stay(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.parent / "etc" / "secrets"
    folder.mkdir(parents=True)
    (folder / "srs.key").write_text("mine\n")
    assert run(["--json", "secrets", "init"]) == 0
    assert "srs.key" not in json.loads(capsys.readouterr().out)["created"]
    assert (folder / "srs.key").read_text() == "mine\n"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run(["secrets", "init"]) == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_of_many_who_make_a_file_one_wins_and_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "one.key"
    contents = [bytes([65 + number]) * 100_000 for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda content: create(path, content), contents))
    assert made.count(True) == 1
    assert path.read_bytes() == contents[made.index(True)]
    assert [entry.name for entry in path.parent.iterdir()] == ["one.key"]


def test_root_leaves_new_files_to_the_owner_of_their_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    create(tmp_path / "sub" / "x.key", b"x")
    assert (tmp_path / "sub").stat().st_uid == 65534
    assert (tmp_path / "sub" / "x.key").stat().st_uid == 65534


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match=r"file/sub/x\.key"):
        create(tmp_path / "file" / "sub" / "x.key", b"x")


def test_dkim_keys_are_made_once_and_the_mail_side_reads_them(tmp_path: Path) -> None:
    folder = DkimFolder(tmp_path / "dkim")
    texts = dict(folder.ensure("alias.example"))
    assert list(texts) == ["mr1", "mr1e"]
    assert texts["mr1"].startswith("v=DKIM1; k=rsa; p=MIIB")
    assert texts["mr1e"].startswith("v=DKIM1; k=ed25519; p=")
    assert dict(folder.ensure("alias.example")) == texts
    keys = DkimKeys(tmp_path / "dkim")("alias.example")
    assert {key.selector: dkim.public_record(key) for key in keys} == texts
    assert _mode(tmp_path / "dkim" / "alias.example") == 0o700
    assert {_mode(path) for path in (tmp_path / "dkim" / "alias.example").iterdir()} == {0o600}


def test_a_key_that_is_there_is_used_and_the_other_is_made(tmp_path: Path) -> None:
    folder = DkimFolder(tmp_path)
    first = dict(folder.ensure("alias.example"))
    (tmp_path / "alias.example" / "mr1e.pem").unlink()
    assert [selector for selector, _ in folder.texts("alias.example")] == ["mr1"]
    again = dict(folder.ensure("alias.example"))
    assert again["mr1"] == first["mr1"]
    assert again["mr1e"] != first["mr1e"]


def test_good_settings_are_ok(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["secrets", "init"]) == 0
    assert run(["domain", "add", "relay.example"]) == 0  # its keys need no database
    capsys.readouterr()
    assert run(["check-config"]) == 0
    assert capsys.readouterr().out == f"{config}: ok\n"
    assert run(["--json", "check-config"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"file": str(config), "ok": True, "problems": [], "remarks": []}


@pytest.mark.parametrize(
    "arguments", [["--json", "secrets", "init"], ["secrets", "--json", "init"], ["secrets", "init", "--json"]]
)
def test_json_may_stand_anywhere(arguments: list[str], config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check-config", "--json"]) == 78
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert run(arguments) == 0
    assert set(json.loads(capsys.readouterr().out)["created"]) == {*SECRET_NAMES, SERVICE_KEY}
    assert run(["secrets", "init"]) == 0
    assert capsys.readouterr().out.endswith("nothing was missing\n")


def test_a_listener_that_other_hosts_reach_is_remarked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with config.open("a") as file:
        file.write("lmtp: {listen: '0.0.0.0:10024'}\npolicy: {listen: '[2001:db8::1]:10031', socketmap: 'unix:/m'}\n")
    assert run(["secrets", "init"]) == 0
    assert run(["domain", "keys", "relay.example"]) == 0
    capsys.readouterr()
    assert run(["check-config"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{config}: ok\n"
    first, second = captured.err.splitlines()
    assert first.startswith(f"note: {config}: policy.listen: [2001:db8::1]:10031 is not loopback: ")
    assert second.startswith(f"note: {config}: lmtp.listen: 0.0.0.0:10024 is not loopback: ")
    assert second.endswith("use an address such as 127.0.0.1")
    assert run(["--json", "check-config"]) == 0
    assert json.loads(capsys.readouterr().out)["remarks"] == [first[6:], second[6:]]


def test_all_that_is_wrong_around_good_settings_is_named_at_once(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with config.open("a") as file:
        file.write("policy: {status: '127.0.0.1:9999'}\nworker: {status: '127.0.0.1:9999'}\n")
    assert run(["secrets", "init"]) == 0
    assert run(["domain", "add", "relay.example"]) == 0
    secrets, keys = config.parent / "etc" / "secrets", config.parent / "etc" / "dkim" / "relay.example"
    (secrets / "verp.key").chmod(0o640)
    (secrets / "srs.key").unlink()
    (secrets / "loop.key").write_text("not hexadecimal\n")
    (secrets / "ingress.key").write_text("00ff\n")
    (secrets / "storage.key").write_text("\n")
    (keys / "mr1.pem").write_text("nonsense")
    (keys / "mr1e.pem").unlink()
    capsys.readouterr()
    assert run(["check-config"]) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    found = {line.partition(": ")[0]: line.partition(": ")[2] for line in captured.err.splitlines()}
    assert found[str(config)] == "worker.status: 127.0.0.1:9999 is taken by policy.status"
    assert "may be read by others" in found[str(secrets / "verp.key")]
    assert "is missing" in found[str(secrets / "srs.key")]
    assert "not hexadecimal" in found[str(secrets / "loop.key")]
    assert "2 octets" in found[str(secrets / "ingress.key")]
    assert "holds no key" in found[str(secrets / "storage.key")]
    assert "not an unencrypted private key" in found[str(keys / "mr1.pem")]
    assert "is missing" in found[str(keys / "mr1e.pem")]
    assert run(["--json", "check-config"]) == 78
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["problems"] == captured.err.splitlines()


def test_bad_settings_are_a_json_document_too(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("frob: 1\n")
    assert run(["--json", "check-config"]) == 78
    document = json.loads(capsys.readouterr().out)
    assert [problem.split(": ")[1] for problem in document["problems"]] == ["service", "database", "frob"]


def test_the_records_of_the_service_domain_serve_its_bounces(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json", "domain", "add", "relay.example"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert all(set(record) == {"name", "type", "value"} for record in records)
    mx = {record["name"]: record["value"] for record in records if record["type"] == "MX"}
    assert mx == dict.fromkeys(("relay.example", "bounces.relay.example", "srs.relay.example"), "10 mx.relay.example")
    texts = [record["value"] for record in records if record["name"] == "mr1._domainkey.relay.example"]
    assert texts == [manage_keys.DkimFolder(config.parent / "etc" / "dkim").texts("relay.example")[0][1]]


def test_the_text_is_a_zone_file_whose_strings_fit(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["domain", "add", "relay.example"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "relay.example. IN MX 10 mx.relay.example." in lines
    (rsa,) = (line for line in lines if line.startswith("mr1._domainkey."))
    strings = rsa.split('"')[1::2]
    assert [len(text) <= 255 for text in strings] == [True, True]
    assert "".join(strings) == DkimFolder(config.parent / "etc" / "dkim").texts("relay.example")[0][1]


def test_domains_may_sign_with_the_keys_of_another(tmp_path: Path) -> None:
    folder = DkimFolder(tmp_path)
    shared = folder.share("part.example", "relay.example")
    assert shared == folder.texts("relay.example") != []
    assert folder.share("part.example", "relay.example") == shared
    assert folder.problems("part.example") == []
    assert [key.domain for key in DkimKeys(tmp_path)("part.example")] == ["part.example"] * 2
    own = folder.ensure("own.example")
    assert folder.share("own.example", "relay.example") == own  # which it had before
    assert folder.share("relay.example", "relay.example") == folder.texts("relay.example")
