"""tools/lib.sh keeps its hands off the virtual environments of other checkouts, and knows what to install."""

import json
import subprocess
import venv
from pathlib import Path

import pytest

LIB = Path(__file__).parents[2] / "tools" / "lib.sh"


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders; the first has a .venv that runs the source in it."""
    first, second = tmp_path / "first one", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    venv.create(first / ".venv", with_pip=False)
    (packages,) = (first / ".venv" / "lib").glob("python*/site-packages")
    info = packages / "mailrelay-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mailrelay\nVersion: 0\n")
    (info / "direct_url.json").write_text(json.dumps({"url": first.as_uri(), "dir_info": {"editable": True}}))
    return first, second


def _refuse_foreign_venv(checkout: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-euc", f". '{LIB}'; refuse_foreign_venv"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def test_its_own_environment_is_fine_and_so_is_none(checkouts: tuple[Path, Path]) -> None:
    for checkout in checkouts:
        done = _refuse_foreign_venv(checkout)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_link_to_the_environment_of_another_checkout_is_refused(checkouts: tuple[Path, Path]) -> None:
    first, second = checkouts
    (second / ".venv").symlink_to(first / ".venv")
    done = _refuse_foreign_venv(second)
    assert done.returncode == 1
    assert f"{second}/.venv is a link to {first}/.venv" in done.stderr
    assert "remove the link" in done.stderr


def test_an_environment_that_runs_the_source_of_another_checkout_is_refused(checkouts: tuple[Path, Path]) -> None:
    first, second = checkouts
    (first / ".venv").rename(second / ".venv")
    done = _refuse_foreign_venv(second)
    assert done.returncode == 1
    assert f"{second}/.venv runs mailrelay from {first}, which is another checkout" in done.stderr


def test_a_checkout_that_was_moved_is_still_the_same(checkouts: tuple[Path, Path]) -> None:
    first, second = checkouts
    moved = first.rename(second / "moved")
    assert _refuse_foreign_venv(moved).returncode == 0


@pytest.mark.parametrize(
    ("stand_ins", "packages", "expected"),
    [
        (
            "find_python() { return 1; }",
            "gcc python3.12 python3.12-venv",
            "gcc python3.12 python3.12-venv python3.12-dev",
        ),
        ("find_python() { echo python3; }; has_headers() { return 0; }", "gcc", "gcc"),
        (
            "find_python() { echo fake; }; has_headers() { return 1; }; fake() { echo 3.13; }",
            "gcc",
            "gcc python3.13-dev",
        ),
    ],
    ids=["python-to-come", "headers-there", "headers-missing"],
)
def test_headers_come_for_the_python_that_is_used(stand_ins: str, packages: str, expected: str) -> None:
    command = ["bash", "-euc", f". '{LIB}'; {stand_ins}; python_headers {packages}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected.split()


@pytest.mark.parametrize(
    ("wanted", "missing"),
    [([], ""), (["chromium"], "chromium"), (["dovecot", "chromium"], "chromium"), (["dovecot"], "")],
    ids=["check", "browser", "all", "system"],
)
def test_what_a_group_of_tests_needs_is_installed_with_it(wanted: list[str], missing: str) -> None:
    """No group skips what it has no program for."""
    stand_ins = (
        "id() { echo 0; }; compgen() { :; }; venv_fits() { :; }; milter_fits() { :; }; dovecot_fits() { :; };"
        " chromium_fits() { return 1; }; install_packages() { echo $*; }"
    )
    command = ["bash", "-euc", f". '{LIB}'; {stand_ins}; ensure_packages {' '.join(wanted)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == missing
