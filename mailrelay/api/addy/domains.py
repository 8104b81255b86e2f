"""Custom domains and where aliases may be made: E22 to E32 (addy-api.md sections 2.3, 2.9, 3.5)."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.addy import parents
from mailrelay.api.addy.call import Call, body, empty, timestamp_or_none
from mailrelay.api.addy.checks import ID_FIELDS, REQUIRED, STRING, Fields, Rule, attribute, max_chars, validate
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.parents import ParentDesk, ParentShape, parent_shape
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Invalid, Text, missing
from mailrelay.api.addy.shapes import Data
from mailrelay.core.errors import Malformed
from mailrelay.core.own_parents import OwnDomain
from mailrelay.core.ownership import PREFIX, custom_name
from mailrelay.core.parents import DomainClash
from mailrelay.core.records import DomainChange, Owned
from mailrelay.core.requests import Limit
from mailrelay.flows.manage.domains import AliasDomainReader, Claims, DomainReader, DomainStore, Unproven

_MODEL = "Domain"
_UNPROVEN: Final = "Verification record not found, please add the following TXT record to your domain: "
_CLASHES: Final = {
    "taken": "The domain has already been taken.",
    "local": "The domain cannot be a local one.",
    "banned": "The domain cannot be used here.",  # the original has no bans
    "mailbox": "The domain must not already be used by a verified recipient.",
}


def _is_name(value: Value) -> bool:
    try:
        custom_name(value)
    except Malformed:
        return False
    return True


_NEW: Fields = (
    attribute("domain", REQUIRED, STRING, max_chars(100), Rule(_is_name, "Invalid domain name."), bail=True),
)


class Domain(ParentShape):
    domain: str
    domain_verified_at: str | None
    domain_mx_validated_at: str | None
    domain_sending_verified_at: str | None


class DomainOptions(TypedDict):
    data: list[str]
    sharedDomains: list[str]
    defaultAliasDomain: str
    defaultAliasFormat: str


class DomainEndpoints:
    """own: domains as their owners read them; options: where they may make aliases."""

    def __init__(self, claims: Claims, store: DomainStore, own: DomainReader, options: AliasDomainReader) -> None:
        self._claims = claims
        self._store = store
        self._options = options
        self._desk = ParentDesk(_MODEL, own.page, own.one, self._update, domain_shape)

    def endpoints(self) -> tuple[Endpoint, ...]:
        desk, one, of_id = self._desk, Data[Domain], ID_FIELDS
        return (
            Endpoint("GET", "domain-options", self.list_options, "E22 where aliases can be made", DomainOptions),
            Endpoint("GET", "domains", desk.list, "E23 all domains", Data[list[Domain]]),
            Endpoint("GET", "domains/{id}", desk.show, "E24 a domain", one),
            Endpoint(
                "POST",
                "domains",
                self.add,
                "E25 bring a domain here",
                one,
                201,
                _NEW,
                limit=Limit("domains", 6),
                texts=((404, f"{_UNPROVEN}{PREFIX}<40 hex digits>"),),
            ),
            Endpoint("PATCH", "domains/{id}", desk.change, "E26 change a domain", one, fields=parents.CHANGE_FIELDS),
            Endpoint("DELETE", "domains/{id}", self.remove, "E27 remove a domain and its aliases", status=204),
            Endpoint(
                "PATCH",
                "domains/{id}/default-recipient",
                desk.set_recipient,
                "E28 choose who gets its mail",
                one,
                fields=parents.RECIPIENT_FIELDS,
            ),
            Endpoint("POST", "active-domains", desk.on("active"), "E29 take mail for it", one, fields=of_id),
            Endpoint("DELETE", "active-domains/{id}", desk.off("active"), "E30 drop its mail", status=204),
            Endpoint("POST", "catch-all-domains", desk.on("catch_all"), "E31 take any name", one, fields=of_id),
            Endpoint("DELETE", "catch-all-domains/{id}", desk.off("catch_all"), "E32 only known names", status=204),
        )

    async def list_options(self, call: Call) -> Response:
        found = await self._options.read(call.account)
        options: DomainOptions = {
            "data": [*found.all],
            "sharedDomains": [*found.shared] if found.direct else [],
            "defaultAliasDomain": found.default,
            "defaultAliasFormat": found.default_format,
        }
        return body({**options})

    async def add(self, call: Call) -> Response:
        name = custom_name(validate(_NEW, call.input)["domain"])
        try:
            made = await self._claims.add(call.account, name, call.actor)
        except DomainClash as error:
            raise Invalid({"domain": [_CLASHES[error.why]]}) from error
        except Unproven as error:
            raise Text(404, f"{_UNPROVEN}{error.proof}") from error
        return await self._desk.shown(call, Owned(call.account, made.uuid), str(made.uuid), 201)

    async def remove(self, call: Call) -> Response:
        with missing(_MODEL, call.id):
            await self._store.remove(call.owned(_MODEL), True, call.actor)
        return empty()

    async def _update(self, which: Owned, wanted: Mapping[str, Any], actor: str) -> object:
        return await self._store.change(which, DomainChange(**wanted), actor)


def domain_shape(found: OwnDomain) -> Domain:
    return {
        **parent_shape(found),
        "domain": found.name,
        "domain_verified_at": timestamp_or_none(found.verified_at),
        "domain_mx_validated_at": timestamp_or_none(found.mx_verified_at),
        "domain_sending_verified_at": timestamp_or_none(found.sending_verified_at),
    }
