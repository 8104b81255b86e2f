"""All API keys, for administrators (haltman-api.md section 3.22)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman import names
from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import (
    FLAG,
    INSTANT,
    Field,
    Fields,
    checked,
    one_of,
    part,
    patch,
    text,
    text_or_none,
    whole,
)
from mailrelay.api.haltman.endpoint import Access, Endpoint
from mailrelay.api.haltman.keyshapes import AdminKeyItem, NewKey, admin_item
from mailrelay.api.haltman.pages import PAGE, listed, page_of
from mailrelay.api.haltman.problems import Problem, invalid
from mailrelay.api.haltman.replies import answer
from mailrelay.api.haltman.shapes import Pagination
from mailrelay.core.address import Address
from mailrelay.core.apikeys import DEFAULT_DAYS, MAX_DAYS, ApiKey, KeyChange, KeyFilter, Status
from mailrelay.core.records import NewToken, TokenId
from mailrelay.flows.credentials import draw

_PATH = "admin/api-tokens"
_OWNER, _STATUS = text(1, 254), one_of(*get_args(Status))
_LIST: Fields = (*PAGE, Field("active", FLAG), Field("owner_email", part(254)), Field("status", _STATUS))
_NEW: Fields = (
    Field("owner_email", _OWNER, required=True),
    Field("days", whole(1, MAX_DAYS)),
    Field("user_agent", text(1, 255)),
)
_CHANGES: Fields = (
    Field("owner_email", _OWNER),
    Field("status", _STATUS),
    Field("expires_at", INSTANT),
    Field("revoked", FLAG),
    Field("revoked_reason", text_or_none(255)),
)
_NONE = ((404, "api_token_not_found"),)


class KeyList(TypedDict):
    items: list[AdminKeyItem]
    pagination: Pagination


class OneKey(TypedDict):
    item: AdminKeyItem


class KeyUpdated(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    item: AdminKeyItem


class KeyDeleted(TypedDict):
    """`item` is as it was."""

    ok: Literal[True]
    deleted: Literal[True]
    item: AdminKeyItem


class Keys(Protocol):
    """As store/admin_apikeys.py. All raise Unavailable."""

    async def page(self, wanted: KeyFilter, limit: int, offset: int) -> tuple[Sequence[ApiKey], int]: ...
    async def get(self, key: TokenId) -> ApiKey | None: ...
    async def add(self, mailbox: Address, new: NewToken, actor: str) -> ApiKey: ...
    async def change(self, key: TokenId, change: KeyChange, actor: str) -> ApiKey | None: ...
    async def remove(self, key: TokenId, actor: str) -> ApiKey | None: ...


@dataclass(frozen=True, slots=True)
class AdminKeyEndpoints:
    keys: Keys

    def endpoints(self) -> tuple[Endpoint, ...]:
        one, admin = f"{_PATH}/{{id}}", Access.ADMIN
        return (
            Endpoint("GET", _PATH, self.list, "3.22 All keys", KeyList, access=admin, query=_LIST, safe=True),
            Endpoint("GET", one, self.show, "3.22 A key", OneKey, access=admin, errors=_NONE, safe=True),
            Endpoint("POST", _PATH, self.create, "3.22 A new key", NewKey, 201, access=admin, body=_NEW),
            Endpoint("PATCH", one, self.change, "3.22 Change", KeyUpdated, access=admin, body=_CHANGES, errors=_NONE),
            Endpoint("DELETE", one, self.remove, "3.22 Delete", KeyDeleted, access=admin, errors=_NONE),
        )  # fmt: skip

    async def list(self, call: Call) -> Response:
        values = checked(_LIST, call.query)
        page = page_of(values)
        wanted = KeyFilter(values.get("active"), values.get("owner_email"), values.get("status"))
        keys, total = await self.keys.page(wanted, page.limit, page.offset)
        return answer(listed([admin_item(key) for key in keys], total, page))

    async def show(self, call: Call) -> Response:
        key = _there(await self.keys.get(TokenId(call.number())), call)
        return answer(OneKey(item=admin_item(key)))

    async def create(self, call: Call) -> Response:
        values = checked(_NEW, call.body)
        mailbox, days = _mailbox(values), values.get("days", DEFAULT_DAYS)
        user_agent = values.get("user_agent", call.user_agent)
        secret, new = draw(mailbox, days, False, call.now, call.client, user_agent)
        key = await self.keys.add(mailbox, new, call.actor)
        shape: NewKey = {
            "ok": True,
            "created": True,
            "token": secret,
            "token_type": "api_key",
            "item": admin_item(key),
        }
        return answer(shape, 201)

    async def change(self, call: Call) -> Response:
        number = TokenId(call.number())
        change = _change(patch(_CHANGES, call.body))
        key = _there(await self.keys.change(number, change, call.actor), call)
        return answer(KeyUpdated(ok=True, updated=True, item=admin_item(key)))

    async def remove(self, call: Call) -> Response:
        key = _there(await self.keys.remove(TokenId(call.number()), call.actor), call)
        return answer(KeyDeleted(ok=True, deleted=True, item=admin_item(key)))


def _there(key: ApiKey | None, call: Call) -> ApiKey:
    if key is None:
        raise Problem(404, "api_token_not_found", id=call.number())
    return key


def _mailbox(values: Mapping[str, Any]) -> Address:
    mailbox = names.mailbox(values["owner_email"])
    if mailbox is None:
        raise invalid("owner_email")
    return mailbox


def _change(values: Mapping[str, Any]) -> KeyChange:
    """`revoked` says a status as well, which another one must not contradict."""
    status: Status | None = values.get("status")
    revoked: bool | None = values.get("revoked")
    if revoked is not None:
        if status is not None and (status == "revoked") is not revoked:
            raise invalid("status", "status_revoked_conflict")
        status = status or ("revoked" if revoked else "active")
    expires_at = values.get("expires_at")
    return KeyChange(
        owner=_mailbox(values) if "owner_email" in values else None,
        status=status,
        stamped=revoked is True,
        expires_at=expires_at,
        reason=(values["revoked_reason"] or "") if "revoked_reason" in values else None,
    )
