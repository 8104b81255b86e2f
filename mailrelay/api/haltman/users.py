"""Administrators about themselves and other users (haltman-api.md sections 3.17 and 3.23)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.adminfields import MAILBOX, address, optional_address
from mailrelay.api.haltman.auth import PASSWORD
from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import FLAG, Field, checked, part, patch
from mailrelay.api.haltman.cookies import Cookies
from mailrelay.api.haltman.endpoint import Access, Endpoint
from mailrelay.api.haltman.pages import PAGE, listed, page_of
from mailrelay.api.haltman.people import (
    USERNAME,
    SessionShown,
    UserItem,
    session_shown,
    too_many_failures,
    user_item,
    visitor_of,
)
from mailrelay.api.haltman.problems import Problem, invalid
from mailrelay.api.haltman.replies import answer
from mailrelay.api.haltman.shapes import Pagination
from mailrelay.core.address import Address
from mailrelay.core.entrance import TooManyFailures
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.people import User
from mailrelay.core.users import Act, Changed, Refusal, Taken, UserFilter, Wish
from mailrelay.flows.users import Unfit

_LIST = (*PAGE, Field("active", FLAG), Field("is_admin", FLAG), Field("email", part(254)))
_NEW = (
    Field("username", USERNAME, required=True),
    Field("email", MAILBOX, required=True),
    Field("password", PASSWORD, required=True),
    Field("is_active", FLAG),
    Field("is_admin", FLAG),
)
_PATCH = (
    Field("email", MAILBOX),
    Field("username", USERNAME),
    Field("password", PASSWORD),
    Field("is_active", FLAG),
    Field("is_admin", FLAG),
)
_OWN = (Field("current_password", PASSWORD, required=True), Field("new_password", PASSWORD, required=True))
_GONE = (404, "admin_user_not_found")
_TAKEN = (409, "admin_user_taken")
_LAST_DISABLED = (409, "cannot_disable_last_admin")
_LAST_DEMOTED = (409, "cannot_demote_last_admin")
_WRONG = (401, "invalid_credentials")
_REFUSED: Final[Mapping[Refusal, tuple[int, str]]] = {
    Refusal.LAST_DISABLED: _LAST_DISABLED,
    Refusal.LAST_DEMOTED: _LAST_DEMOTED,
}


class Me(TypedDict):
    ok: Literal[True]
    authenticated: Literal[True]
    admin: UserItem
    session: SessionShown


class Protected(TypedDict):
    message: str


class OneUser(TypedDict):
    item: UserItem


class UserPage(TypedDict):
    items: list[UserItem]
    pagination: Pagination


class UserCreated(TypedDict):
    ok: Literal[True]
    created: Literal[True]
    item: UserItem


class UserUpdated(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    sessions_revoked: int
    item: UserItem


class UserDeleted(TypedDict):
    ok: Literal[True]
    deleted: Literal[True]
    sessions_revoked: int
    item: UserItem


class OwnPasswordSet(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    reauth_required: Literal[True]
    sessions_revoked: int


class Users(Protocol):
    """As flows/users.py. All raise Unavailable."""

    async def page(self, wanted: UserFilter, limit: int, offset: int) -> tuple[list[User], int]: ...
    async def one(self, user: int) -> User | None: ...
    async def add(
        self, username: str, email: Address, password: str, act: Act, *, is_active: bool, is_admin: bool
    ) -> User | Taken: ...
    async def change(self, user: int, wish: Wish, password: str | None, act: Act) -> Changed | Taken | Refusal: ...
    async def delete(self, user: int, act: Act) -> Changed | Refusal: ...
    async def change_own_password(
        self, account: AccountId, current: str, new: str, act: Act
    ) -> Changed | Refusal | TooManyFailures: ...


@dataclass(frozen=True, slots=True)
class UserEndpoints:
    users: Users
    cookies: Cookies

    def endpoints(self) -> tuple[Endpoint, ...]:
        admin: dict[str, Any] = {"access": Access.ADMIN}
        root, one = "admin/users", "admin/users/{id}"
        changes = (_GONE, _TAKEN, _LAST_DISABLED, _LAST_DEMOTED)
        own = "admin/users/me/password"
        return (
            Endpoint("GET", "admin/me", self.me, "3.17 Who administers", Me, safe=True, **admin),
            Endpoint("GET", "admin/protected", self.protected, "3.17 Only to try", Protected, safe=True, **admin),
            Endpoint("GET", root, self.list, "3.23 Users", UserPage, query=_LIST, safe=True, **admin),
            Endpoint("GET", one, self.get, "3.23 A user", OneUser, errors=(_GONE,), safe=True, **admin),
            Endpoint(
                "POST", root, self.create, "3.23 A new user", UserCreated, 201, body=_NEW, errors=(_TAKEN,), **admin
            ),
            Endpoint(
                "PATCH", one, self.change, "3.23 Change a user", UserUpdated, body=_PATCH, errors=changes, **admin
            ),
            Endpoint(
                "DELETE", one, self.delete, "3.23 Delete a user", UserDeleted, errors=(_GONE, _LAST_DISABLED), **admin
            ),
            Endpoint(
                "PATCH",
                own,
                self.own_password,
                "3.23 Own password",
                OwnPasswordSet,
                body=_OWN,
                errors=(_WRONG,),
                **admin,
            ),
        )

    async def me(self, call: Call) -> Response:
        shape: Me = {
            "ok": True,
            "authenticated": True,
            "admin": user_item(call.session.user),
            "session": session_shown(call.session),
        }
        return answer(shape)

    async def protected(self, call: Call) -> Response:
        shape: Protected = {"message": "You are signed in as an administrator."}
        return answer(shape)

    async def list(self, call: Call) -> Response:
        given = checked(_LIST, call.query)
        page = page_of(given)
        wanted = UserFilter(given.get("active"), given.get("is_admin"), given.get("email", ""))
        users, total = await self.users.page(wanted, page.limit, page.offset)
        return answer(listed([dict(user_item(user)) for user in users], total, page))

    async def get(self, call: Call) -> Response:
        number = call.number()
        user = await self.users.one(number)
        if user is None:
            raise _gone(number)
        return answer(OneUser(item=user_item(user)))

    async def create(self, call: Call) -> Response:
        given = checked(_NEW, call.body)
        with _said():
            made = await self.users.add(
                given["username"],
                address(given["email"]),
                given["password"],
                _act(call),
                is_active=given.get("is_active", True),
                is_admin=given.get("is_admin", True),
            )
        if isinstance(made, Taken):
            raise _taken(made)
        shape: UserCreated = {"ok": True, "created": True, "item": user_item(made)}
        return answer(shape, 201)

    async def change(self, call: Call) -> Response:
        number = call.number()
        given = patch(_PATCH, call.body)
        if await self.users.one(number) is None:
            raise _gone(number)
        if "password" in given and number == call.session.user.id:
            raise invalid("password", "use_self_password_route")
        wish = Wish(
            username=given.get("username"),
            email=optional_address(given, "email"),
            is_active=given.get("is_active"),
            is_admin=given.get("is_admin"),
        )
        with _said():
            done = _done(await self.users.change(number, wish, given.get("password"), _act(call)), number)
        shape: UserUpdated = {
            "ok": True,
            "updated": True,
            "sessions_revoked": done.sessions,
            "item": user_item(done.user),
        }
        return self._cleared(answer(shape), call, number, lost=done.sessions > 0)

    async def delete(self, call: Call) -> Response:
        number = call.number()
        done = _done(await self.users.delete(number, _act(call)), number)
        shape: UserDeleted = {
            "ok": True,
            "deleted": True,
            "sessions_revoked": done.sessions,
            "item": user_item(done.user),
        }
        return self._cleared(answer(shape), call, number, lost=True)

    async def own_password(self, call: Call) -> Response:
        given = checked(_OWN, call.body)
        if given["new_password"] == given["current_password"]:
            raise invalid("new_password", "same_as_current")
        me = call.session.user.id
        with _said("new_password"):
            done = await self.users.change_own_password(
                me, given["current_password"], given["new_password"], _act(call)
            )
        if isinstance(done, TooManyFailures):
            raise too_many_failures(done, call)
        if done is Refusal.PASSWORD:
            raise Problem(*_WRONG, field="current_password")
        done = _done(done, me)
        shape: OwnPasswordSet = {
            "ok": True,
            "updated": True,
            "reauth_required": True,
            "sessions_revoked": done.sessions,
        }
        return self.cookies.clear(answer(shape))

    def _cleared(self, response: Response, call: Call, number: int, *, lost: bool) -> Response:
        """Without cookies that are worth nothing any more, if they are the administrator's own."""
        return self.cookies.clear(response) if lost and number == call.session.user.id else response


@contextmanager
def _said(member: str = "password") -> Iterator[None]:
    """What flows raise, as answers. member: that holds a password."""
    try:
        yield
    except Unfit as error:
        raise invalid("email", "destination_cannot_use_managed_domain") from error
    except Malformed as error:
        raise invalid(member, hint="Choose another password.") from error


def _done(done: Changed | Taken | Refusal, number: int) -> Changed:
    """Raises Problem for what is none."""
    match done:
        case Changed():
            return done
        case Taken():
            raise _taken(done)
        case Refusal.NOTHING:
            raise Problem(400, "invalid_params", reason="empty_patch")
        case Refusal.LAST_DISABLED | Refusal.LAST_DEMOTED:
            raise Problem(*_REFUSED[done])
    raise _gone(number)


def _gone(number: int) -> Problem:
    return Problem(*_GONE, id=number)


def _taken(taken: Taken) -> Problem:
    members: dict[str, Any] = {"field": taken.field, taken.field: taken.value}
    return Problem(*_TAKEN, **members)


def _act(call: Call) -> Act:
    user = call.session.user
    return Act(call.actor, user.email or user.username, visitor_of(call), call.now)
