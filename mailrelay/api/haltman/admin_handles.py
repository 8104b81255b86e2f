"""All handles, for administrators (haltman-api.md section 3.21)."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.adminfields import HANDLE, MAILBOX, address, objection, optional_address
from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import FLAG, Field, Fields, checked, part, patch
from mailrelay.api.haltman.endpoint import Access, Endpoint
from mailrelay.api.haltman.names import MAX_LOCAL
from mailrelay.api.haltman.pages import PAGE, listed, page_of
from mailrelay.api.haltman.problems import Problem
from mailrelay.api.haltman.replies import answer
from mailrelay.api.haltman.shapes import Pagination, ZeroOrOne
from mailrelay.core.address import MAX_ADDRESS_OCTETS
from mailrelay.core.admin_changes import HandlePatch, HandleWish
from mailrelay.core.admin_lists import HandleFilter, ListedHandle
from mailrelay.core.records import HandleId
from mailrelay.flows.administration import AdminHandles, Objection

_PATH = "admin/handles"
_LIST: Fields = (
    *PAGE,
    Field("active", FLAG),
    Field("handle", part(MAX_LOCAL)),
    Field("address", part(MAX_ADDRESS_OCTETS)),
)
_NEW: Fields = (
    Field("handle", HANDLE, required=True),
    Field("address", MAILBOX, required=True),
    Field("active", FLAG),
)
_CHANGES: Fields = (Field("handle", HANDLE), Field("address", MAILBOX), Field("active", FLAG))
_NONE = ((404, "handle_not_found"),)
_AGAINST = ((403, "banned"), (409, "handle_taken"))


class HandleItem(TypedDict):
    id: int
    handle: str
    address: str | None
    active: ZeroOrOne


class HandleList(TypedDict):
    items: list[HandleItem]
    pagination: Pagination


class OneHandle(TypedDict):
    item: HandleItem


class HandleCreated(TypedDict):
    ok: Literal[True]
    created: Literal[True]
    item: HandleItem


class HandleUpdated(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    item: HandleItem


class HandleDeleted(TypedDict):
    """It is released: nobody else gets the name. item: as it was; deleted: False: it was released before."""

    ok: Literal[True]
    deleted: bool
    item: HandleItem


class Handles(Protocol):
    """As store/admin_handles.py. All raise Unavailable."""

    async def page(self, wanted: HandleFilter, limit: int, offset: int) -> tuple[list[ListedHandle], int]: ...
    async def one(self, number: HandleId) -> ListedHandle | None: ...
    async def release(self, number: HandleId, actor: str) -> tuple[ListedHandle, bool] | None: ...


@dataclass(frozen=True, slots=True)
class AdminHandleEndpoints:
    story: AdminHandles
    handles: Handles

    def endpoints(self) -> tuple[Endpoint, ...]:
        one, admin = f"{_PATH}/{{id}}", Access.ADMIN
        return (
            Endpoint("GET", _PATH, self.list, "3.21 All handles", HandleList, access=admin, query=_LIST, safe=True),
            Endpoint("GET", one, self.show, "3.21 A handle", OneHandle, access=admin, errors=_NONE, safe=True),
            Endpoint(
                *("POST", _PATH, self.create, "3.21 A new handle", HandleCreated, 201),
                access=admin, body=_NEW, errors=_AGAINST,
            ),
            Endpoint(
                *("PATCH", one, self.change, "3.21 Change a handle", HandleUpdated),
                access=admin, body=_CHANGES, errors=(*_NONE, *_AGAINST),
            ),
            Endpoint("DELETE", one, self.delete, "3.21 Release a handle", HandleDeleted, access=admin, errors=_NONE),
        )  # fmt: skip

    async def list(self, call: Call) -> Response:
        values = checked(_LIST, call.query)
        page = page_of(values)
        wanted = HandleFilter(**{name: values.get(name) for name in HandleFilter.__dataclass_fields__})
        handles, total = await self.handles.page(wanted, page.limit, page.offset)
        return answer(listed([_item(handle) for handle in handles], total, page))

    async def show(self, call: Call) -> Response:
        handle = await self.handles.one(HandleId(call.number()))
        if handle is None:
            raise _missing(call.number())
        return answer(OneHandle(item=_item(handle)))

    async def create(self, call: Call) -> Response:
        values = checked(_NEW, call.body)
        wish = HandleWish(values["handle"], address(values["address"]), values.get("active", True))
        done = await self.story.create(wish, call.base_url, call.actor)
        if not isinstance(done, ListedHandle):
            raise _problem(done, wish.handle, 0)
        return answer(HandleCreated(ok=True, created=True, item=_item(done)), 201)

    async def change(self, call: Call) -> Response:
        number = call.number()
        values = patch(_CHANGES, call.body)
        wanted = HandlePatch(values.get("handle"), optional_address(values, "address"), values.get("active"))
        done = await self.story.change(HandleId(number), wanted, call.actor)
        if not isinstance(done, ListedHandle):
            raise _problem(done, values.get("handle"), number)
        return answer(HandleUpdated(ok=True, updated=True, item=_item(done)))

    async def delete(self, call: Call) -> Response:
        done = await self.handles.release(HandleId(call.number()), call.actor)
        if done is None:
            raise _missing(call.number())
        handle, deleted = done
        return answer(HandleDeleted(ok=True, deleted=deleted, item=_item(handle)))


def _item(handle: ListedHandle) -> HandleItem:
    return {
        "id": handle.id,
        "handle": handle.handle,
        "address": handle.goto,
        "active": 1 if handle.active else 0,
    }


def _missing(number: int) -> Problem:
    return Problem(404, "handle_not_found", id=number)


def _problem(found: Objection, name: str | None, number: int) -> Problem:
    members: dict[str, Any] = {} if name is None else {"handle": name}
    return objection(found, "address", Problem(409, "handle_taken", **members), _missing(number))
