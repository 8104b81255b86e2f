"""Names that people cannot give themselves, from a file of ours or of the operator's."""

from pathlib import Path

from mailrelay.core.errors import BadConfig

_OURS = Path(__file__).with_name("usernames.txt")


def usernames(replacement: Path | None = None) -> frozenset[str]:
    """The reserved usernames, folded. replacement: a file instead of ours. Raises BadConfig.

    Words apart by white space; what follows # on a line is a comment.
    """
    path = replacement or _OURS
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise BadConfig((f"{path}: cannot be read: {error.strerror}",)) from error
    except UnicodeDecodeError as error:
        raise BadConfig((f"{path}: must be text in UTF-8",)) from error
    return frozenset(word.lower() for line in lines for word in line.partition("#")[0].split())
