"""Recipients: E36 to E40, E49, E50, N07 to N10 and N23 of addy-api.md."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, Protocol
from uuid import UUID

from starlette.responses import Response

from mailrelay.api.addy.call import Call, body, data, empty
from mailrelay.api.addy.checks import (
    ARRAY,
    ID_FIELDS,
    REQUIRED,
    STRING,
    Fields,
    attribute,
    group,
    max_chars,
    one_of,
    validate,
)
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.mailbox import ASCII, BAD_MAILBOX, MAILBOX, MAX_CHARACTERS
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Invalid, Plain, Text, missing
from mailrelay.api.addy.shapes import Data, Nothing, Recipient, recipient_shape
from mailrelay.core.address import Address, parse_address
from mailrelay.core.facts import AccountId
from mailrelay.core.own_recipients import OwnRecipient
from mailrelay.core.recipients import (
    AskedEnough,
    Hindrance,
    IsDefault,
    IsVerified,
    NoMailDomain,
    RecipientChange,
    Taken,
    TooManyRecipients,
    Unsuitable,
)
from mailrelay.core.requests import Limit
from mailrelay.flows.manage import recipients
from mailrelay.flows.manage.ports import Bureau
from mailrelay.flows.manage.recipients import MailDomains, RecipientStore
from mailrelay.flows.obstacles import Bans

MODEL: Final = "Recipient"
MAX_DESCRIPTION: Final = 200

_COUNTED = attribute("filter.alias_count", one_of("true", "false"), nullable=True)
_GROUP = attribute("filter", ARRAY, nullable=True)
LIST_FIELDS: Fields = (_GROUP, attribute("filter.verified", one_of("true", "false"), nullable=True), _COUNTED)
ONE_FIELDS: Fields = (_GROUP, _COUNTED)
ADD_FIELDS: Fields = (attribute("email", REQUIRED, STRING, ASCII, MAILBOX, max_chars(MAX_CHARACTERS), bail=True),)
CHANGE_FIELDS: Fields = (attribute("description", STRING, max_chars(MAX_DESCRIPTION), nullable=True),)
# E40 looks for it, whatever it is.
RESEND_FIELDS: Fields = (attribute("recipient_id"),)

RESEND_LIMIT: Final = Limit("recipient-resend", 1)
NOT_THE_DEFAULT: Final = "You cannot delete your default recipient"
ALREADY_VERIFIED: Final = "Email already verified"
TOO_MANY: Final = "You have reached your recipient limit"
TAKEN: Final = "A recipient with that email already exists."
_HINDRANCES: Final[Mapping[Hindrance, str]] = {
    Hindrance.CUSTOM_DOMAIN: "The recipient cannot use a domain that is already used by a custom domain.",
    Hindrance.OUR_DOMAIN: "The recipient cannot use a local domain or be an alias.",
    Hindrance.BANNED: "The recipient cannot use that email or domain.",  # the original has no bans
}

Flag = Literal["can_reply_send", "remove_pgp_keys", "remove_pgp_signatures"]


class Reader(Protocol):
    """As store/own_recipients.py. Raises Absent and Unavailable."""

    async def every(self, account: AccountId, *, verified: bool | None, counted: bool) -> Sequence[OwnRecipient]: ...
    async def one(self, account: AccountId, uuid: UUID, *, counted: bool = True) -> OwnRecipient: ...


@dataclass(frozen=True, slots=True)
class RecipientEndpoints:
    """domains: None if nobody asks DNS. linked: mail can have links; trusting: new recipients count as verified.

    limit: how many an account may have.
    """

    bureau: Bureau
    store: RecipientStore
    reader: Reader
    domains: MailDomains | None
    bans: Bans
    linked: bool
    trusting: bool
    limit: int

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("GET", "recipients", self.every, "E36 All recipients", Data[list[Recipient]], fields=LIST_FIELDS),
            Endpoint("GET", "recipients/{id}", self.one, "E37 One recipient", Data[Recipient], fields=ONE_FIELDS),
            Endpoint(
                "POST",
                "recipients",
                self.add,
                "E38 Add a recipient",
                Data[Recipient],
                201,
                ADD_FIELDS,
                # Each may write to somebody who did not ask for it.
                Limit("new-recipients", 60, 3600),
                ((403, TOO_MANY),),
            ),
            Endpoint(
                "PATCH", "recipients/{id}", self.describe, "N23 Describe it", Data[Recipient], fields=CHANGE_FIELDS
            ),
            Endpoint(
                "DELETE",
                "recipients/{id}",
                self.remove,
                "E39 Remove a recipient",
                status=204,
                texts=((403, NOT_THE_DEFAULT),),
            ),
            Endpoint(
                "POST",
                "recipients/email/resend",
                self.resend,
                "E40 Send the mail that verifies it again",
                Nothing,
                fields=RESEND_FIELDS,
                limit=RESEND_LIMIT,
                texts=((404, ALREADY_VERIFIED),),
            ),
            *self._switches("allowed-recipients", "can_reply_send", "E49", "E50"),
            *self._switches("remove-pgp-keys-recipients", "remove_pgp_keys", "N07", "N08"),
            *self._switches("remove-pgp-signatures-recipients", "remove_pgp_signatures", "N09", "N10"),
        )

    def _switches(self, path: str, flag: Flag, on: str, off: str) -> tuple[Endpoint, Endpoint]:
        """The pair that sets a flag and clears it."""

        async def switch_on(call: Call) -> Response:
            sent = validate(ID_FIELDS, call.input)["id"]
            return data(recipient_shape(await self._changed(call, sent, _flagged(flag, True))))

        async def switch_off(call: Call) -> Response:
            which = call.owned(MODEL)
            with missing(MODEL, call.id):
                await recipients.change(self.store, which.account, which.uuid, _flagged(flag, False), call.actor)
            return empty()

        return (
            Endpoint("POST", path, switch_on, f"{on} Set {flag}", Data[Recipient], fields=ID_FIELDS),
            Endpoint("DELETE", f"{path}/{{id}}", switch_off, f"{off} Clear {flag}", status=204),
        )

    async def every(self, call: Call) -> Response:
        wanted = group(validate(LIST_FIELDS, call.input), "filter")
        verified = None if wanted.get("verified") is None else wanted["verified"] == "true"
        found = await self.reader.every(call.account, verified=verified, counted=_counted(wanted))
        return data([recipient_shape(one) for one in found])

    async def one(self, call: Call) -> Response:
        wanted = group(validate(ONE_FIELDS, call.input), "filter")
        which = call.owned(MODEL)
        with missing(MODEL, call.id):
            found = await self.reader.one(which.account, which.uuid, counted=_counted(wanted))
        return data(recipient_shape(found))

    async def add(self, call: Call) -> Response:
        mailbox = parse_address(validate(ADD_FIELDS, call.input)["email"].lower())
        with _refusals():
            made = await self._join(call, mailbox)
        return data(recipient_shape(await self.reader.one(call.account, made)), 201)

    async def _join(self, call: Call, mailbox: Address) -> UUID:
        record = await recipients.join(
            self.bureau,
            self.store,
            self.domains,
            self.bans,
            call.account,
            mailbox,
            verified=self.trusting,
            linked=self.linked,
            limit=self.limit,
            actor=call.actor,
        )
        return record.uuid

    async def describe(self, call: Call) -> Response:
        wanted = validate(CHANGE_FIELDS, call.input)
        return data(recipient_shape(await self._changed(call, call.id, RecipientChange(**wanted))))

    async def _changed(self, call: Call, sent: Value, change: RecipientChange) -> OwnRecipient:
        which = call.owned(MODEL, sent)
        with missing(MODEL, sent):
            await recipients.change(self.store, which.account, which.uuid, change, call.actor)
            return await self.reader.one(which.account, which.uuid)

    async def remove(self, call: Call) -> Response:
        which = call.owned(MODEL)
        try:
            with missing(MODEL, call.id):
                await recipients.remove(self.store, which.account, which.uuid, call.actor)
        except IsDefault as error:
            raise Text(403, NOT_THE_DEFAULT) from error
        return empty()

    async def resend(self, call: Call) -> Response:
        sent = call.input.get("recipient_id")
        which = call.owned(MODEL, sent)
        try:
            with missing(MODEL, sent), _refusals():
                await recipients.resend(self.store, which.account, which.uuid, linked=self.linked, actor=call.actor)
        except IsVerified as error:
            raise Text(404, ALREADY_VERIFIED) from error
        return body({})


def _counted(wanted: Mapping[str, Value]) -> bool:
    return wanted.get("alias_count") != "false"


def _flagged(flag: Flag, on: bool) -> RecipientChange:
    match flag:
        case "can_reply_send":
            return RecipientChange(can_reply_send=on)
        case "remove_pgp_keys":
            return RecipientChange(remove_pgp_keys=on)
        case "remove_pgp_signatures":
            return RecipientChange(remove_pgp_signatures=on)


@contextmanager
def _refusals() -> Iterator[None]:
    """Why a mailbox is not taken, in the words of E38; whoever was asked too often is asked later."""
    try:
        yield
    except NoMailDomain as error:
        raise Invalid({"email": [BAD_MAILBOX.replace("{a}", "email")]}) from error
    except Taken as error:
        raise Invalid({"email": [TAKEN]}) from error
    except Unsuitable as error:
        raise Invalid({"email": [_HINDRANCES[one] for one in error.hindrances]}) from error
    except TooManyRecipients as error:
        raise Text(403, TOO_MANY) from error
    except AskedEnough as error:
        raise Plain(429, "Too Many Attempts.", {"Retry-After": str(error.seconds)}) from error
