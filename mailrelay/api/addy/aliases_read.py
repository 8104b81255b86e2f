"""Aliases: the list with its filters and orders, one, and several by their ids (addy-api.md section 4, E04, E12)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from starlette.responses import Response

from mailrelay.api.addy.alias_shape import MODEL, Alias, alias_shape
from mailrelay.api.addy.bulk import BULK_LIMIT, IDS_FIELDS, none_found, validate_ids
from mailrelay.api.addy.call import Call, body, data
from mailrelay.api.addy.checks import (
    ARRAY,
    STRING,
    UUID_TEXT,
    Fields,
    attribute,
    group,
    max_chars,
    min_chars,
    one_of,
    uuid_of,
    validate,
)
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.pages import PAGE_FIELDS, page_of, paged
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import missing
from mailrelay.api.addy.shapes import Data, Paged
from mailrelay.core.facts import AccountId
from mailrelay.core.own_aliases import AliasPage, AliasQuery, AliasSort, Deleted, OwnAlias

_WORDS: Final = {"true": True, "false": False}
_SORTS: Final = {f"{sign}{sort}": (sort, sign == "-") for sort in AliasSort for sign in ("", "-")}

LIST_FIELDS: Final[Fields] = (
    *PAGE_FIELDS,
    attribute("filter", ARRAY, nullable=True),
    attribute("filter.search", STRING, max_chars(50), min_chars(3), nullable=True),
    attribute("filter.deleted", one_of(*Deleted), nullable=True),
    attribute("filter.active", one_of(*_WORDS), nullable=True),
    attribute("filter.pinned", one_of(*_WORDS), nullable=True),
    attribute("sort", max_chars(50), min_chars(3), one_of(*_SORTS), nullable=True),
    attribute("recipient", UUID_TEXT, nullable=True),
    attribute("domain", UUID_TEXT, nullable=True),
    attribute("username", UUID_TEXT, nullable=True),
)


class Reader(Protocol):
    """As store/own_aliases.py."""

    async def one(self, account: AccountId, uuid: UUID) -> OwnAlias: ...
    async def several(self, account: AccountId, uuids: Sequence[UUID]) -> list[OwnAlias]: ...
    async def page(self, account: AccountId, query: AliasQuery, number: int, size: int) -> AliasPage: ...


@dataclass(frozen=True, slots=True)
class AliasReadEndpoints:
    """E04, E11, E12."""

    reader: Reader

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "POST",
                "aliases/get/bulk",
                self.several,
                "E04 several aliases by their ids",
                Data[list[Alias]],
                fields=IDS_FIELDS,
                limit=BULK_LIMIT,
            ),
            Endpoint("GET", "aliases", self.page, "E11 aliases, filtered and sorted", Paged[Alias], fields=LIST_FIELDS),
            Endpoint("GET", "aliases/{id}", self.one, "E12 one alias", Data[Alias]),
        )

    async def several(self, call: Call) -> Response:
        uuids, _ = validate_ids(call.input)
        found = await self.reader.several(call.account, uuids)
        if not found:
            raise none_found()
        return data([alias_shape(alias) for alias in found])

    async def page(self, call: Call) -> Response:
        values = validate(LIST_FIELDS, call.input)
        number, size = page_of(values)
        found = await self.reader.page(call.account, query_of(values, call.input.get("deleted")), number, size)
        return body(paged(call, [alias_shape(alias) for alias in found.aliases], number, size, found.total))

    async def one(self, call: Call) -> Response:
        owned = call.owned(MODEL)
        with missing(MODEL, call.id):
            return data(alias_shape(await self.reader.one(owned.account, owned.uuid)))


def query_of(values: Mapping[str, Value], legacy_deleted: Value = None) -> AliasQuery:
    """What validated input asks for. legacy_deleted: a parameter of older clients, whose other words mean nothing.

    A recipient's aliases are all whose mail goes there, as section 8 (19) has it: also by the account's default.
    """
    wanted = group(values, "filter")
    sort, descending = _SORTS[values.get("sort") or "-created_at"]
    return AliasQuery(
        deleted=_deleted(wanted.get("deleted"), legacy_deleted),
        active=_truth(wanted.get("active")),
        pinned=_truth(wanted.get("pinned")),
        search=wanted.get("search"),
        recipient=_uuid(values, "recipient"),
        domain=_uuid(values, "domain"),
        username=_uuid(values, "username"),
        sort=sort,
        descending=descending,
    )


def _deleted(*words: Value) -> Deleted:
    """Of several instructions the strongest."""
    return next((one for one in (Deleted.ONLY, Deleted.WITH) if one in words), Deleted.WITHOUT)


def _truth(word: Value) -> bool | None:
    return None if word is None else _WORDS[word]


def _uuid(values: Mapping[str, Value], name: str) -> UUID | None:
    return uuid_of(values.get(name))
