"""A person with GnuPG: a key pair of her own, and mail that she opens with it."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.sandbox.process import Trouble

_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in an encrypted message. signed: one of the keys that the person knows vouches for it."""

    content: bytes
    signed: bool


@dataclass(frozen=True, slots=True)
class Gnupg:
    """home: a folder of her own; its path is short, as a socket comes into it. Raises Trouble if gpg does not work."""

    home: Path

    def public_key(self, address: str) -> str:
        """The key for an address, made when it is asked for first; armored."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        if not self._run("--list-secret-keys", "--with-colons"):
            self._run("--quick-generate-key", address, "future-default", "default", "never")
        return self._run("--armor", "--export", address).decode("ascii")

    def know(self, key: bytes) -> None:
        """Take somebody's public key."""
        self._run("--import", content=key)

    def open(self, message: bytes) -> Opened:
        """Decrypt a message, or the armor that is somewhere in it."""
        status = self.home / "status"
        content = self._run("--status-file", str(status), "--decrypt", content=_armor(message))
        return Opened(content, b"[GNUPG:] GOODSIG" in status.read_bytes())

    def close(self) -> None:
        """End the agent that gpg started."""
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=self._environment, check=False, timeout=_SECONDS)

    @property
    def _environment(self) -> dict[str, str]:
        return {"GNUPGHOME": str(self.home), "PATH": os.environ["PATH"], "LC_ALL": "C"}

    def _run(self, *words: str, content: bytes = b"") -> bytes:
        command = ["gpg", "--batch", "--yes", "--no-options", "--pinentry-mode", "loopback", "--passphrase", ""]
        done = subprocess.run(
            [*command, "--trust-model", "always", *words],
            input=content,
            capture_output=True,
            env=self._environment,
            check=False,
            timeout=_SECONDS,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace")
            raise Trouble(f"gpg {words[0]} ended with status {done.returncode}:\n{said}")
        return done.stdout


def _armor(message: bytes) -> bytes:
    begin = message.find(b"-----BEGIN PGP MESSAGE-----")
    if begin < 0:
        raise Trouble("the message is not encrypted")
    return message[begin:]
