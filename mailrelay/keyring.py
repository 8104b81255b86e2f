"""Secrets from files: never from arguments, never from the environment."""

import os
from pathlib import Path

from mailrelay.core.errors import BadConfig, Malformed
from mailrelay.core.servicekeys import generations

SERVICE_KEY = "service.pgp"

_MIN_OCTETS = 16


def read_secret(folder: Path, name: str) -> tuple[bytes, ...]:
    """The keys of one file, one hexadecimal key a line: the first signs, all verify.

    A systemd credential of that name goes before the folder. Raises BadConfig.
    """
    path = _path(folder, name)
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


def read_service_keys(folder: Path) -> tuple[bytes, ...]:
    """The service's OpenPGP secret keys, armored: the first signs, all decrypt. () if there is none yet.

    A systemd credential goes before the folder. Raises BadConfig.
    """
    path = _path(folder, SERVICE_KEY)
    try:
        return tuple(one.secret for one in generations(path.read_bytes()))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise BadConfig((f"{path}: cannot be read: {error.strerror}",)) from error
    except Malformed as error:
        raise BadConfig((f"{path}: {error}",)) from error


def read_line(path: Path) -> str:
    """The first line of a file that holds a secret. Raises BadConfig, also for an empty one."""
    try:
        line = path.read_text("utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig((f"{path}: cannot be read: {error}",)) from error
    if not line:
        raise BadConfig((f"{path}: its first line is empty",))
    return line


def _path(folder: Path, name: str) -> Path:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(credentials) / name if credentials and (Path(credentials) / name).exists() else folder / name
