"""Key files: the secrets of the installation and the DKIM keys of its domains. No key here is ever overwritten."""

import binascii
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailrelay.core import dkim
from mailrelay.core.errors import Conflict, Malformed, Unavailable
from mailrelay.core.servicekeys import generations

# What each is for: return paths, loop marks, SRS, ingress headers, mail and addresses kept at rest, signed links,
# proofs that domains are their accounts', sessions of the web interface, and codes in mails.
SECRET_NAMES = (
    *("verp.key", "loop.key", "srs.key", "ingress.key", "storage.key", "url.key", "ownership.key"),
    *("session.key", "code.key"),
)
SECRET_OCTETS = 32
SELECTORS = ("mr1", "mr1e")  # RSA 2048, Ed25519


def init_secrets(folder: Path) -> list[Path]:
    """Create the missing secret files, 0600 in a folder 0700; gives those that were made. Raises Unavailable."""
    made = []
    for name in SECRET_NAMES:
        path = folder / name
        if create(path, f"{secrets.token_hex(SECRET_OCTETS)}\n".encode("ascii")):
            made.append(path)
    return made


def rotate_secret(path: Path, replace: Callable[[Path, bytes], None]) -> int:
    """Put a new key in front of those of a secret file, which still verify or open; gives how many there are.

    replace: writes a file in one piece. Raises Conflict for a file with mistakes, and Unavailable.
    """
    lines = [secrets.token_hex(SECRET_OCTETS), *_lines(path)]
    _write(path, lines, replace)
    return len(lines)


def keep_secrets(path: Path, wanted: Callable[[bytes], bool], replace: Callable[[Path, bytes], None]) -> int:
    """Drop the keys of a secret file that are not wanted, but for the first; gives how many went.

    Raises as `rotate_secret` does.
    """
    lines = _lines(path)
    kept = [line for number, line in enumerate(lines) if number == 0 or wanted(bytes.fromhex(line))]
    if kept != lines:
        _write(path, kept, replace)
    return len(lines) - len(kept)


def _lines(path: Path) -> list[str]:
    problems = [problem for problem in _secret_problems(path) if "chmod" not in problem]
    if problems:
        raise Conflict("; ".join(problems))
    return path.read_text("ascii").split()


def _write(path: Path, lines: Sequence[str], replace: Callable[[Path, bytes], None]) -> None:
    try:
        replace(path, "".join(f"{line}\n" for line in lines).encode("ascii"))
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written: {error.strerror}") from error


def secret_problems(folder: Path) -> list[str]:
    """What is wrong with the secret files, one line each."""
    return [problem for name in SECRET_NAMES for problem in _secret_problems(folder / name)]


def service_key_problems(path: Path) -> list[str]:
    """What is wrong with the service's OpenPGP keys, one line each; nothing if there are none."""
    try:
        generations(path.read_bytes())
        mode = path.stat().st_mode
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{path}: cannot be read: {error.strerror}"]
    except Malformed as error:
        return [f"{path}: {error}"]
    return [f"{path}: may be read by others: chmod 600"] if mode & 0o077 else []


def _secret_problems(path: Path) -> list[str]:
    try:
        lines = path.read_text("ascii").split()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return [f"{path}: is missing; `mailrelay secrets init` creates it"]
    except (OSError, UnicodeDecodeError) as error:
        return [f"{path}: cannot be read: {error}"]
    problems = [f"{path}: may be read by others: chmod 600"] if mode & 0o077 else []
    if not lines:
        problems.append(f"{path}: holds no key")
    for number, line in enumerate(lines, 1):
        try:
            octets = len(binascii.unhexlify(line))
        except binascii.Error:
            problems.append(f"{path}: key {number} is not hexadecimal")
            continue
        if octets < SECRET_OCTETS // 2:
            problems.append(f"{path}: key {number} has {octets} octets, {SECRET_OCTETS} are usual")
    return problems


@dataclass(frozen=True, slots=True)
class DkimFolder:
    """One folder per domain, in it one PEM file per selector."""

    root: Path

    def ensure(self, domain: str) -> Sequence[tuple[str, str]]:
        """Selector and DNS text of each key of a domain; missing keys are made. Raises Unavailable."""
        return [(selector, self._text(domain, selector)) for selector in SELECTORS]

    def share(self, domain: str, owner: str) -> Sequence[tuple[str, str]]:
        """The same for a domain that signs with the keys of another, as long as it has none of its own."""
        if not self.present(domain):
            self.ensure(owner)
            for selector in SELECTORS:
                link(self.root / domain / f"{selector}.pem", Path("..") / owner / f"{selector}.pem")
        return self.texts(domain)

    def texts(self, domain: str) -> Sequence[tuple[str, str]]:
        """Selector and DNS text of those keys that are there."""
        return [(selector, self._text(domain, selector)) for selector in self.present(domain)]

    def present(self, domain: str) -> Sequence[str]:
        """Selectors whose key is there."""
        return [selector for selector in SELECTORS if (self.root / domain / f"{selector}.pem").is_file()]

    def problems(self, domain: str) -> list[str]:
        """What is wrong with the keys of a domain, one line each."""
        return [problem for selector in SELECTORS for problem in self._problems(domain, selector)]

    def _problems(self, domain: str, selector: str) -> list[str]:
        path = self.root / domain / f"{selector}.pem"
        try:
            content, mode = path.read_bytes(), path.stat().st_mode
        except FileNotFoundError:
            return [f"{path}: is missing; `mailrelay domain keys {domain}` creates it"]
        except OSError as error:
            return [f"{path}: cannot be read: {error.strerror}"]
        problems = [f"{path}: may be read by others: chmod 600"] if mode & 0o077 else []
        try:
            dkim.load_pem(content, domain, selector)
        except Malformed as error:
            problems.append(f"{path}: {error}")
        return problems

    def _text(self, domain: str, selector: str) -> str:
        path = self.root / domain / f"{selector}.pem"
        if not path.exists():
            create(path, _new_key(selector))
        try:
            return dkim.public_record(dkim.load_pem(path.read_bytes(), domain, selector))
        except (OSError, Malformed) as error:
            raise Unavailable(f"{path}: cannot be used: {error}") from error


def _new_key(selector: str) -> bytes:
    """A fresh private key, PKCS #8 in PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate() if selector.endswith("e") else generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def create(path: Path, content: bytes) -> bool:
    """Write a file that only its owner may read, unless it is there; False if it is. Raises Unavailable.

    Missing folders are made for the owner alone. Root leaves new files to the owner of the folder above, who has to
    read them. The file appears under its name complete: whoever starts at the same time sees all of it or nothing.
    """
    try:
        owner = _make_folder(path.parent)
        if path.exists():
            return False
        draft = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if owner is not None:
                    os.fchown(file.fileno(), *owner)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written: {error.strerror}") from error
    return True


def link(path: Path, target: Path) -> None:
    """Make a symbolic link, unless something is there. Raises Unavailable."""
    try:
        owner = _make_folder(path.parent)
        path.symlink_to(target)
        if owner is not None:
            os.lchown(path, *owner)
    except FileExistsError:
        return
    except OSError as error:
        raise Unavailable(f"{path}: cannot be made: {error.strerror}") from error


def _make_folder(folder: Path) -> tuple[int, int] | None:
    """Make a folder, 0700; gives whom its files shall belong to, None: to us."""
    if not folder.is_dir():
        owner = _make_folder(folder.parent) if not folder.parent.is_dir() else _owner(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        if owner is not None:
            os.chown(folder, *owner)
    return _owner(folder)


def _owner(folder: Path) -> tuple[int, int] | None:
    status = folder.stat()
    return (status.st_uid, status.st_gid) if os.geteuid() == 0 and status.st_uid != 0 else None
