"""The file of the service's OpenPGP keys, secrets/service.pgp: all generations, the newest first, armored."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mailrelay.core.errors import Conflict, Malformed, Unavailable
from mailrelay.core.servicekeys import Generation, generations, written
from mailrelay.store.manage_keys import create


@dataclass(frozen=True, slots=True)
class ServiceKeyFile:
    """replace: writes an existing file in one piece."""

    path: Path
    replace: Callable[[Path, bytes], None]

    def create(self, secret: bytes, now: datetime) -> None:
        """Write the first key. Raises Conflict if there is one, and Unavailable."""
        if not create(self.path, written([Generation(secret, now)])):
            raise Conflict(f"{self.path} is there; `mailrelay pgp-key rotate` puts a new key in front")

    def read(self) -> tuple[Generation, ...]:
        """All keys, the newest first. Raises Conflict without a key, Malformed, and Unavailable."""
        try:
            return generations(self.path.read_bytes())
        except FileNotFoundError as error:
            raise Conflict(f"{self.path} is missing; `mailrelay pgp-key create` makes the first key") from error
        except OSError as error:
            raise Unavailable(f"{self.path}: cannot be read: {error.strerror}") from error
        except Malformed as error:
            raise Malformed(f"{self.path}: {error}") from error

    def rotate(self, secret: bytes, now: datetime) -> int:
        """Put a new key in front; those whose time is over go. Gives how many went. Raises as `read` does."""
        # Of what somebody else put there the end is not known; from now on it is.
        known = generations(written([Generation(secret, now), *self.read()]))
        kept = [one for one in known if not one.is_over(now)]
        try:
            self.replace(self.path, written(kept))
        except OSError as error:
            raise Unavailable(f"{self.path}: cannot be written: {error.strerror}") from error
        return len(known) - len(kept)
