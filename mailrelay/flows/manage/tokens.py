"""Making bearer tokens and API keys; the secret is returned once and kept nowhere."""

import hashlib
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from mailrelay.core import naming
from mailrelay.core.address import Address
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, NewToken, Owner, TokenRecord
from mailrelay.flows.manage.ports import Bureau, Clock

MAX_DAYS = 9999  # spec/haltman-api.md section 1.7
_ALPHABET = string.ascii_letters + string.digits


class TokenStore(Protocol):
    async def add(self, owner: Owner, new: NewToken) -> TokenRecord: ...
    async def add_for_mailbox(
        self, mailbox: Address, owner: Named | AccountId | None, new: NewToken
    ) -> TokenRecord: ...


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token and, this once, its secret."""

    token: str
    record: TokenRecord


def addy_token() -> str:
    """40 random characters and their CRC-32 in 8 hex digits, as clients of the addy.io API expect (its spec, 1.3)."""
    random = "".join(secrets.choice(_ALPHABET) for _ in range(40))
    return f"{random}{zlib.crc32(random.encode('ascii')):08x}"


def api_key() -> str:
    """64 lower-case hex characters."""
    return secrets.token_hex(32)


async def add(store: TokenStore, clock: Clock, owner: Owner, name: str, days: int | None) -> Issued:
    """A bearer token of an account. days: None for one that does not expire. Raises Malformed and Absent."""
    token = addy_token()
    return Issued(token, await store.add(owner, _new(token, clock, name, days)))


async def add_api_key(
    bureau: Bureau,
    store: TokenStore,
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
    return Issued(token, await store.add_for_mailbox(mailbox, owner, new))


def _new(
    token: str, clock: Clock, name: str, days: int | None, mailbox: Address | None = None, renew: bool = False
) -> NewToken:
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise Malformed(f"a token lives 1 to {MAX_DAYS} days")
    if len(name) > 50:
        raise Malformed("the name of a token has at most 50 characters")
    return NewToken(
        kind="addy" if mailbox is None else "api_key",
        name=name,
        hash=hashlib.sha256(token.encode("ascii")).digest(),
        display=token[:6],
        expires_at=None if days is None else clock() + timedelta(days=days),
        owner_email=None if mailbox is None else mailbox.folded,
        automatic_renew=renew,
    )
