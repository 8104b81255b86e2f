"""Making accounts and setting passwords."""

import asyncio
from typing import Protocol

from mailrelay.core import naming
from mailrelay.core.address import Address
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import AccountRecord, Named, NewAccount
from mailrelay.flows.manage.ports import Bureau

MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_CHARACTERS = 256


class AccountStore(Protocol):
    async def add(self, new: NewAccount) -> AccountRecord: ...
    async def set_password(self, owner: Named | AccountId, password_hash: str) -> AccountRecord: ...


async def add(
    bureau: Bureau,
    store: AccountStore,
    name: str,
    recipient: Address,
    *,
    verified: bool,
    is_admin: bool,
    password: str | None,
) -> AccountRecord:
    """A new account with its default recipient and, unless the name holds . or _, the username of the same name.

    password: None for an account that nobody signs in to yet. Raises Malformed and Conflict.
    """
    folded = naming.account_name(name)
    username = None if set(folded) & set("._") else naming.username(folded)
    ground = await bureau.grounds.read([recipient])
    naming.check_mailbox(recipient, ground, bureau.service, bureau.clock())
    password_hash = None if password is None else await hashed(password)
    return await store.add(NewAccount(folded, username, recipient, verified, is_admin, password_hash))


async def set_password(store: AccountStore, owner: Named | AccountId, password: str) -> AccountRecord:
    """Give an account a new password, which ends its sessions. Raises Malformed and Absent."""
    return await store.set_password(owner, await hashed(password))


async def hashed(password: str) -> str:
    """Argon2id hash as a PHC string; takes about 0.2 s of another thread. Raises Malformed for a bad length."""
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise Malformed(f"a password has {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters")
    from argon2 import PasswordHasher

    return await asyncio.to_thread(PasswordHasher().hash, password)
