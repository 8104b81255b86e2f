"""Bans, for administrators: the list as the documentation has it, and what changes them (sections 3.4 and 3.19)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import (
    FLAG,
    MOMENT,
    SWITCH,
    Field,
    Fields,
    checked,
    one_of,
    part,
    patch,
    text,
    text_or_none,
)
from mailrelay.api.haltman.endpoint import Access, Endpoint
from mailrelay.api.haltman.names import mail_domain, mailbox, trimmed
from mailrelay.api.haltman.pages import PAGE, listed, page_of
from mailrelay.api.haltman.problems import Problem, invalid
from mailrelay.api.haltman.replies import answer, iso, iso_or_none
from mailrelay.api.haltman.shapes import Pagination
from mailrelay.core.banrecords import BanChange, BanFilter, BanMade, BanRecord, NewBan
from mailrelay.core.bans import BanId, BanType
from mailrelay.core.errors import Absent, Conflict, Malformed
from mailrelay.core.records import KEEP
from mailrelay.flows.manage import bans
from mailrelay.flows.manage.bans import BanStore, ban_value
from mailrelay.flows.manage.ports import Clock

_TYPE: Final = one_of("email", "domain", "ip", "name")
_VALUE: Final = text(1, 255)
_REASON: Final = text_or_none(255)
_FILTERS: Fields = (*PAGE, Field("active", FLAG), Field("ban_type", _TYPE), Field("ban_value", part(255)))
_NEW: Fields = (
    Field("ban_type", _TYPE, required=True),
    Field("ban_value", _VALUE, required=True),
    Field("reason", _REASON),
    Field("expires_at", MOMENT),
    Field("disable_matching_aliases", SWITCH),
)
_CHANGED: Fields = (
    Field("ban_type", _TYPE),
    Field("ban_value", _VALUE),
    Field("reason", _REASON),
    Field("expires_at", MOMENT),
    Field("revoked", FLAG),
    Field("revoked_reason", _REASON),
)
_RIGHT: Final[Mapping[BanType, str]] = {
    "email": "{name} must be a mailbox",
    "domain": "{name} must be a domain with at least two labels",
    "ip": "{name} must be an IPv4 or IPv6 address, or a network in CIDR notation",
    "name": "{name} must be a local part without +",
}


class BanItem(TypedDict):
    """Section 1.8."""

    id: int
    ban_type: Literal["email", "domain", "ip", "name"]
    ban_value: str
    reason: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    revoked_reason: str | None
    active: bool


class BanList(TypedDict):
    items: list[BanItem]
    pagination: Pagination


class BanShown(TypedDict):
    item: BanItem


class BanCreated(TypedDict):
    """disabled_handles is ours: the original leaves handles alone."""

    ok: Literal[True]
    created: Literal[True]
    item: BanItem
    disabled_aliases: int
    disabled_handles: int
    message: str


class BanUpdated(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    item: BanItem


class BanDeleted(TypedDict):
    ok: Literal[True]
    deleted: Literal[True]
    item: BanItem


class Store(BanStore, Protocol):
    """As store/manage_bans.py. Both raise Absent and Unavailable."""

    async def one(self, number: BanId) -> BanRecord: ...
    async def delete(self, number: BanId, actor: str) -> BanRecord: ...


class Lists(Protocol):
    """As store/admin_bans.py. Raises Unavailable."""

    async def page(self, wanted: BanFilter, limit: int, offset: int) -> tuple[Sequence[BanRecord], int]: ...


class AdminBanEndpoints:
    """Bans that are made here have scope `both`."""

    def __init__(self, store: Store, lists: Lists, clock: Clock) -> None:
        self._store = store
        self._lists = lists
        self._clock = clock

    def endpoints(self) -> tuple[Endpoint, ...]:
        root, one, admin = "admin/bans", "admin/bans/{id}", Access.ADMIN
        missing, taken = (404, "ban_not_found"), (409, "ban_taken")
        return (
            Endpoint("GET", root, self.list, "3.4 All bans", BanList, access=admin, query=_FILTERS, safe=True),
            Endpoint("GET", one, self.show, "3.19 A ban", BanShown, access=admin, errors=(missing,), safe=True),
            Endpoint(
                *("POST", root, self.add, "3.19 Ban a mailbox, a domain, clients or a name", BanCreated, 201),
                access=admin, body=_NEW, errors=(taken,),
            ),
            Endpoint(
                *("PATCH", one, self.change, "3.19 Change, revoke or revive a ban", BanUpdated),
                access=admin, body=_CHANGED, errors=(missing, taken),
            ),
            Endpoint(
                *("DELETE", one, self.delete, "3.19 Remove a ban and its record", BanDeleted),
                access=admin, errors=(missing,),
            ),
        )  # fmt: skip

    async def list(self, call: Call) -> Response:
        values = checked(_FILTERS, call.query)
        page = page_of(values)
        wanted = BanFilter(values.get("active"), values.get("ban_type"), values.get("ban_value", ""))
        found, total = await self._lists.page(wanted, page.limit, page.offset)
        return answer(listed([_item(ban) for ban in found], total, page))

    async def show(self, call: Call) -> Response:
        number = BanId(call.number())
        try:
            return answer({"item": _item(await self._store.one(number))})
        except Absent as error:
            raise _missing(number) from error

    async def add(self, call: Call) -> Response:
        values = checked(_NEW, call.body)
        kind: BanType = values["ban_type"]
        disable = values.get("disable_matching_aliases", False)
        value = _fold(kind, values["ban_value"])
        if disable and kind == "ip":
            raise invalid("disable_matching_aliases", "not_supported_for_ip_bans")
        new = NewBan(kind, value, "both", values.get("reason"), values.get("expires_at"))
        try:
            made = await self._store.add(new, call.actor, call.session.user.id, disable)
        except Conflict as error:
            raise _taken(kind, value) from error
        said = {"disabled_aliases": made.disabled_aliases, "disabled_handles": made.disabled_handles}
        message = _told(made) if disable else "The ban was created."
        return answer({"ok": True, "created": True, "item": _item(made), **said, "message": message}, 201)

    async def change(self, call: Call) -> Response:
        number, values = BanId(call.number()), patch(_CHANGED, call.body)
        wanted = BanChange(
            values.get("ban_type", KEEP),
            values.get("ban_value", KEEP),
            values.get("reason", KEEP),
            values.get("expires_at", KEEP),
            values.get("revoked", KEEP),
            values.get("revoked_reason", KEEP),
        )
        try:
            found = await bans.change(self._store, self._clock, number, wanted, call.actor, _fold)
        except Absent as error:
            raise _missing(number) from error
        except Conflict as error:
            kind, value = values.get("ban_type"), values.get("ban_value")
            raise _taken(kind, trimmed(value) or None) from error
        return answer({"ok": True, "updated": True, "item": _item(found)})

    async def delete(self, call: Call) -> Response:
        number = BanId(call.number())
        try:
            return answer({"ok": True, "deleted": True, "item": _item(await self._store.delete(number, call.actor))})
        except Absent as error:
            raise _missing(number) from error


def _item(ban: BanRecord) -> BanItem:
    return {
        "id": ban.id,
        "ban_type": ban.type,
        "ban_value": ban.value,
        "reason": ban.reason,
        "created_at": iso(ban.created_at),
        "expires_at": iso_or_none(ban.expires_at),
        "revoked_at": iso_or_none(ban.revoked_at),
        "revoked_reason": ban.revoked_reason,
        "active": ban.active,
    }


def _fold(kind: BanType, value: str) -> str:
    """As section 1.2 has it; top-level domains in A-labels can be banned as well. Raises Problem."""
    folded = trimmed(value)
    try:
        if kind == "email" and mailbox(_with_plain_end(folded)) is None:
            raise Malformed("no mailbox")
        if kind == "domain" and mail_domain(_with_plain_end(folded)) is None:
            raise Malformed("no domain")
        return ban_value(kind, folded)
    except Malformed as error:
        said = _RIGHT[kind].replace("{name}", "ban_value")
        raise invalid("ban_value", constraints={"matches": said}) from error


def _with_plain_end(text: str) -> str:
    """The same with letters for a top-level domain of A-labels, as new mailboxes of those are not taken here."""
    head, dot, last = text.rpartition(".")
    return f"{head}.example" if dot and last.startswith("xn--") and last.replace("-", "").isalnum() else text


def _told(made: BanMade) -> str:
    aliases = f"{made.disabled_aliases} alias{'' if made.disabled_aliases == 1 else 'es'}"
    handles = f"{made.disabled_handles} handle{'' if made.disabled_handles == 1 else 's'}"
    return f"The ban was created; {aliases} and {handles} were disabled."


def _missing(number: BanId) -> Problem:
    return Problem(404, "ban_not_found", id=number)


def _taken(kind: Any, value: Any) -> Problem:
    said = {"ban_type": kind, "ban_value": value}
    return Problem(409, "ban_taken", **{name: one for name, one in said.items() if one is not None})
