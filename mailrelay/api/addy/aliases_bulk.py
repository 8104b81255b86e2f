"""Changes of several aliases at once (addy-api.md sections 3.3 and 3.12: E05 to E10, N01, N02)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.addy.bulk import BULK_LIMIT, IDS_FIELDS, none_found, validate_ids
from mailrelay.api.addy.call import Call, body
from mailrelay.api.addy.checks import ARRAY, DISTINCT, REQUIRED, UUID_TEXT, Fields, attribute, max_items
from mailrelay.api.addy.endpoint import Endpoint, Handler
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Invalid, Plain
from mailrelay.api.addy.recipientids import INVALID_RECIPIENT, MAX_RECIPIENTS, known_ids, verified
from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.records import OwnedSet

RECIPIENT_FIELDS: Final[Fields] = (
    *IDS_FIELDS,
    attribute("recipient_ids", ARRAY, max_items(MAX_RECIPIENTS), bail=True),
    attribute("recipient_ids.*", REQUIRED, UUID_TEXT, DISTINCT),
)
_RESTORE_FIRST: Final = (
    "You need to restore this alias before you can activate it",
    "You need to restore these aliases before you can activate them",
)


class Done(TypedDict):
    """How many were changed, in words, and which."""

    message: str
    ids: list[str]


class BulkResult(Done):
    """Once as the original sends it, once as its reference page has it (ruling D3)."""

    data: Done


class AliasSetStore(Protocol):
    """As store/manage_alias_sets.py."""

    async def activate(self, which: OwnedSet, actor: str) -> tuple[tuple[UUID, ...], tuple[UUID, ...]]: ...
    async def deactivate(self, which: OwnedSet, actor: str) -> tuple[UUID, ...]: ...
    async def delete(self, which: OwnedSet, actor: str) -> tuple[UUID, ...]: ...
    async def restore(self, which: OwnedSet, actor: str) -> tuple[UUID, ...]: ...
    async def forget(self, which: OwnedSet, actor: str) -> tuple[UUID, ...]: ...
    async def pin(self, which: OwnedSet, pinned: bool, actor: str) -> tuple[UUID, ...]: ...
    async def attach(self, which: OwnedSet, recipients: tuple[UUID, ...], actor: str) -> tuple[UUID, ...]: ...
    async def recipients(self, account: AccountId, uuids: Sequence[UUID]) -> frozenset[UUID]: ...


@dataclass(frozen=True, slots=True)
class AliasBulkEndpoints:
    """Each reaches those that qualify; none is an error, some are not."""

    sets: AliasSetStore

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            _bulk("activate", self.activate, "E05 forward the mail of several aliases"),
            _bulk("deactivate", self.deactivate, "E06 drop the mail of several aliases"),
            _bulk("delete", self.delete, "E07 delete several aliases, until they are restored"),
            _bulk("restore", self.restore, "E08 undo several deletions"),
            _bulk("forget", self.forget, "E09 erase several aliases for good"),
            _bulk("recipients", self.attach, "E10 where the mail of several aliases goes", RECIPIENT_FIELDS),
            _bulk("pin", self.pin, "N01 several aliases first in lists"),
            _bulk("unpin", self.unpin, "N02 several aliases as others in lists"),
        )

    async def activate(self, call: Call) -> Response:
        done, deleted = await self.sets.activate(_which(call), call.actor)
        if deleted:
            raise Plain(422, _RESTORE_FIRST[len(deleted) > 1], ids=_texts(deleted))
        return _told(done, "{aliases} activated successfully")

    async def deactivate(self, call: Call) -> Response:
        return _told(await self.sets.deactivate(_which(call), call.actor), "{aliases} deactivated successfully")

    async def delete(self, call: Call) -> Response:
        return _told(await self.sets.delete(_which(call), call.actor), "{aliases} deleted successfully")

    async def restore(self, call: Call) -> Response:
        return _told(await self.sets.restore(_which(call), call.actor), "{aliases} restored successfully")

    async def forget(self, call: Call) -> Response:
        return _told(await self.sets.forget(_which(call), call.actor), "{aliases} forgotten successfully")

    async def pin(self, call: Call) -> Response:
        return _told(await self.sets.pin(_which(call), True, call.actor), "{aliases} pinned successfully")

    async def unpin(self, call: Call) -> Response:
        return _told(await self.sets.pin(_which(call), False, call.actor), "{aliases} unpinned successfully")

    async def attach(self, call: Call) -> Response:
        """Without recipient_ids as with none of them: the defaults apply."""
        recipients = known_ids(call.input.get("recipient_ids"))
        theirs = await self.sets.recipients(call.account, recipients)
        uuids, _ = validate_ids(call.input, RECIPIENT_FIELDS, {"recipient_ids": (verified(theirs),)})
        try:
            done = await self.sets.attach(OwnedSet(call.account, tuple(uuids)), recipients, call.actor)
        except Absent as error:
            raise Invalid({"recipient_ids": [INVALID_RECIPIENT]}) from error
        return _told(done, "recipients updated for {aliases} successfully")


def _bulk(name: str, handler: Handler, summary: str, fields: Fields = IDS_FIELDS) -> Endpoint:
    return Endpoint("POST", f"aliases/{name}/bulk", handler, summary, BulkResult, fields=fields, limit=BULK_LIMIT)


def _which(call: Call) -> OwnedSet:
    """Raises Invalid."""
    uuids, _ = validate_ids(call.input)
    return OwnedSet(call.account, tuple(uuids))


def _texts(uuids: Sequence[UUID]) -> list[str]:
    return [str(uuid) for uuid in uuids]


def _told(done: Sequence[UUID], words: str) -> Response:
    """Raises Plain when there was none."""
    if not done:
        raise none_found()
    aliases = "1 alias" if len(done) == 1 else f"{len(done)} aliases"
    said: Mapping[str, Value] = {"message": words.format(aliases=aliases), "ids": _texts(done)}
    return body({**said, "data": said})
