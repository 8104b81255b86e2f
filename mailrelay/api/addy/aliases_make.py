"""A new alias (addy-api.md section 3.4, E13)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from mailrelay.api.addy.alias_shape import Alias, alias_shape
from mailrelay.api.addy.call import Call, data
from mailrelay.api.addy.checks import (
    ARRAY,
    REQUIRED,
    STRING,
    Fields,
    Rule,
    attribute,
    is_text,
    max_chars,
    max_items,
    one_of,
    validate,
)
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Invalid, Problem, Text
from mailrelay.api.addy.recipientids import INVALID_RECIPIENT, MAX_RECIPIENTS, known_ids, verified
from mailrelay.api.addy.shapes import Data
from mailrelay.core.address import domain_name, is_creatable
from mailrelay.core.coining import AliasFormat
from mailrelay.core.errors import Malformed
from mailrelay.core.newaliases import AliasRequest, Prospect, Refusal, is_reserved, is_storable_name
from mailrelay.core.suspects import of_domain, of_name
from mailrelay.flows.manage.newalias import AliasMaker, Order
from mailrelay.flows.obstacles import Bans

_LIMIT: Final = (429, "You have reached your hourly limit for creating new aliases")
_LOCAL: Final = "local_part_without_extension"
_TAKEN: Final = "That alias already exists."
_INVALID_LOCAL: Final = "Invalid alias local part."
_INVALID_DOMAIN: Final = "The selected domain is invalid."
_INVALID_FORMAT: Final = "The selected format is invalid."

MAKE_FIELDS: Final[Fields] = (
    attribute("domain", REQUIRED, STRING),
    attribute("description", STRING, max_chars(200), nullable=True),
    attribute("format", one_of(*AliasFormat), nullable=True),
    attribute("recipient_ids", ARRAY, max_items(MAX_RECIPIENTS), nullable=True, bail=True),
    attribute("local_part", nullable=True),
)
# Only what asks for a custom name is asked about it.
_CUSTOM_FIELDS: Final[Fields] = (*MAKE_FIELDS, attribute(_LOCAL, REQUIRED, max_chars(50), bail=True))


@dataclass(frozen=True, slots=True)
class _Local:
    """The local part of a request for a custom name. sent: before the first `+`, or what is no string."""

    sent: Value
    extension: str | None

    @property
    def folded(self) -> str:
        """'' for what cannot be one. ASCII first: some other capitals become ASCII letters."""
        local = self.sent.lower() if isinstance(self.sent, str) and self.sent.isascii() else ""
        return local if is_creatable(local) else ""


@dataclass(frozen=True, slots=True)
class AliasMakeEndpoint:
    """custom_anywhere: names of one's own on shared domains, too (ruling D7)."""

    maker: AliasMaker
    bans: Bans
    custom_anywhere: bool

    def endpoints(self) -> tuple[Endpoint, ...]:
        summary = "E13 a new alias, of a name that its owner chooses or chance"
        return (Endpoint("POST", "aliases", self.make, summary, Data[Alias], 201, fields=MAKE_FIELDS, texts=(_LIMIT,)),)

    async def make(self, call: Call) -> Response:
        given = call.input
        local = _local(given) if given.get("format") == AliasFormat.CUSTOM else None
        recipients = known_ids(given.get("recipient_ids"))
        domain = _domain(given.get("domain"))
        asked = AliasRequest(call.account, domain, recipients, local.folded if local is not None else "")
        prospect = await self.maker.survey(asked)
        if prospect.is_banned or prospect.ground is None:
            # Only to be counted like every other hit.
            await self.bans.first((*of_name(asked.local), *of_domain(domain)))
        values = self._validated(given, prospect, local, domain)
        order = Order(
            account=call.account,
            format=AliasFormat(values["format"]) if values.get("format") else None,
            local=asked.local,
            extension=local.extension if local is not None else None,
            recipients=recipients,
            description=values.get("description"),
        )
        made = await self.maker.make(order, prospect, call.actor)
        if isinstance(made, Refusal):
            raise _refused(made)
        return data(alias_shape(made), 201)

    def _validated(
        self, given: Mapping[str, Value], prospect: Prospect, local: _Local | None, domain: str
    ) -> Mapping[str, Value]:
        """Raises Invalid with all that is wrong."""
        shared = prospect.ground is not None and prospect.ground.shared
        extra: dict[str, Sequence[Rule]] = {
            "domain": (Rule(lambda _: prospect.ground is not None, _INVALID_DOMAIN),),
            "recipient_ids": (verified(prospect.recipients),),
        }
        if local is None:
            return validate(MAKE_FIELDS, given, extra)
        if shared and not self.custom_anywhere:
            extra["format"] = (Rule(lambda _: False, _INVALID_FORMAT),)
        is_free = not (prospect.is_taken or prospect.is_banned or is_reserved(local.folded, shared))
        extra[_LOCAL] = (
            Rule(lambda _: not local.folded or is_free, _TAKEN),
            Rule(lambda _: is_storable_name(local.folded, local.extension, domain), _INVALID_LOCAL),
        )
        return validate(_CUSTOM_FIELDS, {**given, _LOCAL: local.sent}, extra)


def _local(given: Mapping[str, Value]) -> _Local:
    sent = given.get("local_part")
    if not isinstance(sent, str):
        return _Local(sent, None)
    base, _, extension = sent.partition("+")
    return _Local(base, extension or None)


def _domain(sent: Value) -> str:
    """Folded; '' for what is no domain name."""
    if not is_text(sent):
        return ""
    try:
        return domain_name(str(sent))
    except Malformed:
        return ""


def _refused(refusal: Refusal) -> Problem:
    """What was free, or theirs, when it was looked at."""
    match refusal:
        case Refusal.LIMIT:
            return Text(*_LIMIT)
        case Refusal.TAKEN:
            return Invalid({_LOCAL: [_TAKEN]})
        case Refusal.DOMAIN:
            return Invalid({"domain": [_INVALID_DOMAIN]})
        case Refusal.RECIPIENT:
            return Invalid({"recipient_ids": [INVALID_RECIPIENT]})
