"""Making bearer tokens, API keys and app passwords; the secret is returned once and kept nowhere."""

import asyncio
import hashlib
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from mailrelay.core import naming
from mailrelay.core.address import Address
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, NewAppPassword, NewToken, Owner, TokenRecord
from mailrelay.flows.manage.ports import Bureau, Clock

MAX_DAYS = 9999  # spec/haltman-api.md section 1.7
_ALPHABET = string.ascii_letters + string.digits
_BASE32 = string.ascii_lowercase + "234567"


class TokenStore(Protocol):
    async def add(self, owner: Owner, new: NewToken, actor: str) -> TokenRecord: ...
    async def add_for_mailbox(
        self, mailbox: Address, owner: Named | AccountId | None, new: NewToken, actor: str
    ) -> TokenRecord: ...


class AppPasswordStore(Protocol):
    async def add_app_password(
        self, owner: Named | Address, account: Named | None, new: NewAppPassword, actor: str
    ) -> tuple[TokenRecord, tuple[str, ...]]: ...


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token and, this once, its secret."""

    token: str
    record: TokenRecord


@dataclass(frozen=True, slots=True)
class IssuedAppPassword:
    """A new app password, this once, and the names that one can log in with."""

    password: str
    logins: tuple[str, ...]
    record: TokenRecord


def addy_token() -> str:
    """40 random characters and their CRC-32 in 8 hex digits, as clients of the addy.io API expect (its spec, 1.3)."""
    random = "".join(secrets.choice(_ALPHABET) for _ in range(40))
    return f"{random}{zlib.crc32(random.encode('ascii')):08x}"


def api_key() -> str:
    """64 lower-case hex characters."""
    return secrets.token_hex(32)


def app_password() -> str:
    """Four times eight lower-case letters and digits, with hyphens between.

    The first eight tell which one it is (40 bits, no secret), the others are secret (120 bits).
    """
    return "-".join("".join(secrets.choice(_BASE32) for _ in range(8)) for _ in range(4))


async def add(store: TokenStore, clock: Clock, actor: str, owner: Owner, name: str, days: int | None) -> Issued:
    """A bearer token of an account. days: None for one that does not expire. Raises Malformed and Absent."""
    token = addy_token()
    return Issued(token, await store.add(owner, _new(token, clock, name, days), actor))


def bearer_token(token: str, name: str, expires_at: datetime | None, ip: str, user_agent: str) -> NewToken:
    """What is stored of a bearer token that somebody asked for over HTTP. ip, user_agent: '' if unknown."""
    return NewToken(
        kind="addy",
        name=name,
        hash=hashlib.sha256(token.encode("ascii")).digest(),
        display=token[:6],
        expires_at=expires_at,
        created_ip=ip or None,
        user_agent=user_agent or None,
    )


async def add_api_key(
    bureau: Bureau,
    store: TokenStore,
    actor: str,
    mailbox: Address,
    owner: Named | AccountId | None,
    name: str,
    days: int,
    renew: bool,
) -> Issued:
    """An API key that acts for a mailbox, which counts as verified unless an account is named.

    owner: None for the account that stands for the mailbox. renew: every use shortly before the end prolongs it.
    Raises Malformed, Conflict and Absent.
    """
    ground = await bureau.grounds.read([mailbox])
    naming.check_mailbox(mailbox, ground, bureau.service, bureau.clock())
    token = api_key()
    new = _new(token, bureau.clock, name, days, mailbox, renew)
    return Issued(token, await store.add_for_mailbox(mailbox, owner, new, actor))


async def add_app_password(
    store: AppPasswordStore,
    clock: Clock,
    actor: str,
    owner: Named | Address,
    account: Named | None,
    name: str,
    days: int | None,
) -> IssuedAppPassword:
    """A password for the host's submission service, of an account or of whoever has a mailbox as verified recipient.

    account: which one, if several have the mailbox. days: None for one that does not expire. Raises Malformed, Absent
    and Conflict.
    """
    _check(name, days)
    password = app_password()
    new = NewAppPassword(name, await _argon2id(password), password[:8], _expiry(clock, days))
    record, logins = await store.add_app_password(owner, account, new, actor)
    return IssuedAppPassword(password, logins, record)


async def _argon2id(password: str) -> str:
    """PHC string that Dovecot verifies as {ARGON2ID}.

    With 19 MiB and two passes, OWASP's smallest profile, it costs Dovecot about 20 ms, during which it answers nobody
    else; the costlier profile of passwords that people choose would add nothing to 120 random bits.
    """
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
    return await asyncio.to_thread(hasher.hash, password)


def _new(
    token: str, clock: Clock, name: str, days: int | None, mailbox: Address | None = None, renew: bool = False
) -> NewToken:
    _check(name, days)
    return NewToken(
        kind="addy" if mailbox is None else "api_key",
        name=name,
        hash=hashlib.sha256(token.encode("ascii")).digest(),
        display=token[:6],
        expires_at=_expiry(clock, days),
        owner_email=None if mailbox is None else mailbox.folded,
        automatic_renew=renew,
    )


def _check(name: str, days: int | None) -> None:
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise Malformed(f"a token lives 1 to {MAX_DAYS} days")
    if len(name) > 50:
        raise Malformed("the name of a token has at most 50 characters")


def _expiry(clock: Clock, days: int | None) -> datetime | None:
    return None if days is None else clock() + timedelta(days=days)
