"""Passwords and their argon2id hashes: in other threads, few at a time, and as slowly for those whom nobody knows."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from mailrelay.core.errors import Malformed, Unavailable

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_CHARACTERS = 256

_AT_ONCE = 2  # each takes 128 MiB and some 0.4 s of a core
_MAX_WAITING = 100  # less than half a minute's work; whoever comes then is told to come later


class Passwords:
    """One for each process."""

    def __init__(self, at_once: int = _AT_ONCE, max_waiting: int = _MAX_WAITING) -> None:
        self._gate = asyncio.Semaphore(at_once)
        self._room = at_once + max_waiting
        self._inside = 0
        self._decoy = _decoy()

    async def match(self, password_hash: str | None, password: str) -> bool:
        """Whether this is the password. One hash is computed whatever is known: also for None, which nothing matches.

        Raises Unavailable when too many wait.
        """
        async with self._turn():
            return await asyncio.to_thread(_verified, password_hash or self._decoy, password)

    async def hash(self, password: str) -> str:
        """A hash as a PHC string. Raises Malformed for a bad length, and Unavailable when too many wait."""
        check_password(password)
        async with self._turn():
            return await asyncio.to_thread(hasher().hash, password)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._inside >= self._room:
            raise Unavailable("too many passwords are being checked")
        self._inside += 1
        try:
            async with self._gate:
                yield
        finally:
            self._inside -= 1


def check_password(password: str) -> None:
    """Raises Malformed. The same wherever passwords are set or typed, so that all that can be set can be used."""
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise Malformed(f"a password has {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters")
    try:
        password.encode()
    except UnicodeEncodeError as error:
        raise Malformed("a password has no halves of characters") from error


def is_dated(password_hash: str) -> bool:
    """Whether new hashes are made otherwise."""
    from argon2.exceptions import InvalidHashError

    try:
        return hasher().check_needs_rehash(password_hash)
    except InvalidHashError:
        return True


@cache
def hasher() -> "PasswordHasher":
    """How hashes are made (haltman-api.md section 2.8). Old ones tell themselves how they were."""
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=4, memory_cost=128 * 1024, parallelism=1)


def _verified(password_hash: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return hasher().verify(password_hash, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


def _decoy() -> str:
    """A hash that nobody has the password of, as costly as new ones."""
    new = hasher()
    salt, digest = (
        base64.b64encode(secrets.token_bytes(octets)).decode().rstrip("=") for octets in (new.salt_len, new.hash_len)
    )
    return f"$argon2id$v=19$m={new.memory_cost},t={new.time_cost},p={new.parallelism}${salt}${digest}"
