"""Aliases by API key, and what was done (haltman-api.md section 3.12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import Field
from mailrelay.api.haltman.endpoint import Access, Endpoint, Handler, Rule, by_key
from mailrelay.api.haltman.obstacles import obstacle
from mailrelay.api.haltman.pages import listed
from mailrelay.api.haltman.problems import Problem
from mailrelay.api.haltman.replies import answer, iso
from mailrelay.api.haltman.sent import OWNER_PAGE, joined, owner_page, sent_domain, sent_mailbox, sent_name
from mailrelay.api.haltman.shapes import AliasItem, Pagination
from mailrelay.core.address import Address
from mailrelay.core.keyed import AliasCounts, Event, KeyAlias, Refused
from mailrelay.core.people import KeyHolder
from mailrelay.flows.keyed import Obstacle

_BUSY: Final = "too_many_requests_key"
_LIST: Final = (Rule("alias_list_key", 600, 60, by_key, "alias_list", _BUSY),)
_CREATE: Final = (Rule("alias_create_key", 120, 60, by_key, "alias_create", _BUSY),)
_DELETE: Final = (Rule("alias_delete_key", 120, 60, by_key, "alias_delete", _BUSY),)
_SWITCH: Final = (Rule("alias_switch_key", 120, 60, by_key, "alias_switch", _BUSY),)
_NEW: Final = (Field("alias_handle", required=True), Field("alias_domain", required=True))
_ALIAS: Final = (Field("alias", required=True),)


class AliasList(TypedDict):
    items: list[AliasItem]
    pagination: Pagination


class DomainStats(TypedDict):
    domain: str
    total: int
    active: int


class AliasStats(TypedDict):
    totals: int
    active: int
    created_last_7d: int
    modified_last_24h: int
    by_domain: list[DomainStats]


class ActivityItem(TypedDict):
    type: str
    occurred_at: str
    route: str
    intent: str | None
    alias: str


class ActivityPage(TypedDict):
    limit: int
    offset: int


class ActivityList(TypedDict):
    items: list[ActivityItem]
    pagination: ActivityPage


class CreatedAlias(TypedDict):
    ok: Literal[True]
    created: Literal[True]
    address: str
    goto: str


class DeletedAlias(TypedDict):
    ok: Literal[True]
    deleted: Literal[True]
    alias: str


class SwitchedAlias(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    alias: str
    active: bool


class Maker(Protocol):
    """As flows/keyed.py."""

    async def alias(self, holder: KeyHolder, address: Address, actor: str) -> Obstacle | None: ...
    async def resume(self, holder: KeyHolder, address: Address, actor: str) -> Obstacle | None: ...


class Aliases(Protocol):
    """As store/key_aliases.py."""

    async def page(self, holder: KeyHolder, limit: int, offset: int) -> tuple[list[KeyAlias], int]: ...
    async def counts(self, holder: KeyHolder) -> AliasCounts: ...
    async def switch(self, holder: KeyHolder, address: Address, on: bool, actor: str) -> Refused | None: ...
    async def delete(self, holder: KeyHolder, address: Address, actor: str) -> Refused | None: ...


class Activity(Protocol):
    """As store/activity.py."""

    async def page(self, holder: KeyHolder, limit: int, offset: int) -> Sequence[Event]: ...


@dataclass(frozen=True, slots=True)
class KeyAliasEndpoints:
    maker: Maker
    aliases: Aliases
    activity: Activity

    def endpoints(self) -> tuple[Endpoint, ...]:
        made = ((400, "invalid_domain"), (400, "managed_domain_not_allowed"), (403, "banned"), (409, "alias_taken"))
        absent = ((404, "alias_not_found"),)
        gone = ((400, "alias_inactive"), *absent, (409, "alias_state_changed"))
        barred = ((400, "managed_domain_not_allowed"), (403, "banned"), *absent)
        return (
            _reading("alias/list", self.list, "Aliases of the key's mailbox", AliasList, "alias_list", OWNER_PAGE),
            _reading("alias/stats", self.stats, "How many there are", AliasStats, "alias_stats"),
            _reading("activity", self.acts, "What the mailbox' owner did", ActivityList, "activity_list", OWNER_PAGE),
            _changing("create", self.create, "Make an alias", CreatedAlias, _CREATE, _NEW, made),
            _changing("delete", self.delete, "Delete an alias for ever", DeletedAlias, _DELETE, _ALIAS, gone),
            _changing("pause", self.pause, "Take no mail for a while", SwitchedAlias, _SWITCH, _ALIAS, absent, "9.4"),
            _changing("resume", self.resume, "Take mail again", SwitchedAlias, _SWITCH, _ALIAS, barred, "9.4"),
        )

    async def list(self, call: Call) -> Response:
        page = owner_page(call.query)
        items, total = await self.aliases.page(call.holder, page.limit, page.offset)
        return answer(listed([_item(one) for one in items], total, page))

    async def stats(self, call: Call) -> Response:
        counts = await self.aliases.counts(call.holder)
        shape: AliasStats = {
            "totals": counts.totals,
            "active": counts.active,
            "created_last_7d": counts.created_last_7d,
            "modified_last_24h": counts.modified_last_24h,
            "by_domain": [{"domain": one.domain, "total": one.total, "active": one.active} for one in counts.by_domain],
        }
        return answer(shape)

    async def acts(self, call: Call) -> Response:
        page = owner_page(call.query)
        events = await self.activity.page(call.holder, page.limit, page.offset)
        shape: ActivityList = {
            "items": [_event(one) for one in events],
            "pagination": {"limit": page.limit, "offset": page.offset},
        }
        return answer(shape)

    async def create(self, call: Call) -> Response:
        local = sent_name(call.member("alias_handle"), "alias_handle")
        domain = sent_domain(call.member("alias_domain"), "alias_domain")
        address = joined(local, domain, "alias_handle")
        call.notes["alias"] = str(address)
        refused = await self.maker.alias(call.holder, address, call.actor)
        if refused is not None:
            raise obstacle(refused, address=str(address))
        made: CreatedAlias = {
            "ok": True,
            "created": True,
            "address": str(address),
            "goto": call.holder.email.folded,
        }
        return answer(made)

    async def delete(self, call: Call) -> Response:
        address = _named(call)
        refused = await self.aliases.delete(call.holder, address, call.actor)
        match refused:
            case None:
                gone: DeletedAlias = {"ok": True, "deleted": True, "alias": str(address)}
                return answer(gone)
            case Refused.INACTIVE:
                raise Problem(400, "alias_inactive", alias=str(address))
            case Refused.CHANGED:
                raise Problem(409, "alias_state_changed", alias=str(address))
        raise _absent(address)

    async def pause(self, call: Call) -> Response:
        address = _named(call)
        if await self.aliases.switch(call.holder, address, False, call.actor) is not None:
            raise _absent(address)
        return _switched(address, False)

    async def resume(self, call: Call) -> Response:
        address = _named(call)
        match await self.maker.resume(call.holder, address, call.actor):
            case None:
                return _switched(address, True)
            case Refused():
                raise _absent(address)
            case refused:
                raise obstacle(refused)


def _reading(
    path: str, handler: Handler, summary: str, shape: Any, operation: str, query: tuple[Field, ...] = ()
) -> Endpoint:
    return Endpoint(
        "GET",
        path,
        handler,
        f"3.12 {summary}",
        shape,
        access=Access.KEY,
        rules=_LIST,
        query=query,
        safe=True,
        operation=operation,
    )


def _changing(
    path: str,
    handler: Handler,
    summary: str,
    shape: Any,
    rules: tuple[Rule, ...],
    body: tuple[Field, ...],
    errors: tuple[tuple[int, str], ...],
    section: str = "3.12",
) -> Endpoint:
    return Endpoint(
        "POST",
        f"alias/{path}",
        handler,
        f"{section} {summary}",
        shape,
        access=Access.KEY,
        rules=rules,
        body=body,
        errors=errors,
        operation=f"alias_{path}",
    )


def _named(call: Call) -> Address:
    """The alias that a request is about."""
    address = sent_mailbox(call.member("alias"), "alias")
    call.notes["alias"] = str(address)
    return address


def _absent(address: Address) -> Problem:
    """Those of others are not there."""
    return Problem(404, "alias_not_found", alias=str(address))


def _switched(address: Address, active: bool) -> Response:
    switched: SwitchedAlias = {"ok": True, "updated": True, "alias": str(address), "active": active}
    return answer(switched)


def _item(one: KeyAlias) -> AliasItem:
    return {
        "id": one.id,
        "address": one.address,
        "goto": one.goto,
        "active": 1 if one.is_active else 0,
        "domain_id": one.domain,
        "created": iso(one.created_at),
        "modified": iso(one.modified_at),
    }


def _event(one: Event) -> ActivityItem:
    return {
        "type": one.type,
        "occurred_at": iso(one.occurred_at),
        "route": one.route,
        "intent": one.intent,
        "alias": one.about,
    }
