"""Failed deliveries over HTTP (addy-api.md sections 2.11, 3.6 and 3.12)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.addy.call import Call, body, data, empty, id_text, timestamp
from mailrelay.api.addy.checks import (
    ARRAY,
    REQUIRED,
    UUID_TEXT,
    Fields,
    Rule,
    attribute,
    max_items,
    members,
    one_of,
    uuid_of,
    validate,
)
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.pages import PAGE_FIELDS, page_of, paged
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Invalid, NotFound, Plain, Text, missing
from mailrelay.api.addy.recipientids import INVALID_RECIPIENT, MAX_RECIPIENTS
from mailrelay.api.addy.shapes import Data, Paged
from mailrelay.core.errors import Absent, Malformed
from mailrelay.core.failed import (
    AlreadyResent,
    BadRecipients,
    FailedRecord,
    FailedType,
    NotForward,
    NotSent,
    NotStored,
)
from mailrelay.core.records import Owned
from mailrelay.flows.manage import failed as desk
from mailrelay.flows.manage.failed import ResendStory, Shelf

_MODEL = "FailedDelivery"
_NOT_STORED = (404, "")
_ALREADY = (422, "This failed delivery has already been resent")
_NO_FORWARD = (422, 'Only messages with an email type of "Forward" can currently be resent')
_NOT_SENT: Final = (500, "Failed to resend email")

_TYPES: Final = one_of(*(kind.value for kind in FailedType))
# Here the specification keeps the underscore.
_ONE_TYPE: Final = Rule(_TYPES.test, "The selected filter.email_type is invalid.", _TYPES.schema)

LIST_FIELDS: Fields = (
    *PAGE_FIELDS,
    attribute("filter", ARRAY, nullable=True),
    attribute("filter.email_type", _ONE_TYPE, nullable=True),
)
RECIPIENTS: Fields = (attribute("recipient_ids", ARRAY, max_items(MAX_RECIPIENTS), nullable=True, bail=True),)
_RESEND: Fields = (*RECIPIENTS, attribute("id", REQUIRED, UUID_TEXT))


class FailedShape(TypedDict):
    id: str
    user_id: str
    recipient_id: str | None
    recipient_email: str | None
    alias_id: str | None
    alias_email: str | None
    bounce_type: str
    remote_mta: str
    sender: str | None
    destination: str | None
    ir_dedupe_key: str | None
    type: str
    email_type: str
    email_type_text: str
    status: str
    code: str
    is_stored: bool
    quarantined: bool
    resent: bool
    attempted_at: str
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class FailedEndpoints:
    """E33 to E35, N11 and N12. shelf: raises BadConfig without its key. hostname: of this host, which
    refused what no other one did."""

    shelf: Callable[[], Shelf]
    story: ResendStory
    hostname: str

    def endpoints(self) -> tuple[Endpoint, ...]:
        many, one = "failed-deliveries", "failed-deliveries/{id}"
        return (
            Endpoint(
                "GET",
                many,
                self.list,
                "E33 Failed deliveries, the newest first",
                Paged[FailedShape],
                fields=LIST_FIELDS,
            ),
            Endpoint("GET", one, self.show, "E34 A failed delivery", Data[FailedShape]),
            Endpoint("DELETE", one, self.delete, "E35 Delete a failed delivery and its message", status=204),
            Endpoint("GET", f"{one}/download", self.download, "N11 The message of a failed delivery", str),
            Endpoint(
                "POST",
                f"{one}/resend",
                self.resend,
                "N12 Send a message once more",
                status=204,
                fields=RECIPIENTS,
                texts=(_NOT_SENT,),
            ),
        )

    async def list(self, call: Call) -> Response:
        values = validate(LIST_FIELDS, call.input)
        number, size = page_of(values)
        kind = (values.get("filter") or {}).get("email_type")
        wanted = None if kind is None else FailedType(kind)
        found = await desk.page(self.shelf(), call.account, wanted, number, size)
        return body(paged(call, [self._shape(record) for record in found.records], number, size, found.total))

    async def show(self, call: Call) -> Response:
        which = call.owned(_MODEL)
        with missing(_MODEL, call.id):
            return data(self._shape(await desk.one(self.shelf(), which.account, which.uuid)))

    async def delete(self, call: Call) -> Response:
        which = call.owned(_MODEL)
        with missing(_MODEL, call.id):
            await desk.delete(self.shelf(), which.account, which.uuid, call.actor)
        return empty()

    async def download(self, call: Call) -> Response:
        which = call.owned(_MODEL)
        with missing(_MODEL, call.id):
            try:
                record, content = await desk.download(self.shelf(), which.account, which.uuid, call.actor)
            except (NotStored, Malformed) as error:  # or sealed with a key that is gone
                raise Plain(*_NOT_STORED) from error
        name = f"attachment; filename={record.uuid}.eml"
        return Response(content, headers={"Content-Disposition": name}, media_type="message/rfc822")

    async def resend(self, call: Call) -> Response:
        """The order of N12: what is given, what is there, whether it may be, and then whether it works."""
        which, recipients = await self._wanted(call)
        try:
            await desk.resend(self.shelf(), self.story, which.account, which.uuid, call.actor, recipients)
        except BadRecipients as error:
            raise Invalid({"recipient_ids": [INVALID_RECIPIENT]}) from error
        except NotStored as error:
            raise Plain(*_NOT_STORED) from error
        except Absent as error:
            raise NotFound(_MODEL, call.id) from error
        except AlreadyResent as error:
            raise Plain(*_ALREADY) from error
        except NotForward as error:
            raise Plain(*_NO_FORWARD) from error
        except NotSent as error:
            raise Text(*_NOT_SENT) from error
        return empty()

    async def _wanted(self, call: Call) -> tuple[Owned, Sequence[UUID]]:
        sent = call.input.get("recipient_ids")
        are_known = await self._are_recipients(call, sent)
        known = Rule(lambda _: are_known, INVALID_RECIPIENT)
        values = validate(_RESEND, {**call.input, "id": call.id}, {"recipient_ids": [known]})
        return call.owned(_MODEL), _uuids(values.get("recipient_ids"))

    async def _are_recipients(self, call: Call, sent: Value) -> bool:
        """Whether all that was sent are verified recipients of the account."""
        numbers = _uuids(sent)
        if not isinstance(sent, list | dict) or not len(numbers) == len(sent) <= MAX_RECIPIENTS:
            return False
        try:
            await self.story.chosen(call.account, numbers)
        except BadRecipients:
            return False
        return True

    def _shape(self, record: FailedRecord) -> FailedShape:
        """iOS decodes strictly: what must not be missing there gets the nearest value that it may have."""
        is_permanent = record.bounce_type not in (None, "soft")
        return {
            "id": str(record.uuid),
            "user_id": str(record.account_uuid),
            "recipient_id": id_text(record.recipient_uuid),
            "recipient_email": record.recipient,
            "alias_id": id_text(record.alias_uuid),
            "alias_email": record.alias,
            "bounce_type": record.bounce_type or "soft",
            "remote_mta": record.remote_mta or self.hostname,
            "sender": record.sender or None,
            "destination": record.destination or None,
            "ir_dedupe_key": record.ir_dedupe_key,
            "type": record.type.value,
            "email_type": record.email_type,
            "email_type_text": record.email_type_text,
            "status": record.status or ("5.0.0" if is_permanent else "4.0.0"),
            "code": (record.code or "").encode("ascii", "replace").decode("ascii"),
            "is_stored": record.is_stored,
            "quarantined": record.quarantined,
            "resent": record.resent,
            "attempted_at": timestamp(record.attempted_at or record.created_at),
            "created_at": timestamp(record.created_at),
            "updated_at": timestamp(record.updated_at),
        }


def _uuids(sent: Value) -> list[UUID]:
    """The ids among what was sent."""
    return [number for one in members(sent) or () if (number := uuid_of(one)) is not None]
