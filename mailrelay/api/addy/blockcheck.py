"""Whether a sender is blocked, for a spam filter in front of us: N19 of addy-api.md."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, Protocol

from starlette.responses import Response

from mailrelay.api.addy.call import Call, body
from mailrelay.api.addy.checks import REQUIRED, STRING, Fields, attribute, max_chars, validate
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Malformed

HEADER: Final = "X-Blocklist-Secret"
_MAX_CHARACTERS = 254
FIELDS: Fields = (
    attribute("recipient", REQUIRED, STRING, max_chars(_MAX_CHARACTERS)),
    attribute("from_email", REQUIRED, STRING, max_chars(_MAX_CHARACTERS)),
)


class Check(Protocol):
    """As store/blockcheck.py. Raises Unavailable."""

    async def blocks(self, rcpt: Address, sender: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class BlockCheckEndpoint:
    """secret: '' if nobody needs one; networks: who may ask, none: everybody who knows the secret."""

    check: Check
    secret: str
    networks: Sequence[IPv4Network | IPv6Network]

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "GET",
                "blocklist-check",
                self.answer,
                "N19 Whether a sender is blocked",
                fields=FIELDS,
                prefix="/api",
                is_open=True,
                is_limited=False,
            ),
        )

    async def answer(self, call: Call) -> Response:
        refusal = self._refusal(call)
        if refusal is not None:
            return refusal
        given = validate(FIELDS, call.input)
        try:
            rcpt = parse_address(given["recipient"])
        except Malformed:
            return body({"block": False})
        return body({"block": await self.check.blocks(rcpt, given["from_email"])})

    def _refusal(self, call: Call) -> Response | None:
        if not self.secret and not self.networks:
            return body({"error": "Blocklist API not configured"}, 503)
        told = call.headers.get(HEADER, "")
        if self.secret and not hmac.compare_digest(told.encode(), self.secret.encode()):
            return body({"error": "Unauthorized"}, 401)
        if self.networks and not (call.client and any(ip_address(call.client) in one for one in self.networks)):
            return body({"error": "Forbidden"}, 403)
        return None
