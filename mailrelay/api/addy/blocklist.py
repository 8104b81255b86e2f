"""The account's block list: N13 to N17 of addy-api.md."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, get_args

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.addy.bulk import validate_ids
from mailrelay.api.addy.call import Call, body, data, empty, timestamp, timestamp_or_none
from mailrelay.api.addy.checks import (
    ARRAY,
    DISTINCT,
    INTEGER,
    REQUIRED,
    STRING,
    UUID_TEXT,
    Fields,
    Rule,
    attribute,
    group,
    is_text,
    max_chars,
    max_items,
    max_number,
    members,
    min_chars,
    min_number,
    one_of,
    required,
    validate,
)
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.pages import DEFAULT_SIZE, page_of, paged
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Invalid, Plain, missing
from mailrelay.api.addy.shapes import Data, Paged
from mailrelay.core.blocklist import AlreadyListed, EntryType, Search, Sort, email_entry
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import BlockRecord
from mailrelay.flows.manage import blocks
from mailrelay.flows.manage.blocks import BlockStore

MODEL: Final = "BlockedSender"
TYPES: Final = get_args(EntryType)
SORTS: Final = tuple(sign + sort for sort in get_args(Sort) for sign in ("", "-"))
MAX_ADDED: Final = 50
MAX_DELETED: Final = 500
_LISTED: Final = "This email or domain is already on your blocklist."
_NONE_FOUND: Final = "No blocklist entries found"

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# Names of the root zone in other scripts are A-labels.
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?:[A-Za-z]{{2,63}}|xn--[A-Za-z0-9-]{{0,58}}[A-Za-z0-9])")
_MAX_DOMAIN = 253


def is_sender(value: Value) -> bool:
    """An address that can be blocked."""
    try:
        return is_text(value) and "." in email_entry(value).value.rpartition("@")[2]
    except Malformed:
        return False


def is_domain(value: Value) -> bool:
    """A domain that can be blocked."""
    return isinstance(value, str) and len(value) <= _MAX_DOMAIN and _DOMAIN.fullmatch(value) is not None


_TYPE = Rule(
    lambda value: isinstance(value, str) and value in TYPES,
    "The type must be either email or domain.",
    {"enum": [*TYPES]},
)
_LENGTH = Rule(
    lambda value: not isinstance(value, str) or len(value) <= _MAX_DOMAIN,
    f"The value may not be longer than {_MAX_DOMAIN} characters.",
    {"maxLength": _MAX_DOMAIN},
)
_VALID: Final[Mapping[str, Rule]] = {
    "email": Rule(is_sender, "The value must be a valid email address when type is email."),
    "domain": Rule(is_domain, "The value must be a valid domain (e.g. example.com) when type is domain."),
}

LIST_FIELDS: Fields = (
    attribute("filter", ARRAY, nullable=True),
    attribute("filter.search", STRING, min_chars(1), max_chars(100), nullable=True),
    attribute("filter.type", one_of(*TYPES), nullable=True),
    attribute("sort", one_of(*SORTS), nullable=True),
    attribute("page", ARRAY, nullable=True),
    attribute("page.number", INTEGER, min_number(1), nullable=True),
    attribute("page.size", INTEGER, max_number(DEFAULT_SIZE), min_number(1), nullable=True),
)
ADD_FIELDS: Fields = (
    attribute("type", required("Please select whether you are blocking an email or a domain."), STRING, _TYPE),
    attribute("value", required("Please enter an email address or domain to block."), STRING, _LENGTH),
)
ADD_ALL_FIELDS: Fields = (
    attribute("type", required("Please select whether you are blocking emails or domains."), STRING, _TYPE),
    attribute(
        "values",
        required("Please enter at least one entry."),
        ARRAY,
        Rule(max_items(MAX_ADDED).test, f"You may add at most {MAX_ADDED} entries at once.", {"maxItems": MAX_ADDED}),
    ),
    attribute("values.*", STRING, _LENGTH),
)
DELETE_FIELDS: Fields = (
    attribute("ids", REQUIRED, ARRAY, max_items(MAX_DELETED)),
    attribute("ids.*", REQUIRED, UUID_TEXT, DISTINCT),
)


class BlockedSender(TypedDict):
    id: str
    user_id: str
    value: str
    type: EntryType
    blocked: int
    last_blocked: str | None
    created_at: str
    updated_at: str


class Added(TypedDict):
    """skipped: of what was given, how many were there already."""

    data: list[BlockedSender]
    message: str
    skipped: int


class Deleted(TypedDict):
    message: str
    ids: list[str]


class Reader(Protocol):
    """As store/own_blocklist.py. Raises Unavailable."""

    async def page(self, account: AccountId, search: Search) -> tuple[Sequence[BlockRecord], int]: ...


@dataclass(frozen=True, slots=True)
class BlocklistEndpoints:
    store: BlockStore
    reader: Reader

    def endpoints(self) -> tuple[Endpoint, ...]:
        path = "blocklist"
        return (
            Endpoint("GET", path, self.page, "N13 Blocked senders", Paged[BlockedSender], fields=LIST_FIELDS),
            Endpoint("POST", path, self.add, "N14 Block a sender", Data[BlockedSender], 201, ADD_FIELDS),
            Endpoint("POST", f"{path}/store/bulk", self.add_all, "N15 Block senders", Added, 201, ADD_ALL_FIELDS),
            Endpoint("POST", f"{path}/delete/bulk", self.delete_all, "N16 Unblock", Deleted, fields=DELETE_FIELDS),
            Endpoint("DELETE", f"{path}/{{id}}", self.delete, "N17 Unblock a sender", status=204),
        )

    async def page(self, call: Call) -> Response:
        wanted = validate(LIST_FIELDS, call.input)
        filters = group(wanted, "filter")
        number, size = page_of(wanted)
        sort: Any = wanted.get("sort") or "-created_at"
        search = Search(
            filters.get("search"),
            filters.get("type"),
            sort.removeprefix("-"),
            sort.startswith("-"),
            limit=size,
            offset=(number - 1) * size,
        )
        found, total = await self.reader.page(call.account, search)
        return body(paged(call, [_shape(call, one) for one in found], number, size, total))

    async def add(self, call: Call) -> Response:
        sent = {**call.input, "value": _folded(call.input.get("value"))}
        given = validate(ADD_FIELDS, sent, {"value": _valid(sent)})
        try:
            made = await blocks.block(self.store, call.account, given["type"], given["value"], None, call.actor)
        except AlreadyListed as error:
            raise Invalid({"value": [_LISTED]}) from error
        return data(_shape(call, made), 201)

    async def add_all(self, call: Call) -> Response:
        values = members(call.input.get("values"))
        sent = call.input
        if values is not None:
            sent = {**sent, "values": [_folded(value) for value in values if value not in (None, "")]}
        given = validate(ADD_ALL_FIELDS, sent, {"values.*": _valid(sent)})
        made = await blocks.block_all(self.store, call.account, given["type"], given["values"], call.actor)
        skipped = len(given["values"]) - len(made)
        shapes = [_shape(call, one) for one in made]
        return body({"data": shapes, "message": _added(len(made), skipped), "skipped": skipped}, 201)

    async def delete_all(self, call: Call) -> Response:
        uuids, _ = validate_ids(call.input, DELETE_FIELDS)
        gone = await blocks.unblock_all(self.store, call.account, uuids, call.actor)
        if not gone:
            raise Plain(404, _NONE_FOUND)
        message = f"{_entries(len(gone))} removed from blocklist"
        return body({"message": message, "ids": [str(one) for one in gone]})

    async def delete(self, call: Call) -> Response:
        which = call.owned(MODEL)
        with missing(MODEL, call.id):
            await blocks.unblock(self.store, which, call.actor)
        return empty()


def _folded(value: Value) -> Value:
    return value.lower() if isinstance(value, str) else value


def _valid(sent: Mapping[str, Value]) -> tuple[Rule, ...]:
    """What a value of the type that was given has to be; for an unknown one nothing."""
    kind = sent.get("type")
    return (_VALID[kind],) if isinstance(kind, str) and kind in _VALID else ()


def _shape(call: Call, entry: BlockRecord) -> BlockedSender:
    return {
        "id": str(entry.uuid),
        "user_id": str(call.caller.account_uuid),
        "value": entry.value,
        "type": entry.type,
        "blocked": entry.blocked,
        "last_blocked": timestamp_or_none(entry.last_blocked),
        "created_at": timestamp(entry.created_at),
        "updated_at": timestamp(entry.updated_at),
    }


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _added(count: int, skipped: int) -> str:
    if not count:
        return "All entries were already on your blocklist." if skipped else "No entries added."
    return f"{_entries(count)} added to blocklist." + (f" {skipped} already on blocklist." if skipped else "")
