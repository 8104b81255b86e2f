"""Shared domains, for administrators (haltman-api.md section 3.20)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import FLAG, Field, checked, part, patch, text
from mailrelay.api.haltman.endpoint import Access, Endpoint
from mailrelay.api.haltman.names import dns_target, mail_domain
from mailrelay.api.haltman.pages import PAGE, listed, page_of
from mailrelay.api.haltman.problems import Problem, banned, invalid
from mailrelay.api.haltman.proposals import FindBan
from mailrelay.api.haltman.rechecks import BUSY, AllStarted, RecheckReport, busy, report, started
from mailrelay.api.haltman.replies import answer
from mailrelay.api.haltman.shapes import Pagination, ZeroOrOne
from mailrelay.core.errors import Absent
from mailrelay.core.parents import DomainClash
from mailrelay.core.shared_domain import SharedDomain, SharedDomainChange
from mailrelay.core.suspects import of_domain
from mailrelay.flows.recheck import Busy, ForcedChecks

_ACTIVE, _VISIBLE = Field("active", FLAG), Field("visible", FLAG)
_NAME = Field("name", text(1, 253), required=True)
_FILTERS = (*PAGE, _ACTIVE, _VISIBLE, Field("name", part(253)))
_NEW = (_NAME, _ACTIVE, _VISIBLE)
_CHANGE = (Field("name", text(1, 253)), _ACTIVE, _VISIBLE)
_NOT_FOUND = (404, "domain_not_found")


class Domains(Protocol):
    """As store/shared_domains.py. All raise Unavailable; what is not there is Absent, what is taken DomainClash."""

    async def page(
        self, active: bool | None, visible: bool | None, name: str | None, limit: int, offset: int
    ) -> tuple[Sequence[SharedDomain], int]: ...
    async def one(self, domain: int) -> SharedDomain: ...
    async def add(self, name: str, *, active: bool, visible: bool, actor: str) -> SharedDomain: ...
    async def change(self, domain: int, change: SharedDomainChange, actor: str) -> SharedDomain: ...
    async def remove(self, domain: int, actor: str) -> SharedDomain: ...


class DomainItem(TypedDict):
    id: int
    name: str
    active: ZeroOrOne
    active_mx: ZeroOrOne
    active_ui: ZeroOrOne
    visible: ZeroOrOne


class DomainList(TypedDict):
    items: list[DomainItem]
    pagination: Pagination


class DomainShown(TypedDict):
    item: DomainItem


class DomainCreated(TypedDict):
    ok: Literal[True]
    created: Literal[True]
    item: DomainItem


class DomainUpdated(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    item: DomainItem


class DomainDeleted(TypedDict):
    ok: Literal[True]
    deleted: Literal[True]
    item: DomainItem


_TAKEN: Final = ((403, "banned"), (409, "domain_taken"))


class DomainEndpoints:
    """ban: the one that stands against a domain. reserved: names that are no shared domains."""

    def __init__(self, domains: Domains, checks: ForcedChecks, ban: FindBan, reserved: frozenset[str]) -> None:
        self._domains = domains
        self._checks = checks
        self._ban = ban
        self._reserved = reserved

    def endpoints(self) -> tuple[Endpoint, ...]:
        root, one, admin = "admin/domains", "admin/domains/{id}", Access.ADMIN
        missing = (_NOT_FOUND,)
        forced = ((409, BUSY), _NOT_FOUND, (500, "invalid_domain_state"))
        return (
            Endpoint("GET", root, self._list, "3.20 Domains", DomainList, access=admin, query=_FILTERS, safe=True),
            Endpoint("GET", one, self._show, "3.20 A domain", DomainShown, access=admin, errors=missing, safe=True),
            Endpoint(
                "POST", root, self._add, "3.20 Add one", DomainCreated, 201, access=admin, body=_NEW, errors=_TAKEN
            ),
            Endpoint(
                "PATCH",
                one,
                self._change,
                "3.20 Rename it, switch it on or off, hide or show it",
                DomainUpdated,
                access=admin,
                body=_CHANGE,
                errors=(*_TAKEN, _NOT_FOUND),
            ),
            Endpoint(
                "DELETE", one, self._remove, "3.20 Remove it; aliases stay", DomainDeleted, access=admin, errors=missing
            ),
            Endpoint(
                "POST",
                f"{root}/recheckdns/all",
                self._check_all,
                "3.20 Have all domains checked, which goes on afterwards",
                AllStarted,
                202,
                access=admin,
                errors=((409, BUSY),),
            ),
            Endpoint(
                "POST",
                f"{one}/recheckdns",
                self._check,
                "3.20 Check it now",
                RecheckReport,
                access=admin,
                errors=forced,
            ),
        )

    async def _list(self, call: Call) -> Response:
        values = checked(_FILTERS, call.query)
        page = page_of(values)
        found, total = await self._domains.page(
            values.get("active"),
            values.get("visible"),
            values.get("name"),
            page.limit,
            page.offset,
        )
        return answer(listed([_item(one) for one in found], total, page))

    async def _show(self, call: Call) -> Response:
        return answer(DomainShown(item=_item(await self._one(call))))

    async def _add(self, call: Call) -> Response:
        values = checked(_NEW, call.body)
        name, active = self._name(values), values.get("active", True)
        await self._refuse_banned(name)
        try:
            visible = values.get("visible", True)
            made = await self._domains.add(name, active=active, visible=visible, actor=call.actor)
        except DomainClash as error:
            raise _taken(name, error) from error
        return answer(DomainCreated(ok=True, created=True, item=_item(made)), 201)

    async def _change(self, call: Call) -> Response:
        values = patch(_CHANGE, call.body)
        name = self._name(values) if "name" in values else None
        before = await self._one(call)
        renamed = name is not None and name != before.name
        if renamed or values.get("active", before.active):
            await self._refuse_banned(name or before.name)
        change = SharedDomainChange(name, values.get("active"), values.get("visible"))
        try:
            after = await self._domains.change(before.id, change, call.actor)
        except DomainClash as error:
            raise _taken(name or before.name, error) from error
        except Absent as error:
            raise _absent(before.id) from error
        return answer(DomainUpdated(ok=True, updated=True, item=_item(after)))

    async def _remove(self, call: Call) -> Response:
        number = call.number()
        try:
            gone = await self._domains.remove(number, call.actor)
        except Absent as error:
            raise _absent(number) from error
        return answer(DomainDeleted(ok=True, deleted=True, item=_item(gone)))

    async def _check(self, call: Call) -> Response:
        found = await self._one(call)
        if dns_target(found.name) is None:
            raise Problem(500, "invalid_domain_state", id=found.id, field="name", reason="it is no domain name")
        try:
            return answer(report(await self._checks.one(found.id, call.actor)))
        except Busy as error:
            raise busy() from error
        except Absent as error:
            raise _absent(found.id) from error

    async def _check_all(self, call: Call) -> Response:
        try:
            return answer(started(await self._checks.all(call.actor)), 202)
        except Busy as error:
            raise busy() from error

    async def _one(self, call: Call) -> SharedDomain:
        number = call.number()
        try:
            return await self._domains.one(number)
        except Absent as error:
            raise _absent(number) from error

    def _name(self, values: Mapping[str, Any]) -> str:
        name = mail_domain(values["name"])
        if name is None or name in self._reserved:
            raise invalid("name")
        return name

    async def _refuse_banned(self, name: str) -> None:
        hit = await self._ban(of_domain(name))
        if hit is not None:
            raise banned(hit)


def _item(domain: SharedDomain) -> DomainItem:
    return DomainItem(
        id=domain.id,
        name=domain.name,
        active=1 if domain.active else 0,
        active_mx=1 if domain.active_mx else 0,
        active_ui=1 if domain.active_ui else 0,
        visible=1 if domain.visible else 0,
    )


def _absent(number: int) -> Problem:
    return Problem(404, "domain_not_found", id=number)


def _taken(name: str, clash: DomainClash) -> Problem:
    return Problem(409, "domain_taken", name=name, hint=str(clash))
