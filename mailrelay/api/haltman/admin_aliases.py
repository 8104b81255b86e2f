"""All aliases, for administrators (haltman-api.md sections 3.1 and 3.18)."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.adminfields import ALIAS, MAILBOX, address, objection, optional_address
from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import FLAG, Field, Fields, checked, part, patch
from mailrelay.api.haltman.endpoint import Access, Endpoint
from mailrelay.api.haltman.names import MAX_DOMAIN, MAX_LOCAL
from mailrelay.api.haltman.pages import PAGE, listed, page_of
from mailrelay.api.haltman.problems import Problem
from mailrelay.api.haltman.replies import answer, iso
from mailrelay.api.haltman.shapes import AliasItem, Pagination
from mailrelay.core.address import MAX_ADDRESS_OCTETS
from mailrelay.core.admin_changes import AliasPatch, AliasWish
from mailrelay.core.admin_lists import AliasFilter, ListedAlias
from mailrelay.core.facts import AliasId
from mailrelay.flows.administration import AdminAliases, Objection

_PATH = "admin/aliases"
_LIST: Fields = (
    *PAGE,
    Field("active", FLAG),
    Field("goto", part(MAX_ADDRESS_OCTETS)),
    Field("domain", part(MAX_DOMAIN)),
    Field("handle", part(MAX_LOCAL)),
    Field("address", part(MAX_ADDRESS_OCTETS)),
)
_NEW: Fields = (
    Field("address", ALIAS, required=True),
    Field("goto", MAILBOX, required=True),
    Field("active", FLAG),
)
_CHANGES: Fields = (Field("address", ALIAS), Field("goto", MAILBOX), Field("active", FLAG))
_NONE = ((404, "alias_not_found"),)
_AGAINST = ((400, "invalid_domain"), (403, "banned"), (409, "alias_taken"))


class AliasList(TypedDict):
    items: list[AliasItem]
    pagination: Pagination


class OneAlias(TypedDict):
    item: AliasItem


class AliasCreated(TypedDict):
    ok: Literal[True]
    created: Literal[True]
    item: AliasItem


class AliasUpdated(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    item: AliasItem


class AliasDeleted(TypedDict):
    """deleted: False: it was not active, and stays as it is."""

    ok: Literal[True]
    deleted: bool
    item: AliasItem


class Lists(Protocol):
    """As store/admin_alias_list.py. All raise Unavailable."""

    async def page(self, wanted: AliasFilter, limit: int, offset: int) -> tuple[list[ListedAlias], int]: ...
    async def one(self, number: AliasId) -> ListedAlias | None: ...


class Deletion(Protocol):
    """As store/admin_aliases.py. Raises Unavailable."""

    async def delete(self, number: AliasId, actor: str) -> tuple[ListedAlias, bool] | None: ...


@dataclass(frozen=True, slots=True)
class AdminAliasEndpoints:
    """tombstone: shown as the destination of deleted aliases."""

    story: AdminAliases
    lists: Lists
    deletion: Deletion
    tombstone: str

    def endpoints(self) -> tuple[Endpoint, ...]:
        one, admin = f"{_PATH}/{{id}}", Access.ADMIN
        changes = (*_NONE, *_AGAINST, (500, "invalid_current_state"))
        return (
            Endpoint("GET", _PATH, self.list, "3.18 All aliases", AliasList, access=admin, query=_LIST, safe=True),
            Endpoint("GET", one, self.show, "3.18 An alias", OneAlias, access=admin, errors=_NONE, safe=True),
            Endpoint(
                *("POST", _PATH, self.create, "3.18 A new alias", AliasCreated, 201),
                access=admin, body=_NEW, errors=_AGAINST,
            ),
            Endpoint(
                *("PATCH", one, self.change, "3.18 Change an alias", AliasUpdated),
                access=admin, body=_CHANGES, errors=changes,
            ),
            Endpoint("DELETE", one, self.delete, "3.1 Delete an alias", AliasDeleted, access=admin, errors=_NONE),
        )  # fmt: skip

    async def list(self, call: Call) -> Response:
        values = checked(_LIST, call.query)
        page = page_of(values)
        wanted = AliasFilter(**{name: values.get(name) for name in AliasFilter.__dataclass_fields__})
        aliases, total = await self.lists.page(wanted, page.limit, page.offset)
        return answer(listed([self._item(alias) for alias in aliases], total, page))

    async def show(self, call: Call) -> Response:
        alias = await self.lists.one(AliasId(call.number()))
        if alias is None:
            raise _missing(call.number())
        return answer(OneAlias(item=self._item(alias)))

    async def create(self, call: Call) -> Response:
        values = checked(_NEW, call.body)
        wish = AliasWish(address(values["address"]), address(values["goto"]), values.get("active", True))
        done = await self.story.create(wish, call.base_url, call.actor)
        if not isinstance(done, ListedAlias):
            raise _problem(done, str(wish.address), 0)
        return answer(AliasCreated(ok=True, created=True, item=self._item(done)), 201)

    async def change(self, call: Call) -> Response:
        number = call.number()
        values = patch(_CHANGES, call.body)
        wanted = AliasPatch(optional_address(values, "address"), optional_address(values, "goto"), values.get("active"))
        done = await self.story.change(AliasId(number), wanted, call.actor)
        if not isinstance(done, ListedAlias):
            raise _problem(done, values.get("address"), number)
        return answer(AliasUpdated(ok=True, updated=True, item=self._item(done)))

    async def delete(self, call: Call) -> Response:
        done = await self.deletion.delete(AliasId(call.number()), call.actor)
        if done is None:
            raise _missing(call.number())
        alias, deleted = done
        return answer(AliasDeleted(ok=True, deleted=deleted, item=self._item(alias)))

    def _item(self, alias: ListedAlias) -> AliasItem:
        item: AliasItem = {
            "id": alias.id,
            "address": alias.address,
            "goto": alias.goto or self.tombstone,
            "active": 1 if alias.active else 0,
            "created": iso(alias.created_at),
            "modified": iso(alias.modified_at),
        }
        # Of type integer or not there at all, as documented (section 3.1).
        return item if alias.domain_id is None else {**item, "domain_id": alias.domain_id}


def _missing(number: int) -> Problem:
    return Problem(404, "alias_not_found", id=number)


def _problem(found: Objection, name: str | None, number: int) -> Problem:
    members: dict[str, Any] = {} if name is None else {"address": name}
    return objection(found, "goto", Problem(409, "alias_taken", ok=False, **members), _missing(number))
