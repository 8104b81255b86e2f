"""What holds for every command: speed of starting, exit codes, and where output goes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mailrelay import __version__
from mailrelay.cli.root import _COMMANDS, run
from mailrelay.core.errors import Absent, Conflict, Malformed, Unavailable
from mailrelay.store.manage_aliases import Aliases

SETTINGS = """
service: {{domain: relay.example, hostname: mx.relay.example, operator: [admin@inbox.example]}}
database: {{dsn: "host={folder} dbname=mailrelay"}}
secrets: {folder}/secrets
dkim: {folder}/dkim
log: {{level: {level}}}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings whose database is a folder without a server."""
    path = tmp_path / "mailrelay.yaml"
    path.write_text(SETTINGS.format(folder=tmp_path, level="info"))
    monkeypatch.setenv("MAILRELAY_CONFIG", str(path))
    return path


def _loaded_by(*arguments: str) -> tuple[str, set[str]]:
    """What the command prints, and the names of the modules it imported."""
    program = f"""
import sys
sys.argv = ["mailrelay", *{arguments!r}]
from mailrelay.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout, set(done.stderr.split())


def test_the_version_is_told_without_loading_anything() -> None:
    printed, modules = _loaded_by("--version")
    assert printed == f"mailrelay {__version__}\n"
    assert not modules & {"click", "psycopg", "pydantic", "mailrelay.cli.root"}


def test_help_lists_every_command_without_loading_any() -> None:
    printed, modules = _loaded_by("--help")
    for name in ("serve", "migrate", "check-config", "adopt", "release", "account", "api-key", "alias", "trace"):
        assert f"\n  {name} " in printed
    assert not modules & {"psycopg", "pydantic", "cryptography", "mailrelay.cli.aliases"}


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_listed_command_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"Usage: mailrelay {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["frob"], ["alias", "add"], ["domain", "add", "a.example", "--wrong"], ["serve", "x"]]
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: " in captured.err


def test_without_settings_it_is_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.yaml"
    assert run(["-c", str(missing), "account", "list"]) == 78
    assert capsys.readouterr().err == f"{missing}: cannot be read: No such file or directory\n"


def test_every_mistake_in_the_settings_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mailrelay.yaml"
    path.write_text("service: {domain: relay.example}\nsubmit: {address: nowhere}\nfrob: 1\n")
    assert run(["-c", str(path), "account", "list"]) == 78
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert {line.split(": ")[1] for line in lines} == {
        "service.hostname",
        "service.operator",
        "submit.address",
        "frob",
        "database",
    }


def test_a_database_that_is_away_is_75_at_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["account", "list"]) == 75
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "No such file or directory" in captured.err


def test_migrate_says_that_the_database_is_away(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate"]) == 75
    assert "cannot be migrated now" in capsys.readouterr().err


def test_a_bad_address_is_65_and_is_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alias", "show", "no address"]) == 65
    assert "'no address'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Conflict("x is taken"), 1),
        (Absent("there is no x"), 1),
        (Malformed("x is odd"), 65),
        (Unavailable("x is away"), 75),
    ],
)
def test_each_error_has_its_code_and_its_words(
    error: Exception, code: int, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("mailrelay.config.load", fails)
    assert run(["alias", "show", "shop@alias.example"]) == code
    assert capsys.readouterr().err == f"mailrelay: {error}\n"


@pytest.mark.parametrize(("level", "traceback"), [("info", False), ("debug", True)])
def test_a_bug_is_70_and_shows_where_only_while_debugging(
    level: str,
    traceback: bool,
    tmp_path: Path,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def no_probe(dsn: str) -> None:
        """The database is not what this is about."""

    async def fails(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    config.write_text(SETTINGS.format(folder=tmp_path, level=level))
    monkeypatch.setattr("mailrelay.cli.app._probe", no_probe)
    monkeypatch.setattr(Aliases, "show", fails)
    assert run(["alias", "show", "shop@alias.example"]) == 70
    error = capsys.readouterr().err
    assert error.endswith("mailrelay: internal error: ZeroDivisionError: a bug\n")
    assert ("Traceback" in error) is traceback


def test_a_reader_that_leaves_hears_no_complaint(config: Path) -> None:
    program = "import sys; from mailrelay.cli.root import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_json_goes_to_standard_output_alone(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json", "secrets", "init"]) == 0
    captured = capsys.readouterr()
    made = ["verp.key", "loop.key", "srs.key", "ingress.key", "storage.key", "url.key", "ownership.key", "session.key"]
    made += ["code.key", "service.pgp"]
    assert json.loads(captured.out) == {"folder": str(config.parent / "secrets"), "created": made}
    assert captured.err == ""
