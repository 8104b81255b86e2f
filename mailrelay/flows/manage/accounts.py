"""Making accounts, and what they sign in with."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from mailrelay.core import naming, totp
from mailrelay.core.address import Address
from mailrelay.core.errors import Conflict, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import AccountRecord, Named, NewAccount
from mailrelay.core.sealed import NONCE_OCTETS, Vault, seal
from mailrelay.flows.manage.ports import Bureau, Clock
from mailrelay.flows.passwords import check_password, hasher


class AccountStore(Protocol):
    async def add(self, new: NewAccount) -> AccountRecord: ...
    async def set_password(self, owner: Named | AccountId, password_hash: str) -> AccountRecord: ...
    async def set_second_factor(
        self, owner: Named | AccountId, secret: bytes | None, step: int | None, actor: str
    ) -> AccountRecord: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A second factor that is not shown to work yet. uri: what apps read."""

    account: AccountId
    uuid: UUID
    secret: bytes = field(repr=False)
    uri: str = field(repr=False)


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


def second_factor(account: AccountRecord, issuer: str, random: Callable[[int], bytes]) -> Offer:
    """A new second factor for an account. issuer: what apps call it by. Raises Conflict for one without password."""
    if not account.has_password:
        raise Conflict(f"{account.name} has no password, so that nobody signs in with one")
    secret = random(totp.SECRET_OCTETS)
    return Offer(account.id, account.uuid, secret, totp.uri(secret, issuer, account.name))


async def set_second_factor(
    store: AccountStore,
    vault: Vault,
    random: Callable[[int], bytes],
    clock: Clock,
    offer: Offer,
    code: str,
    actor: str,
) -> AccountRecord:
    """From now on, ask for codes at the sign-in. Raises Malformed for a wrong code, and Absent."""
    step = totp.matching_step(offer.secret, code, clock().timestamp(), None)
    if step is None:
        raise Malformed("that is not the code of this moment: nothing was changed; is the clock of the app right?")
    sealed = seal(vault, random(NONCE_OCTETS), totp.place(offer.uuid), offer.secret)
    return await store.set_second_factor(offer.account, sealed, step, actor)


async def end_second_factor(store: AccountStore, owner: Named | AccountId, actor: str) -> AccountRecord:
    """The password alone is enough again. Raises Absent."""
    return await store.set_second_factor(owner, None, None, actor)


async def hashed(password: str) -> str:
    """Argon2id hash as a PHC string; takes about 0.4 s of another thread. Raises Malformed for a bad length."""
    check_password(password)
    return await asyncio.to_thread(hasher().hash, password)
