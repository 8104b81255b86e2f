"""What only the owner of an account may do, who shows that by its password: delete it, make tokens."""

from dataclasses import dataclass
from typing import Protocol

from mailrelay.core.facts import AccountId
from mailrelay.core.records import AccountRecord, Named, NewToken, Owner, TokenRecord
from mailrelay.core.signin import Device, SignedIn, Visitor, expiry
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.manage.tokens import addy_token, bearer_token
from mailrelay.flows.passwords import Passwords


class Secrets(Protocol):
    """As store/signin.py. Raises Unavailable."""

    async def password_of(self, account: AccountId) -> tuple[str | None, bool]: ...


class Accounts(Protocol):
    async def delete(self, owner: Named | AccountId, reason: str | None, actor: str) -> AccountRecord: ...


class Tokens(Protocol):
    async def add(self, owner: Owner, new: NewToken, actor: str) -> TokenRecord: ...


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of the password that came. is_external: somebody else signs people in to this account."""

    is_right: bool
    is_external: bool


@dataclass(frozen=True, slots=True)
class OwnerDesk:
    """Everything raises Unavailable."""

    secrets: Secrets
    passwords: Passwords
    accounts: Accounts
    tokens: Tokens
    clock: Clock

    async def knows(self, account: AccountId, password: str | None) -> Knowledge:
        """Whether this is the account's password; None is not."""
        password_hash, is_external = await self.secrets.password_of(account)
        if is_external or password is None:
            return Knowledge(False, is_external)
        return Knowledge(await self.passwords.match(password_hash, password), False)

    async def delete(self, account: AccountId, actor: str) -> None:
        """Have it deleted, soon and for good. Raises Conflict if it is already."""
        await self.accounts.delete(account, "its owner asked for it", actor)

    async def add_token(self, account: AccountId, device: Device, visitor: Visitor, actor: str) -> SignedIn:
        """A new bearer token. Raises Absent and Conflict."""
        token = addy_token()
        new = bearer_token(token, device.name, expiry(self.clock(), device.unit), visitor.ip, visitor.user_agent)
        return SignedIn(token, await self.tokens.add(account, new, actor))
