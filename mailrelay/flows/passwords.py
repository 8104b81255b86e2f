"""Passwords against argon2id hashes: in other threads, few at a time, and as slowly for those whom nobody knows."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mailrelay.core.errors import Unavailable

_AT_ONCE = 2  # each takes 64 MiB and some 0.1 s of several cores
_MAX_WAITING = 100  # half a minute's work; whoever comes then is told to come later


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


def _verified(password_hash: str, password: str) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(password_hash, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


def _decoy() -> str:
    """A hash that nobody has the password of, as costly as new ones."""
    from argon2 import PasswordHasher

    new = PasswordHasher()
    salt, digest = (
        base64.b64encode(secrets.token_bytes(octets)).decode().rstrip("=") for octets in (new.salt_len, new.hash_len)
    )
    return f"$argon2id$v=19$m={new.memory_cost},t={new.time_cost},p={new.parallelism}${salt}${digest}"
