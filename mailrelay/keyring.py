"""Secrets and signing keys from files: never from arguments, never from the environment."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailrelay.core import dkim
from mailrelay.core.errors import BadConfig, Malformed

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


@dataclass(slots=True)
class DkimKeys:
    """Signing keys by domain, from `<folder>/<domain>/<selector>.pem`, read once until forgotten."""

    folder: Path
    _loaded: dict[str, Sequence[dkim.SigningKey]] = field(default_factory=dict)

    def __call__(self, domain: str) -> Sequence[dkim.SigningKey]:
        """RSA first; nothing if the domain has none. Raises BadConfig for a file that is no key."""
        keys = self._loaded.get(domain)
        if keys is None:
            keys = self._read(domain)
            if keys:  # a domain without keys may get some at any time
                self._loaded[domain] = keys
        return keys

    def _read(self, domain: str) -> Sequence[dkim.SigningKey]:
        keys = []
        for path in sorted((self.folder / domain).glob("*.pem")):
            try:
                keys.append(dkim.load_pem(path.read_bytes(), domain, path.stem))
            except (OSError, Malformed) as error:
                raise BadConfig((f"{path}: cannot be used: {error}",)) from error
        return tuple(sorted(keys, key=lambda key: (key.algorithm != "rsa-sha256", key.selector)))

    def forget(self) -> None:
        """Read the files again when they are needed next."""
        self._loaded.clear()
