"""The systemd units, judged by systemd itself."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from configparser import RawConfigParser
from pathlib import Path

import pytest
import yaml

from mailrelay.config import Milter, load
from mailrelay.wiring import Process, milter

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("policy", "milter", "lmtp", "api", "worker")
MAIL = ("verp", "loop", "srs", "ingress")
SECRETS = {
    "policy": MAIL,
    "milter": MAIL,
    "lmtp": (*MAIL, "url", "storage"),
    "api": ("url", "storage", "ownership", "session", "code"),
    "worker": (*MAIL, "url", "storage", "code"),
}
COMMAND = "/opt/mailrelay/bin/mailrelay"

# What may differ from role to role; all else is the same hardening.
OWN = {"Description", "ExecStart", "MemoryMax", "RuntimeDirectory", "InaccessiblePaths", "LoadCredential"}
# The worker asks webhooks anywhere, the milter and the api name servers; the worker makes signing keys; and the milter
# has processes below it, and a socket where Postfix looks.
API_OWN = {"IPAddressDeny", "IPAddressAllow"}
WORKER_OWN = {"ReadWritePaths", *API_OWN}
MILTER_OWN = {"KillMode", "TasksMax", "ReadWritePaths", *API_OWN}


class _Settings(dict[str, str]):
    """Keeps every value of a name that is given twice."""

    def __setitem__(self, name: str, value: object) -> None:
        old = self.get(name)
        if old is not None and isinstance(value, list):
            value = [*old, *value]
        super().__setitem__(name, value)  # type: ignore[assignment]


def unit(name: str) -> dict[str, dict[str, str]]:
    """Sections, names, and values; of a repeated name one value a line."""
    parser = RawConfigParser(dict_type=_Settings, strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((ROOT / "systemd" / name).read_text())
    return {section: dict(parser[section]) for section in parser.sections()}


def service(role: str) -> dict[str, str]:
    return unit(f"mailrelay-{role}.service")["Service"]


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """The units with a command that exists on this machine, as systemd-analyze looks for it."""
    command = shutil.which("true")
    assert command is not None
    for path in (ROOT / "systemd").iterdir():
        if path.suffix in (".service", ".target"):
            (tmp_path / path.name).write_text(path.read_text().replace(COMMAND, command))
    return tmp_path


# A machine without systemd cannot judge units; the tests of their settings still hold there.
JUDGE = shutil.which("systemd-analyze")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert JUDGE is not None
    return subprocess.run([JUDGE, *arguments], capture_output=True, text=True, check=False)


def files(folder: Path, pattern: str) -> Sequence[Path]:
    found = sorted(folder.glob(pattern))
    assert found
    return found


def test_systemd_finds_no_fault(rendered: Path) -> None:
    if JUDGE is None:
        return
    result = analyze("verify", "--man=no", *files(rendered, "*.*"))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_systemd_finds_a_fault_where_there_is_one(rendered: Path) -> None:
    if JUDGE is None:
        return
    path = rendered / "mailrelay-lmtp.service"
    path.write_text(path.read_text().replace("ProtectSystem=strict", "ProtectSystm=strict"))
    assert "ProtectSystm" in analyze("verify", "--man=no", path).stderr


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_little_exposed(rendered: Path, role: str) -> None:
    if JUDGE is None:
        return
    version = re.search(r"\d+", analyze("--version").stdout)
    assert version is not None
    if int(version[0]) < 250:
        return  # cannot judge a file that is not installed
    result = analyze("security", "--offline=true", "--no-pager", rendered / f"mailrelay-{role}.service")
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert exposure is not None, result.stderr
    assert float(exposure[1]) <= 1.5


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_shut_in(role: str) -> None:
    settings = service(role)
    yes = ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "PrivateUsers", "ProtectHome", "ProtectKernelModules")
    assert {name: settings.get(name) for name in yes} == dict.fromkeys(yes, "yes")
    assert settings["ProtectSystem"] == "strict"
    assert settings["CapabilityBoundingSet"] == ""
    assert settings["User"] == "mailrelay"
    assert settings["SystemCallFilter"].split("\n") == ["@system-service", "~@privileged @resources"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_tells_when_it_is_ready_and_comes_back(role: str) -> None:
    settings = service(role)
    assert settings["Type"] == "notify"
    assert settings["ExecStart"] == f"{COMMAND} -c /etc/mailrelay/mailrelay.yaml serve {role}"
    assert settings["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert settings["Restart"] == "always"
    assert settings["RestartPreventExitStatus"] == "78"  # BadConfig


def test_roles_share_their_hardening() -> None:
    apart = {"milter": MILTER_OWN, "worker": WORKER_OWN, "api": API_OWN}
    shared = {role: {name: value for name, value in service(role).items() if name not in OWN} for role in ROLES}
    alike = [settings for role, settings in shared.items() if role not in apart]
    assert all(settings == alike[0] for settings in alike)
    for role, own in apart.items():
        assert {name: value for name, value in shared[role].items() if name not in own} == {
            name: value for name, value in alike[0].items() if name not in own
        }


def test_the_milters_socket_has_a_folder_that_only_postfix_enters() -> None:
    lines = (ROOT / "systemd" / "mailrelay.tmpfiles").read_text().splitlines()
    (entry,) = (line.split() for line in lines if not line.startswith("#"))
    folder = str(Path(Milter().listen.path).parent)
    assert entry == ["d", folder, "0710", "mailrelay", "postfix", "-"]
    assert service("milter")["ReadWritePaths"] == folder


def test_secrets_come_as_credentials_and_only_those_who_need_them_see_signing_keys() -> None:
    for role in ROLES:
        signs = role in ("lmtp", "worker")
        names = [*(f"{name}.key" for name in SECRETS[role]), *(("service.pgp",) if signs else ())]
        secrets = [f"{name}:/etc/mailrelay/secrets/{name}" for name in names]
        assert service(role)["LoadCredential"].split() == secrets
        hidden = {path.removeprefix("-") for path in service(role)["InaccessiblePaths"].split()}
        assert hidden == {"/etc/mailrelay/secrets", *(() if signs else ("/etc/mailrelay/dkim",))}


def test_only_the_worker_makes_signing_keys() -> None:
    for role in ROLES:
        writes = [path.removeprefix("-") for path in service(role).get("ReadWritePaths", "").split()]
        assert ("/etc/mailrelay/dkim" in writes) == (role == "worker")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_needs_no_other_secrets(role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made as systemd starts it: with its credentials, and no sight of the folder that they come from."""
    for name in SECRETS[role]:
        (tmp_path / f"{name}.key").write_text("00" * 32 + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = {
        "service": {"domain": "relay.example", "hostname": "mx.relay.example", "operator": ["admin@inbox.example"]},
        "database": {"dsn": f"host={tmp_path}"},
        "secrets": str(tmp_path / "nowhere"),
        "dkim": str(tmp_path / "dkim"),
        "state": str(tmp_path),
        "api": {"url": "https://app.relay.example", "listen": f"unix:{tmp_path}/api"},
        "worker": {"mail_log": "/var/log/mail.log"},
    }
    path = tmp_path / "mailrelay.yaml"
    path.write_text(yaml.safe_dump(settings))
    if role == "milter":
        milter.Worker(path, load(path))
    else:
        Process(path, load(path), [role])


def test_the_target_starts_every_role_and_stops_it() -> None:
    wanted = unit("mailrelay.target")["Unit"]["Wants"].split()
    assert sorted(wanted) == sorted(path.name for path in files(ROOT / "systemd", "*.service"))
    for role in ROLES:
        assert unit(f"mailrelay-{role}.service")["Unit"]["PartOf"] == "mailrelay.target"


def test_postfix_and_the_database_are_not_required() -> None:
    for role in ROLES:
        settings = unit(f"mailrelay-{role}.service")["Unit"]
        assert {"postgresql.service", "postfix.service"} <= set(settings["After"].split())
        assert not {"Requires", "Requisite", "BindsTo", "Wants"} & set(settings)
