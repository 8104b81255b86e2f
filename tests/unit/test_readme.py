"""The README tells no tales: its commands, options and files exist."""

import re
import shlex
from pathlib import Path

import click
import pytest

from mailrelay.cli.root import root

ROOT = Path(__file__).resolve().parents[2]
PAPERS = ("README.md", "SECURITY.md", "CHANGELOG.md", "conf/mailrelay.yaml")


def text(name: str) -> str:
    return (ROOT / name).read_text()


def commands(document: str) -> list[list[str]]:
    """The words of every `mailrelay …`, in code spans and in indented lines."""
    spans = re.findall(r"`(mailrelay [^`]+)`", document)
    lines = re.findall(r"^    (mailrelay [a-z][^#\n]*)", document, re.MULTILINE)
    words = [shlex.split(found)[1:] for found in (*spans, *lines)]
    return [found for found in words if found and found[0][0] in "abcdefghijklmnopqrstuvwxyz-"]


@pytest.mark.parametrize("name", PAPERS)
def test_commands_and_options_exist(name: str) -> None:
    for words in commands(text(name)):
        command: click.Command = root
        context = click.Context(root)
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            found = command.get_command(context, words[0])
            assert found is not None, f"mailrelay has no {' '.join(words)}"
            command, words = found, words[1:]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= known, words


def test_the_readme_names_commands_at_all() -> None:
    assert len(commands(text("README.md"))) > 10


@pytest.mark.parametrize("name", PAPERS)
def test_files_that_are_named_exist(name: str) -> None:
    document = text(name)
    linked = re.findall(r"\]\(([^)]+)\)", document)
    named = re.findall(r"`((?:conf|sql|systemd|tools|mailrelay)/[A-Za-z0-9_./-]*)", document)
    for path in [*named, *(target for target in linked if not target.startswith("http"))]:
        assert (ROOT / path).exists(), path
