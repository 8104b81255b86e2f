"""OpenPGP keys of all common kinds, made by GnuPG, and GnuPG as the judge of what we make."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

NOW = datetime.now(UTC).replace(microsecond=0)

_BATCH = (
    "gpg",
    "--batch",
    "--no-tty",
    "--no-options",
    "--trust-model",
    "always",
    "--pinentry-mode",
    "loopback",
    "--yes",
)


@dataclass(frozen=True)
class Gpg:
    """One home folder of GnuPG, whose keys have no passphrase."""

    home: Path

    def run(self, *arguments: str, given: bytes = b"", status: bool = False) -> bytes:
        """What it writes, or with status, what it says to programs. Fails the test if it fails."""
        channel = ("--status-fd", "2") if status else ()
        command = [*_BATCH, "--homedir", str(self.home), "--passphrase", "", *channel, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stderr if status else done.stdout

    def create(self, user_id: str, primary: str, *subkeys: str, expires: str = "never", at: str | None = None) -> str:
        """The fingerprint of a new key. primary: algorithm and usage; subkeys: encrypt, expire as the primary does.

        at: when it is made, as `20200101T000000`.
        """
        clock = ("--faked-system-time", f"{at}!") if at else ()
        algorithm, _, usage = primary.partition(" ")
        said = self.run(*clock, "--quick-gen-key", user_id, algorithm, usage or "cert,sign", expires, status=True)
        fingerprint = next(line.split()[3] for line in said.decode().splitlines() if "KEY_CREATED" in line)
        for subkey in subkeys:
            self.run(*clock, "--quick-add-key", fingerprint, subkey, "encr", expires)
        return fingerprint

    def batch(self, *lines: str) -> str:
        """The fingerprint of a new key made from a parameter file."""
        text = "\n".join(("%no-protection", *lines, "%commit", ""))
        said = self.run("--gen-key", given=text.encode(), status=True)
        return next(line.split()[3] for line in said.decode().splitlines() if "KEY_CREATED" in line)

    def edit(self, fingerprint: str, *commands: str) -> None:
        """What one types into --edit-key."""
        typed = "\n".join((*commands, "save", "")).encode()
        self.run("--no-batch", "--command-fd", "0", "--expert", "--edit-key", fingerprint, given=typed)

    def revoke(self, fingerprint: str) -> None:
        """With the certificate that GnuPG puts by."""
        text = (self.home / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text()
        self.run("--import", given=text.replace(":-----BEGIN", "-----BEGIN").encode())

    def public(self, *fingerprints: str, armor: bool = False) -> bytes:
        return self.run(*(["--armor"] if armor else []), "--export", *fingerprints)

    def secret(self, fingerprint: str) -> bytes:
        return self.run("--export-secret-keys", fingerprint)

    def decrypt(self, message: bytes, verify: bytes) -> tuple[bytes, str]:
        """What a message says, and the fingerprint of the primary key whose good signature it bears.

        verify: the public key to verify with.
        """
        self.run("--import", given=verify)
        said = self.run("--decrypt", given=message, status=True).decode("latin-1")  # notations are binary
        assert "[GNUPG:] GOODSIG" in said and "[GNUPG:] DECRYPTION_OKAY" in said, said
        signer = next(line.split()[-1] for line in said.splitlines() if "VALIDSIG" in line)
        return self.run("--decrypt", given=message), signer

    def stop(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=True, capture_output=True)


def home(folder: Path) -> Iterator[Gpg]:
    """A new home folder; its agent ends with it."""
    folder.mkdir(mode=0o700)
    gpg = Gpg(folder)
    yield gpg
    gpg.stop()


def framed(tag: int, body: bytes) -> bytes:
    """A packet with a long length of the present format."""
    return bytes((0xC0 | tag, 0xFF)) + len(body).to_bytes(4) + body


def number(octets: bytes) -> bytes:
    """A multiprecision integer whose first octet has its highest bit set, or as many as it has."""
    bits = int.from_bytes(octets).bit_length()
    return bits.to_bytes(2) + octets
