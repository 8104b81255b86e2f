"""Signing keys from files, kept in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailrelay.core import dkim
from mailrelay.core.errors import BadConfig, Malformed


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
