"""The lists that generated aliases draw their words from, in files: ours, or the operator's."""

import re
from dataclasses import fields
from pathlib import Path

from mailrelay.core.coining import WordLists
from mailrelay.core.errors import BadConfig

_HERE = Path(__file__).parent
_ENTRY = re.compile(r"[a-z]+")
_MAX_CHARACTERS = 20  # so that two, a separator and three digits fit into 50
_MIN_ENTRIES = 100


def load(folder: Path | None = None) -> WordLists:
    """The lists. folder: the operator's own, which come before ours; each file holds one entry per line, in a-z.

    Raises BadConfig with every mistake in the operator's files.
    """
    problems: list[str] = []
    lists = {field.name: _list(field.name, folder, problems) for field in fields(WordLists)}
    if folder is not None and not folder.is_dir():
        problems.append(f"addy.words: {folder} is no folder")
    if problems:
        raise BadConfig(tuple(problems))
    return WordLists(**lists)


def _list(name: str, folder: Path | None, problems: list[str]) -> tuple[str, ...]:
    file = f"{name.replace('_', '-')}.txt"
    path = _HERE / file
    if folder is not None and (folder / file).is_file():
        path = folder / file
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read: {error}")
        return ()
    entries = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    wrong = [entry for entry in entries if not _ENTRY.fullmatch(entry) or len(entry) > _MAX_CHARACTERS]
    problems.extend(f"{path}: {entry!r} is not 1 to {_MAX_CHARACTERS} of a-z" for entry in wrong[:10])
    if len(entries) < _MIN_ENTRIES:
        problems.append(f"{path}: holds {len(entries)} entries, fewer than {_MIN_ENTRIES}: they would be guessed")
    return entries
