"""Names that people cannot give themselves, from files of ours or of the operator's."""

from functools import cache
from pathlib import Path

from mailrelay.core.errors import BadConfig

_USERNAMES, _LOCAL_PARTS = (Path(__file__).with_name(name) for name in ("usernames.txt", "localparts.txt"))


def usernames(replacement: Path | None = None) -> frozenset[str]:
    """The reserved usernames, folded. replacement: a file instead of ours. Raises BadConfig."""
    return _words(replacement or _USERNAMES)


@cache
def local_parts() -> frozenset[str]:
    """The local parts that core.naming.is_role compares with."""
    return _words(_LOCAL_PARTS)


def _words(path: Path) -> frozenset[str]:
    """Words apart by white space; what follows # on a line is a comment."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise BadConfig((f"{path}: cannot be read: {error.strerror}",)) from error
    except UnicodeDecodeError as error:
        raise BadConfig((f"{path}: must be text in UTF-8",)) from error
    return frozenset(word.lower() for line in lines for word in line.partition("#")[0].split())
