"""The wheel that is installed, built as a release builds it."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """Built without network and without an environment of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [path] = folder.glob("*.whl")
    return ZipFile(path)


@pytest.mark.parametrize("folder", ["sql", "conf", "systemd"])
def test_what_an_installation_needs_is_inside(wheel: ZipFile, folder: str) -> None:
    sources = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert sources
    inside = set(wheel.namelist())
    for path in sources:
        name = f"mailrelay/share/{path.relative_to(ROOT)}"
        assert name in inside
        assert wheel.read(name) == path.read_bytes()


def test_word_lists_and_what_their_sources_ask_for_are_inside(wheel: ZipFile) -> None:
    files = [path for path in (ROOT / "mailrelay/words").iterdir() if path.suffix in (".txt", ".md")]
    assert len(files) == 7
    for path in files:
        assert wheel.read(str(path.relative_to(ROOT))) == path.read_bytes()


def test_all_code_is_inside_and_nothing_else(wheel: ZipFile) -> None:
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "mailrelay").rglob("*.py")}
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert code <= inside
    others = {name for name in inside - code if not name.startswith("mailrelay/share/")}
    assert {name for name in others if not name.startswith("mailrelay/") or name.endswith(".pyc")} == set()


def test_the_command_the_licence_and_the_readme_are_named(wheel: ZipFile) -> None:
    texts = {
        Path(name).name: wheel.read(name).decode()
        for name in wheel.namelist()
        if ".dist-info/" in name and not name.endswith("/")
    }
    assert "mailrelay = mailrelay.cli:main" in texts["entry_points.txt"]
    assert texts["LICENSE"] == (ROOT / "LICENSE").read_text()
    assert "License-Expression: MIT" in texts["METADATA"]
    assert "# mailrelay" in texts["METADATA"]
