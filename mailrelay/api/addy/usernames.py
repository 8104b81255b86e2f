"""Usernames: E59 to E70 (addy-api.md sections 2.4, 3.10)."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from mailrelay.api.addy import parents
from mailrelay.api.addy.call import Call, empty
from mailrelay.api.addy.checks import ID_FIELDS, REQUIRED, Fields, attribute, matches, max_chars, validate
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.parents import ParentDesk, ParentShape, parent_shape
from mailrelay.api.addy.problems import Invalid, Text, missing
from mailrelay.api.addy.shapes import Data
from mailrelay.core.errors import Conflict
from mailrelay.core.own_parents import OwnUsername
from mailrelay.core.parents import TooMany
from mailrelay.core.records import Owned, UsernameChange
from mailrelay.flows.manage.usernames import Choices, UsernameReader, UsernameStore

_MODEL = "Username"
_STAYS = (403, "You cannot delete your default username")
_SIGNS_IN = (403, "You cannot disallow login for your default username")
_ELSEWHERE = (403, "You cannot allow login because you're using external authentication")
_ENOUGH = (403, "")
_NEW: Fields = (attribute("username", REQUIRED, matches("[a-zA-Z0-9]+"), max_chars(20), bail=True),)


class Username(ParentShape):
    username: str
    can_login: bool


class UsernameEndpoints:
    """own: usernames as their owners read them."""

    def __init__(self, choices: Choices, store: UsernameStore, own: UsernameReader) -> None:
        self._choices = choices
        self._store = store
        self._desk = ParentDesk(_MODEL, own.page, own.one, self._update, username_shape)

    def endpoints(self) -> tuple[Endpoint, ...]:
        desk, one, of_id = self._desk, Data[Username], ID_FIELDS
        return (
            Endpoint("GET", "usernames", desk.list, "E59 all usernames", Data[list[Username]]),
            Endpoint("GET", "usernames/{id}", desk.show, "E60 a username", one),
            Endpoint("POST", "usernames", self.add, "E61 take a username", one, 201, _NEW, texts=(_ENOUGH,)),
            Endpoint(
                "PATCH", "usernames/{id}", desk.change, "E62 change a username", one, fields=parents.CHANGE_FIELDS
            ),
            Endpoint(
                "DELETE", "usernames/{id}", self.remove, "E63 give a username up for ever", status=204, texts=(_STAYS,)
            ),
            Endpoint(
                "PATCH",
                "usernames/{id}/default-recipient",
                desk.set_recipient,
                "E64 choose who gets its mail",
                one,
                fields=parents.RECIPIENT_FIELDS,
            ),
            Endpoint("POST", "active-usernames", desk.on("active"), "E65 take mail for it", one, fields=of_id),
            Endpoint("DELETE", "active-usernames/{id}", desk.off("active"), "E66 drop its mail", status=204),
            Endpoint("POST", "catch-all-usernames", desk.on("catch_all"), "E67 take any name", one, fields=of_id),
            Endpoint("DELETE", "catch-all-usernames/{id}", desk.off("catch_all"), "E68 only known names", status=204),
            Endpoint(
                "POST",
                "loginable-usernames",
                self.allow_login,
                "E69 let it sign in",
                one,
                fields=of_id,
                texts=(_ELSEWHERE,),
            ),
            Endpoint(
                "DELETE",
                "loginable-usernames/{id}",
                self.forbid_login,
                "E70 do not let it sign in",
                status=204,
                texts=(_SIGNS_IN,),
            ),
        )

    async def add(self, call: Call) -> Response:
        name = validate(_NEW, call.input)["username"]
        try:
            made = await self._choices.add(call.account, name, call.actor)
        except TooMany as error:
            raise Text(*_ENOUGH) from error
        except Conflict as error:
            raise Invalid({"username": ["The username has already been taken."]}) from error
        return await self._desk.shown(call, Owned(call.account, made.uuid), str(made.uuid), 201)

    async def remove(self, call: Call) -> Response:
        try:
            with missing(_MODEL, call.id):
                await self._store.remove(call.owned(_MODEL), call.actor)
        except Conflict as error:
            raise Text(*_STAYS) from error
        return empty()

    async def allow_login(self, call: Call) -> Response:
        validate(ID_FIELDS, call.input)
        if await self._store.signs_in_elsewhere(call.account):
            raise Text(*_ELSEWHERE)
        return await self._desk.on("can_login")(call)

    async def forbid_login(self, call: Call) -> Response:
        try:
            with missing(_MODEL, call.id):
                await self._store.forbid_login(call.owned(_MODEL), call.actor)
        except Conflict as error:
            raise Text(*_SIGNS_IN) from error
        return empty()

    async def _update(self, which: Owned, wanted: Mapping[str, Any], actor: str) -> object:
        return await self._store.change(which, UsernameChange(**wanted), actor)


def username_shape(found: OwnUsername) -> Username:
    return {**parent_shape(found), "username": found.name, "can_login": found.can_login}
