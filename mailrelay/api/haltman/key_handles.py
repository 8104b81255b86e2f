"""Handles by API key (haltman-api.md section 3.11)."""

from dataclasses import dataclass
from typing import Any, Final, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import Field
from mailrelay.api.haltman.endpoint import Access, Endpoint, Handler, Rule, by_key
from mailrelay.api.haltman.obstacles import obstacle
from mailrelay.api.haltman.pages import listed
from mailrelay.api.haltman.problems import Problem
from mailrelay.api.haltman.replies import answer, iso
from mailrelay.api.haltman.sent import OWNER_PAGE, owner_page, sent_domain, sent_name
from mailrelay.api.haltman.shapes import HandleClaimed, HandleReleased, HandleSwitched, Pagination, ZeroOrOne
from mailrelay.core.keyed import KeyHandle, Refused
from mailrelay.core.people import KeyHolder
from mailrelay.flows.keyed import Obstacle

_BUSY: Final = "too_many_requests_key"
_CREATE: Final = (Rule("handle_create_key", 120, 60, by_key, "handle_create", _BUSY),)
_DELETE: Final = (Rule("handle_delete_key", 120, 60, by_key, "handle_delete", _BUSY),)
_DOMAIN: Final = (Rule("handle_domain_key", 120, 60, by_key, "handle_domain", _BUSY),)
_LIST: Final = (Rule("handle_list_key", 600, 60, by_key, "handle_list", _BUSY),)
_NAME: Final = (Field("handle", required=True),)
_RULE: Final = (*_NAME, Field("domain", required=True))
_FORBIDDEN: Final = ((403, "forbidden"), (404, "handle_not_found"))


class HandleItem(TypedDict):
    id: int
    handle: str
    goto: str
    active: ZeroOrOne
    disabled_domains: list[str]
    created: str
    modified: str


class HandleList(TypedDict):
    items: list[HandleItem]
    pagination: Pagination


class Maker(Protocol):
    """As flows/keyed.py."""

    async def handle(self, holder: KeyHolder, local: str, actor: str) -> Obstacle | None: ...


class Handles(Protocol):
    """As store/key_handles.py."""

    async def page(self, holder: KeyHolder, limit: int, offset: int) -> tuple[list[KeyHandle], int]: ...
    async def release(self, holder: KeyHolder, local: str, actor: str) -> Refused | None: ...
    async def switch(self, holder: KeyHolder, local: str, domain: str, on: bool, actor: str) -> Refused | None: ...


@dataclass(frozen=True, slots=True)
class KeyHandleEndpoints:
    maker: Maker
    handles: Handles

    def endpoints(self) -> tuple[Endpoint, ...]:
        made = ((400, "managed_domain_not_allowed"), (403, "banned"), (409, "alias_taken"))
        return (
            _endpoint("create", self.create, "Make a handle", HandleClaimed, _CREATE, errors=made),
            _endpoint("delete", self.delete, "Release a handle for ever", HandleReleased, _DELETE),
            _endpoint("domain/disable", self.disable, "Take no mail on a domain", HandleSwitched, _DOMAIN, _RULE),
            _endpoint("domain/enable", self.enable, "Take mail there again", HandleSwitched, _DOMAIN, _RULE),
            Endpoint(
                "GET",
                "handle/list",
                self.list,
                "9.4 Handles of the key's mailbox, and where they take no mail",
                HandleList,
                access=Access.KEY,
                rules=_LIST,
                query=OWNER_PAGE,
                safe=True,
                operation="handle_list",
            ),
        )

    async def list(self, call: Call) -> Response:
        page = owner_page(call.query)
        items, total = await self.handles.page(call.holder, page.limit, page.offset)
        return answer(listed([_item(one) for one in items], total, page))

    async def create(self, call: Call) -> Response:
        name = _name(call)
        refused = await self.maker.handle(call.holder, name, call.actor)
        if refused is not None:
            raise obstacle(refused)
        made: HandleClaimed = {"ok": True, "created": True, "handle": name, "goto": call.holder.email.folded}
        return answer(made)

    async def delete(self, call: Call) -> Response:
        name = _name(call)
        _demand(await self.handles.release(call.holder, name, call.actor))
        released: HandleReleased = {"ok": True, "updated": True, "handle": name, "active": False}
        return answer(released)

    async def disable(self, call: Call) -> Response:
        return await self._switch(call, on=False)

    async def enable(self, call: Call) -> Response:
        return await self._switch(call, on=True)

    async def _switch(self, call: Call, *, on: bool) -> Response:
        name = _name(call)
        domain = sent_domain(call.body.get("domain"), "domain")
        call.notes["alias"] = f"{name}@{domain}"
        _demand(await self.handles.switch(call.holder, name, domain, on, call.actor))
        switched: HandleSwitched = {"ok": True, "updated": True, "handle": name, "domain": domain, "disabled": not on}
        return answer(switched)


def _endpoint(
    path: str,
    handler: Handler,
    summary: str,
    shape: Any,
    rules: tuple[Rule, ...],
    body: tuple[Field, ...] = _NAME,
    errors: tuple[tuple[int, str], ...] = _FORBIDDEN,
) -> Endpoint:
    return Endpoint(
        "POST",
        f"handle/{path}",
        handler,
        f"3.11 {summary}",
        shape,
        access=Access.KEY,
        rules=rules,
        body=body,
        errors=errors,
        operation=f"handle_{path.replace('/', '_')}",
    )


def _item(one: KeyHandle) -> HandleItem:
    return {
        "id": one.id,
        "handle": one.name,
        "goto": one.goto,
        "active": 1 if one.is_active else 0,
        "disabled_domains": [*one.off],
        "created": iso(one.created_at),
        "modified": iso(one.modified_at),
    }


def _name(call: Call) -> str:
    """The handle that the body names; the query does not count here."""
    name = sent_name(call.body.get("handle"), "handle")
    call.notes["alias"] = name
    return name


def _demand(refused: Refused | None) -> None:
    if refused is Refused.FOREIGN:
        raise Problem(403, "forbidden")
    if refused is not None:
        raise Problem(404, "handle_not_found")
