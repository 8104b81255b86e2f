"""Proposals of domains as records, for administrators (haltman-api.md section 3.24)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call, Value
from mailrelay.api.haltman.checks import (
    INSTANT,
    MOMENT,
    Check,
    Field,
    Fields,
    Wrong,
    checked,
    matching,
    one_of,
    part,
    patch,
    text,
    text_or_none,
)
from mailrelay.api.haltman.endpoint import Access, Endpoint
from mailrelay.api.haltman.names import dns_target
from mailrelay.api.haltman.pages import PAGE, listed, page_of
from mailrelay.api.haltman.problems import Problem, invalid
from mailrelay.api.haltman.proposals import BAD_TARGET
from mailrelay.api.haltman.replies import answer, iso, iso_or_none
from mailrelay.api.haltman.shapes import Pagination
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.onboarding import Request

_MAX_TEXT = 65_535
_MAX_DEPTH = 100
_MAX_TARGET = 300  # with space and dots around it


class Requests(Protocol):
    """As store/dns_requests.py. All raise Unavailable; what is not there is Absent, what is taken Conflict."""

    async def page(
        self, target: str | None, kind: str | None, status: str | None, limit: int, offset: int
    ) -> tuple[Sequence[Request], int]: ...
    async def one(self, request: int) -> Request: ...
    async def add(self, values: Mapping[str, Any], actor: str) -> Request: ...
    async def change(self, request: int, values: Mapping[str, Any], actor: str) -> Request: ...
    async def remove(self, request: int, actor: str) -> Request: ...


class RequestItem(TypedDict):
    id: int
    target: str
    type: Literal["UI", "EMAIL"]
    status: str
    created_at: str
    updated_at: str
    activated_at: str | None
    last_checked_at: str | None
    next_check_at: str | None
    last_check_result_json: Any
    fail_reason: str | None
    expires_at: str


class RequestList(TypedDict):
    items: list[RequestItem]
    pagination: Pagination


class RequestShown(TypedDict):
    item: RequestItem


class RequestCreated(TypedDict):
    ok: Literal[True]
    created: Literal[True]
    item: RequestItem


class RequestUpdated(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    item: RequestItem


class RequestDeleted(TypedDict):
    ok: Literal[True]
    deleted: Literal[True]
    item: RequestItem


def _word(sent: str) -> str | None:
    """A status, as it is stored."""
    word = sent.strip()
    return word.upper() if word and word.isascii() and word.isprintable() else None


def _result(value: Value) -> Any:
    """A result, from JSON or from a text that holds some; what is no JSON stays a text."""
    found: Any = value
    if isinstance(value, str):
        if len(value) > _MAX_TEXT:
            raise Wrong({"maxLength": f"{{name}} must be shorter than or equal to {_MAX_TEXT} characters"})
        try:
            found = json.loads(value, parse_constant=_refuse) if value else None
        except (ValueError, RecursionError):
            found = value
    elif not isinstance(value, dict):
        raise Wrong({"isObject": "{name} must be an object or JSON text"})
    if _is_deep(found) or not _storable(found):
        raise Wrong({"isObject": "{name} holds what cannot be stored"})
    return found


def _is_deep(content: Any) -> bool:
    """Whether it is nested more deeply than anybody would write, and programs like to read."""
    level = [content]
    for _ in range(_MAX_DEPTH):
        level = [inner for one in level for inner in _within(one)]
        if not level:
            return False
    return True


def _within(one: Any) -> Iterable[Any]:
    return one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _storable(content: Any) -> bool:
    """PostgreSQL takes neither NUL nor half a pair of surrogates."""
    try:
        written = json.dumps(content, ensure_ascii=False, allow_nan=False)
        return "\\u0000" not in written and "\0" not in written and bool(written.encode())
    except (ValueError, RecursionError):
        return False


_RESULT = Check(_result, {"type": ["object", "string", "null"]}, "none")
_STATUS = matching(_word, "a word of 1 to 16 ASCII characters", 1, 16)
_TYPE = one_of("UI", "EMAIL")
_REST: Fields = (
    Field("activated_at", MOMENT),
    Field("last_checked_at", MOMENT),
    Field("next_check_at", MOMENT),
    Field("last_check_result_json", _RESULT),
    Field("fail_reason", text_or_none(_MAX_TEXT)),
)
_TARGET = text(1, _MAX_TARGET)
_NEW = (
    Field("target", _TARGET, required=True),
    Field("type", _TYPE, required=True),
    Field("status", _STATUS, required=True),
    *_REST,
    Field("expires_at", MOMENT),
)
_CHANGE = (
    Field("target", _TARGET),
    Field("type", _TYPE),
    Field("status", _STATUS),
    *_REST,
    Field("expires_at", INSTANT),
)
_FILTERS = (*PAGE, Field("target", part(253)), Field("type", _TYPE), Field("status", text(1, 16)))
_NOT_FOUND = (404, "dns_request_not_found")
_TAKEN = (409, "dns_request_taken")


class DnsRequestEndpoints:
    """life: of requests for which none is given (D-28)."""

    def __init__(self, requests: Requests, life: timedelta) -> None:
        self._requests = requests
        self._life = life

    def endpoints(self) -> tuple[Endpoint, ...]:
        root, one, admin = "admin/dns-requests", "admin/dns-requests/{id}", Access.ADMIN
        missing = (_NOT_FOUND,)
        return (
            Endpoint(
                "GET",
                root,
                self._list,
                "3.24 Proposals of domains",
                RequestList,
                access=admin,
                query=_FILTERS,
                safe=True,
            ),
            Endpoint("GET", one, self._show, "3.24 A proposal", RequestShown, access=admin, errors=missing, safe=True),
            Endpoint(
                "POST",
                root,
                self._add,
                "3.24 Write one down",
                RequestCreated,
                201,
                access=admin,
                body=_NEW,
                errors=(_TAKEN,),
            ),
            Endpoint(
                "PATCH",
                one,
                self._change,
                "3.24 Edit its record",
                RequestUpdated,
                access=admin,
                body=_CHANGE,
                errors=(_NOT_FOUND, _TAKEN),
            ),
            Endpoint("DELETE", one, self._remove, "3.24 Remove it", RequestDeleted, access=admin, errors=missing),
        )

    async def _list(self, call: Call) -> Response:
        values = checked(_FILTERS, call.query)
        page, status = page_of(values), values.get("status")
        found, total = await self._requests.page(
            values.get("target"),
            values.get("type"),
            None if status is None else status.strip().upper(),
            page.limit,
            page.offset,
        )
        return answer(listed([_item(one) for one in found], total, page))

    async def _show(self, call: Call) -> Response:
        number = call.number()
        try:
            return answer(RequestShown(item=_item(await self._requests.one(number))))
        except Absent as error:
            raise _absent(number) from error

    async def _add(self, call: Call) -> Response:
        values = _columns(checked(_NEW, call.body))
        values["expires_at"] = values.get("expires_at") or call.now + self._life
        try:
            made = await self._requests.add(values, call.actor)
        except Conflict as error:
            raise _taken(values["target"], values["type"]) from error
        return answer(RequestCreated(ok=True, created=True, item=_item(made)), 201)

    async def _change(self, call: Call) -> Response:
        number, values = call.number(), _columns(patch(_CHANGE, call.body))
        try:
            after = await self._requests.change(number, values, call.actor)
        except Absent as error:
            raise _absent(number) from error
        except Conflict as error:
            before = await self._requests.one(number)
            raise _taken(values.get("target", before.target), values.get("type", before.type)) from error
        return answer(RequestUpdated(ok=True, updated=True, item=_item(after)))

    async def _remove(self, call: Call) -> Response:
        number = call.number()
        try:
            gone = await self._requests.remove(number, call.actor)
        except Absent as error:
            raise _absent(number) from error
        return answer(RequestDeleted(ok=True, deleted=True, item=_item(gone)))


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """As the table has them. Raises Problem for what is no domain."""
    if "target" in values:
        target = dns_target(values["target"])
        if target is None:
            raise invalid("target", BAD_TARGET)
        values["target"] = target
    if "last_check_result_json" in values:
        values["last_result"] = values.pop("last_check_result_json")
    return values


def _item(request: Request) -> RequestItem:
    return RequestItem(
        id=request.id,
        target=request.target,
        type=request.type,
        status=request.status,
        created_at=iso(request.created_at),
        updated_at=iso(request.updated_at),
        activated_at=iso_or_none(request.activated_at),
        last_checked_at=iso_or_none(request.last_checked_at),
        next_check_at=iso_or_none(request.next_check_at),
        last_check_result_json=request.last_result,
        fail_reason=request.fail_reason,
        expires_at=iso(request.expires_at),
    )


def _absent(number: int) -> Problem:
    return Problem(404, "dns_request_not_found", id=number)


def _taken(target: str, kind: str) -> Problem:
    return Problem(409, "dns_request_taken", target=target, type=kind)
