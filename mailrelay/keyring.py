"""Secrets from files: never from arguments, never from the environment."""

import os
from pathlib import Path

from mailrelay.core.errors import BadConfig

_MIN_OCTETS = 16


def read_secret(folder: Path, name: str) -> tuple[bytes, ...]:
    """The keys of one file, one hexadecimal key a line: the first signs, all verify.

    A systemd credential of that name goes before the folder. Raises BadConfig.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(credentials) / name if credentials and (Path(credentials) / name).exists() else folder / name
    try:
        lines = path.read_text("ascii").split()
        keys = tuple(bytes.fromhex(line) for line in lines)
    except FileNotFoundError as error:
        raise BadConfig((f"{path}: is missing; `mailrelay secrets init` makes it",)) from error
    except OSError as error:
        raise BadConfig((f"{path}: cannot be read: {error.strerror}",)) from error
    except (UnicodeDecodeError, ValueError) as error:
        raise BadConfig((f"{path}: must hold one hexadecimal key a line",)) from error
    if not keys or min(map(len, keys)) < _MIN_OCTETS:
        raise BadConfig((f"{path}: needs a key of at least {_MIN_OCTETS} octets",))
    return keys
