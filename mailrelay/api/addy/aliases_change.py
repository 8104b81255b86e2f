"""Changes of one alias (addy-api.md sections 3.4 and 3.12: E14 to E20, N03 to N06)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from starlette.responses import Response

from mailrelay.api.addy.alias_shape import MODEL, Alias, alias_shape
from mailrelay.api.addy.call import Call, data, empty
from mailrelay.api.addy.checks import (
    ARRAY,
    ID_FIELDS,
    STRING,
    Fields,
    attribute,
    max_chars,
    max_items,
    validate,
)
from mailrelay.api.addy.endpoint import Endpoint, Handler
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import NotFound, Plain, Text, missing
from mailrelay.api.addy.recipientids import MAX_RECIPIENTS, known_ids, verified
from mailrelay.api.addy.shapes import Data
from mailrelay.core.address import Address
from mailrelay.core.errors import Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.own_aliases import OwnAlias
from mailrelay.core.records import KEEP, AliasChange, AliasRecord, Keep, Owned, OwnedSet

CHANGE_FIELDS: Final[Fields] = (
    attribute("description", STRING, max_chars(200), nullable=True),
    attribute("from_name", STRING, max_chars(50), nullable=True),
)
ATTACH_FIELDS: Final[Fields] = (
    attribute("alias_id", STRING, nullable=True),
    attribute("recipient_ids", ARRAY, max_items(MAX_RECIPIENTS), bail=True),
)
RESTORE_FIRST: Final = (422, "You need to restore this alias before you can activate it")
_HOMELESS: Final = "This alias cannot be restored, because its domain, username or handle is no longer yours"


class AliasStore(Protocol):
    """As store/manage_aliases.py."""

    async def set_active(self, which: Address | Owned, active: bool, actor: str) -> AliasRecord: ...
    async def restore(self, which: Address | Owned, actor: str) -> AliasRecord: ...
    async def forget(self, which: Address | Owned, actor: str) -> AliasRecord | None: ...
    async def change(self, which: Address | Owned, change: AliasChange, actor: str) -> AliasRecord: ...


class AliasSetStore(Protocol):
    """As store/manage_alias_sets.py."""

    async def delete(self, which: OwnedSet, actor: str) -> tuple[UUID, ...]: ...
    async def recipients(self, account: AccountId, uuids: Sequence[UUID]) -> frozenset[UUID]: ...


class AliasReader(Protocol):
    """As store/own_aliases.py."""

    async def one(self, account: AccountId, uuid: UUID) -> OwnAlias: ...


@dataclass(frozen=True, slots=True)
class AliasChangeEndpoints:
    """What an owner does with one alias."""

    store: AliasStore
    sets: AliasSetStore
    reader: AliasReader

    def endpoints(self) -> tuple[Endpoint, ...]:
        one = Data[Alias]
        return (
            Endpoint(
                "PATCH", "aliases/{id}", self.change, "E14 another description or name", one, fields=CHANGE_FIELDS
            ),
            Endpoint("PATCH", "aliases/{id}/restore", self.restore, "E15 undo a deletion", one),
            Endpoint("DELETE", "aliases/{id}", self.delete, "E16 delete, until it is restored", status=204),
            Endpoint("DELETE", "aliases/{id}/forget", self.forget, "E17 erase for good", status=204),
            _switch_on("active-aliases", self.activate, "E18 forward its mail", (RESTORE_FIRST,)),
            _switch_off("active-aliases", self.deactivate, "E19 drop its mail"),
            Endpoint("POST", "alias-recipients", self.attach, "E20 where its mail goes", one, fields=ATTACH_FIELDS),
            _switch_on("pinned-aliases", self.pin, "N03 first in lists"),
            _switch_off("pinned-aliases", self.unpin, "N04 as others in lists"),
            _switch_on("attached-recipients-only", self.attached_only, "N05 only attached recipients send from it"),
            _switch_off("attached-recipients-only", self.any_recipient, "N06 any recipient sends from it"),
        )

    async def change(self, call: Call) -> Response:
        values = validate(CHANGE_FIELDS, call.input)
        wanted = AliasChange(description=_given(values, "description"), from_name=_given(values, "from_name"))
        return await self._changed(call, call.owned(MODEL), call.id, wanted)

    async def restore(self, call: Call) -> Response:
        which = call.owned(MODEL)
        try:
            with missing(MODEL, call.id):
                await self.store.restore(which, call.actor)
        except Conflict as error:
            raise Plain(422, _HOMELESS) from error
        return await self._shown(which, call.id)

    async def delete(self, call: Call) -> Response:
        which = call.owned(MODEL)
        if not await self.sets.delete(OwnedSet(which.account, (which.uuid,)), call.actor):
            raise NotFound(MODEL, call.id)
        return empty()

    async def forget(self, call: Call) -> Response:
        with missing(MODEL, call.id):
            await self.store.forget(call.owned(MODEL), call.actor)
        return empty()

    async def activate(self, call: Call) -> Response:
        sent = validate(ID_FIELDS, call.input)["id"]
        which = call.owned(MODEL, sent)
        try:
            with missing(MODEL, sent):
                await self.store.set_active(which, True, call.actor)
        except Conflict as error:
            raise Text(*RESTORE_FIRST) from error
        return await self._shown(which, sent)

    async def deactivate(self, call: Call) -> Response:
        # A deleted one is not active, which is all that was asked for.
        with missing(MODEL, call.id), suppress(Conflict):
            await self.store.set_active(call.owned(MODEL), False, call.actor)
        return empty()

    async def attach(self, call: Call) -> Response:
        chosen = known_ids(call.input.get("recipient_ids"))
        theirs = await self.sets.recipients(call.account, chosen)
        validate(ATTACH_FIELDS, call.input, {"recipient_ids": (verified(theirs),)})
        sent = call.input.get("alias_id")
        return await self._changed(call, call.owned(MODEL, sent), sent, AliasChange(recipients=chosen))

    async def pin(self, call: Call) -> Response:
        return await self._switched_on(call, AliasChange(pinned=True))

    async def unpin(self, call: Call) -> Response:
        return await self._switched_off(call, AliasChange(pinned=False))

    async def attached_only(self, call: Call) -> Response:
        return await self._switched_on(call, AliasChange(attached_recipients_only=True))

    async def any_recipient(self, call: Call) -> Response:
        return await self._switched_off(call, AliasChange(attached_recipients_only=False))

    async def _switched_on(self, call: Call, wanted: AliasChange) -> Response:
        sent = validate(ID_FIELDS, call.input)["id"]
        return await self._changed(call, call.owned(MODEL, sent), sent, wanted)

    async def _switched_off(self, call: Call, wanted: AliasChange) -> Response:
        with missing(MODEL, call.id):
            await self.store.change(call.owned(MODEL), wanted, call.actor)
        return empty()

    async def _changed(self, call: Call, which: Owned, sent: Value, wanted: AliasChange) -> Response:
        with missing(MODEL, sent):
            await self.store.change(which, wanted, call.actor)
        return await self._shown(which, sent)

    async def _shown(self, which: Owned, sent: Value) -> Response:
        with missing(MODEL, sent):
            return data(alias_shape(await self.reader.one(which.account, which.uuid)))


def _given(values: Mapping[str, Value], name: str) -> str | Keep | None:
    if name not in values:
        return KEEP
    value = values[name]
    return None if value is None else str(value)


def _switch_on(path: str, handler: Handler, summary: str, texts: tuple[tuple[int, str], ...] = ()) -> Endpoint:
    return Endpoint("POST", path, handler, summary, Data[Alias], fields=ID_FIELDS, texts=texts)


def _switch_off(path: str, handler: Handler, summary: str) -> Endpoint:
    return Endpoint("DELETE", f"{path}/{{id}}", handler, summary, status=204)
