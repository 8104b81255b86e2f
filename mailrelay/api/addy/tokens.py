"""Tokens of the account, as the original's web interface manages them (addy-api.md section 5.6)."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.addy.auth import EXPIRATION, Tokens, device_of, visitor_of
from mailrelay.api.addy.call import Call, body, data, empty, timestamp, timestamp_or_none
from mailrelay.api.addy.checks import REQUIRED, STRING, Rule, attribute, max_chars, validate
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.problems import missing
from mailrelay.api.addy.shapes import Data
from mailrelay.core.facts import AccountId
from mailrelay.core.own_account import OwnToken
from mailrelay.core.records import TokenRecord
from mailrelay.core.requests import Limit
from mailrelay.core.signin import Device, SignedIn, Visitor
from mailrelay.flows.owner import Knowledge

_PREFIX = "/settings"
_PATH = "personal-access-tokens"
# Not the original's: whoever has got hold of a token shall not find out the password with it.
_MAKING = Limit("tokens", 6)
_NEW = (
    attribute("name", REQUIRED, STRING, max_chars(50)),
    EXPIRATION,
    attribute("password", STRING),
)


class ManagedToken(TypedDict):
    id: str
    user_id: str
    name: str
    last_used_at: str | None
    expires_at: str | None
    created_at: str
    updated_at: str


class NewToken(TypedDict):
    """`accessToken` is shown this once; `qrCode` is a picture of it that the mobile apps scan."""

    token: ManagedToken
    accessToken: str  # as clients know it
    qrCode: str


class OwnTokens(Protocol):
    """As store/own_account.py. Raises Unavailable."""

    async def tokens(self, account: AccountId) -> Sequence[OwnToken]: ...


class Owners(Protocol):
    """As flows/owner.py. All raise Unavailable."""

    async def knows(self, account: AccountId, password: str | None) -> Knowledge: ...
    async def add_token(self, account: AccountId, device: Device, visitor: Visitor, actor: str) -> SignedIn: ...


@dataclass(frozen=True, slots=True)
class TokenEndpoints:
    own: OwnTokens
    owners: Owners
    tokens: Tokens

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("GET", _PATH, self.index, "5.6 Tokens", Data[list[ManagedToken]], prefix=_PREFIX),
            Endpoint("POST", _PATH, self.add, "5.6 Make one", NewToken, fields=_NEW, limit=_MAKING, prefix=_PREFIX),
            Endpoint("DELETE", f"{_PATH}/{{id}}", self.remove, "5.6 End one", status=204, prefix=_PREFIX),
        )

    async def index(self, call: Call) -> Response:
        owner = call.caller.account_uuid
        return data([_shape(one, owner) for one in await self.own.tokens(call.account)])

    async def add(self, call: Call) -> Response:
        """The password is asked for, as whoever finds a token should not get others that outlive it."""
        password = call.input.get("password")
        known = await self.owners.knows(call.account, password if isinstance(password, str) else None)
        right = Rule(lambda value: known.is_right or not isinstance(value, str), "Incorrect password entered")
        given = validate(_NEW, call.input, {} if known.is_external else {"password": (REQUIRED, right)})
        made = await self.owners.add_token(call.account, device_of(given, "name"), visitor_of(call), call.actor)
        base = call.url.partition(f"{_PREFIX}/{_PATH}")[0]
        shape: NewToken = {
            "token": _made(made.record, call.caller.account_uuid),
            "accessToken": made.token,
            "qrCode": picture(f"{base}|{made.token}"),
        }
        return body(shape)

    async def remove(self, call: Call) -> Response:
        with missing("Token", call.id):
            await self.tokens.revoke("addy", call.owned("Token"), "ended by its owner", call.actor)
        return empty()


def picture(text: str) -> str:
    """A QR code as a data URI."""
    import segno

    content = io.BytesIO()
    segno.make_qr(text).save(content, kind="svg", scale=4)
    return f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def _shape(one: OwnToken, owner: UUID) -> ManagedToken:
    return {
        "id": str(one.uuid),
        "user_id": str(owner),
        "name": one.name,
        "last_used_at": timestamp_or_none(one.last_used_at),
        "expires_at": timestamp_or_none(one.expires_at),
        "created_at": timestamp(one.created_at),
        "updated_at": timestamp(one.updated_at),
    }


def _made(one: TokenRecord, owner: UUID) -> ManagedToken:
    """One that nobody has changed or used yet."""
    return {
        "id": str(one.uuid),
        "user_id": str(owner),
        "name": one.name,
        "last_used_at": None,
        "expires_at": timestamp_or_none(one.expires_at),
        "created_at": timestamp(one.created_at),
        "updated_at": timestamp(one.created_at),
    }
