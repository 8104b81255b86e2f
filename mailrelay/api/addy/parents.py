"""What the endpoints of domains and usernames share: fields, toggles, shapes (addy-api.md sections 2.3, 2.4, 3.9)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.addy.call import Call, data, empty, timestamp
from mailrelay.api.addy.checks import ID_FIELDS, STRING, Fields, Rule, attribute, max_chars, uuid_of, validate
from mailrelay.api.addy.endpoint import Handler
from mailrelay.api.addy.problems import NotFound, missing
from mailrelay.api.addy.shapes import Recipient, recipient_shape
from mailrelay.core import autocreate
from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.own_parents import OwnParent
from mailrelay.core.parents import NoRecipient
from mailrelay.core.records import Owned

Parent = TypeVar("Parent", bound=OwnParent)


class ParentShape(TypedDict):
    """`default_recipient` is embedded, hence without the number of its aliases."""

    id: str
    user_id: str
    description: str | None
    from_name: str | None
    aliases: list[Any]
    aliases_count: int
    default_recipient: Recipient | None
    active: bool
    catch_all: bool
    auto_create_regex: str | None
    created_at: str
    updated_at: str


def _pattern_rule(passes: Callable[[str], bool], message: str) -> Rule:
    """What is no string, or too long, other rules refuse."""
    longest = autocreate.MAX_CHARACTERS
    return Rule(lambda value: not isinstance(value, str) or len(value) > longest or passes(value), message)


_TROUBLE = "that can cause excessive CPU use. Please use a simpler expression."
_PATTERN = (
    _pattern_rule(autocreate.is_valid, "auto_create_regex is an invalid regular expression."),
    _pattern_rule(lambda text: not autocreate.is_heavy(text), f"The auto create regex contains a pattern {_TROUBLE}"),
    _pattern_rule(
        lambda text: autocreate.is_heavy(text) or not autocreate.nests(text),
        f"The auto create regex contains nested quantifiers {_TROUBLE}",
    ),
)
CHANGE_FIELDS: Fields = (
    attribute("description", STRING, max_chars(200), nullable=True),
    attribute("from_name", STRING, max_chars(50), nullable=True),
    attribute("auto_create_regex", STRING, max_chars(autocreate.MAX_CHARACTERS), *_PATTERN, nullable=True),
)
RECIPIENT_FIELDS: Fields = (attribute("default_recipient", STRING, nullable=True),)


@dataclass(frozen=True, slots=True)
class ParentDesk(Generic[Parent]):
    """What can be asked about domains and usernames alike.

    model: what the original calls them; page and read: as their owner reads them; update: changes the fields named, as
    DomainChange and UsernameChange have them; shape: renders one.
    """

    model: str
    page: Callable[[AccountId], Awaitable[Sequence[Parent]]]
    read: Callable[[Owned], Awaitable[Parent]]
    update: Callable[[Owned, Mapping[str, Any], str], Awaitable[object]]
    shape: Callable[[Parent], Mapping[str, Any]]

    async def list(self, call: Call) -> Response:
        return data([self.shape(one) for one in await self.page(call.account)])

    async def show(self, call: Call) -> Response:
        return await self.shown(call, call.owned(self.model), call.id)

    async def change(self, call: Call) -> Response:
        """What the body has of the fields, null clears."""
        wanted = validate(CHANGE_FIELDS, call.input)
        owned = call.owned(self.model)
        await self._apply(call, owned, wanted, call.id)
        return await self.shown(call, owned, call.id)

    async def set_recipient(self, call: Call) -> Response:
        """The default recipient that the body names, or none."""
        chosen = validate(RECIPIENT_FIELDS, call.input).get("default_recipient")
        owned = call.owned(self.model)
        number = uuid_of(chosen)
        if chosen is not None and number is None:
            with missing(self.model, call.id):
                await self.read(owned)  # whether it is there matters before the recipient does
            raise NotFound("Recipient", chosen)
        try:
            await self._apply(call, owned, {"default_recipient": number}, call.id)
        except NoRecipient as error:
            raise NotFound("Recipient", chosen) from error
        return await self.shown(call, owned, call.id)

    def on(self, field: str) -> Handler:
        """Answers a request that switches a field on for what its body names."""

        async def switch(call: Call) -> Response:
            sent = validate(ID_FIELDS, call.input)["id"]
            owned = call.owned(self.model, sent)
            await self._apply(call, owned, {field: True}, sent)
            return await self.shown(call, owned, sent)

        return switch

    def off(self, field: str) -> Handler:
        """Answers a request that switches it off for what its path names."""

        async def switch(call: Call) -> Response:
            await self._apply(call, call.owned(self.model), {field: False}, call.id)
            return empty()

        return switch

    async def shown(self, call: Call, owned: Owned, sent: str, status: int = 200) -> Response:
        """One of them. sent: its id as the client wrote it."""
        with missing(self.model, sent):
            found = await self.read(owned)
        return data(self.shape(found), status)

    async def _apply(self, call: Call, owned: Owned, wanted: Mapping[str, Any], sent: str) -> None:
        try:
            await self.update(owned, wanted, call.actor)
        except NoRecipient:
            raise
        except Absent as error:
            raise NotFound(self.model, sent) from error


def parent_shape(found: OwnParent) -> ParentShape:
    """What both have."""
    recipient = found.default_recipient
    return {
        "id": str(found.uuid),
        "user_id": str(found.account_uuid),
        "description": found.description,
        "from_name": found.from_name,
        "aliases": [],
        "aliases_count": found.aliases,
        "default_recipient": None if recipient is None else recipient_shape(recipient),
        "active": found.active,
        "catch_all": found.catch_all,
        "auto_create_regex": found.auto_create_regex,
        "created_at": timestamp(found.created_at),
        "updated_at": timestamp(found.updated_at),
    }
