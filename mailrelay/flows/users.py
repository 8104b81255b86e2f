"""Users of the dashboard, as administrators make, change and delete them (haltman-api.md section 3.23)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from mailrelay.core.address import Address
from mailrelay.core.entrance import OWN_PASSWORD, TooManyFailures
from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Notice
from mailrelay.core.people import User
from mailrelay.core.users import Act, Changed, Deed, NewUser, Refusal, Taken, UserFilter, Wish, alerts, welcome
from mailrelay.flows.attempts import Attempts
from mailrelay.flows.obstacles import Managed
from mailrelay.flows.passwords import Passwords

# Mails of a change: of the user before and after, and the names of what changed.
Tell = Callable[[User, User, tuple[str, ...]], Sequence[Notice]]


class Store(Protocol):
    """As store/users.py. All raise Unavailable."""

    async def page(self, wanted: UserFilter, limit: int, offset: int) -> tuple[list[User], int]: ...
    async def one(self, user: int) -> User | None: ...
    async def add(self, new: NewUser, act: Act, tell: Tell) -> User | Taken: ...
    async def change(self, user: int, wish: Wish, act: Act, tell: Tell) -> Changed | Taken | Refusal: ...
    async def delete(self, user: int, act: Act, tell: Tell) -> Changed | Refusal: ...
    async def password_of(self, account: AccountId) -> str | None: ...
    async def set_own_password(
        self, account: AccountId, right: str, new: str, act: Act, tell: Tell
    ) -> Changed | Refusal: ...


class Unfit(Exception):
    """That mailbox is at a domain that is served here: nothing that is mailed to it would arrive."""


@dataclass(frozen=True, slots=True)
class UserDesk:
    """told: administrators hear by mail of what is done to them. Everything raises Unavailable."""

    store: Store
    passwords: Passwords
    attempts: Attempts
    managed: Managed
    told: bool

    async def page(self, wanted: UserFilter, limit: int, offset: int) -> tuple[list[User], int]:
        """Users, the newest first, and how many there are."""
        return await self.store.page(wanted, limit, offset)

    async def one(self, user: int) -> User | None:
        """None: there is none of this number."""
        return await self.store.one(user)

    async def add(
        self, username: str, email: Address, password: str, act: Act, *, is_active: bool, is_admin: bool
    ) -> User | Taken:
        """A new user. Raises Unfit, and Malformed for what is no password."""
        await self._check(email)
        new = NewUser(username, email, await self.passwords.hash(password), is_active, is_admin)
        return await self.store.add(new, act, partial(_welcome, act) if self.told else silence)

    async def change(self, user: int, wish: Wish, password: str | None, act: Act) -> Changed | Taken | Refusal:
        """Change a user, and his password unless it is None. Raises Unfit, and Malformed for what is no password."""
        if wish.email is not None:
            await self._check(wish.email)
        if password is not None:
            wish = replace(wish, password_hash=await self.passwords.hash(password))
        return await self.store.change(user, wish, act, self._alerts(Deed.UPDATED, act))

    async def delete(self, user: int, act: Act) -> Changed | Refusal:
        """Have a user deleted with all that is his."""
        return await self.store.delete(user, act, self._alerts(Deed.DELETED, act))

    async def change_own_password(
        self, account: AccountId, current: str, new: str, act: Act
    ) -> Changed | Refusal | TooManyFailures:
        """A new password for somebody who knows the current one. Raises Malformed for what is no password."""
        right = await self.store.password_of(account)
        async with self.attempts.attempt((OWN_PASSWORD, [str(account)])) as tried:
            if tried.refusal is not None:
                return tried.refusal
            known = await self.passwords.match(right, current)
            tried.failed = not known
        if not known or right is None:
            return Refusal.PASSWORD
        password_hash = await self.passwords.hash(new)
        tell = self._alerts(Deed.PASSWORD, act)
        return await self.store.set_own_password(account, right, password_hash, act, tell)

    def _alerts(self, deed: Deed, act: Act) -> Tell:
        return partial(alerts, deed, act=act) if self.told else silence

    async def _check(self, email: Address) -> None:
        around = await self.managed.around(email.domain)
        if around is not None:
            raise Unfit(f"{email.domain} is at {around}")


def silence(before: User, after: User, fields: tuple[str, ...]) -> Sequence[Notice]:
    """Nobody is told."""
    return ()


def _welcome(act: Act, before: User, after: User, fields: tuple[str, ...]) -> Sequence[Notice]:
    return welcome(after, act)
