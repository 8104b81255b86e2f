"""What the endpoints of domains and usernames share: fields, toggles, shapes (addy-api.md sections 2.3, 2.4, 3.9)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from starlette.responses import Response

from mailrelay.api.addy.call import Call, data, empty, timestamp, timestamp_or_none
from mailrelay.api.addy.checks import REQUIRED, STRING, Fields, Rule, attribute, max_chars, uuid_of, validate
from mailrelay.api.addy.endpoint import Handler
from mailrelay.api.addy.problems import NotFound, missing
from mailrelay.api.addy.shapes import Recipient
from mailrelay.core import autocreate
from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.own_parents import DefaultRecipient, OwnParent
from mailrelay.core.parents import NoRecipient
from mailrelay.core.records import Owned

Parent = TypeVar("Parent", bound=OwnParent)


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
ID_FIELDS: Fields = (attribute("id", REQUIRED, STRING),)
RECIPIENT_FIELDS: Fields = (attribute("default_recipient", STRING, nullable=True),)


@dataclass(frozen=True, slots=True)
class ParentDesk(Generic[Parent]):
    """What can be asked about domains and usernames alike.

    model: what the original calls them; page and read: as their owner reads them; update: changes the fields named, as
    DomainChange and UsernameChange have them; shape: renders one of an account.
    """

    model: str
    page: Callable[[AccountId], Awaitable[Sequence[Parent]]]
    read: Callable[[Owned], Awaitable[Parent]]
    update: Callable[[Owned, Mapping[str, Any], str], Awaitable[object]]
    shape: Callable[[UUID, Parent], Mapping[str, Any]]

    async def list(self, call: Call) -> Response:
        return data([self.shape(call.caller.account_uuid, one) for one in await self.page(call.account)])

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
        return data(self.shape(call.caller.account_uuid, found), status)

    async def _apply(self, call: Call, owned: Owned, wanted: Mapping[str, Any], sent: str) -> None:
        try:
            await self.update(owned, wanted, call.actor)
        except NoRecipient:
            raise
        except Absent as error:
            raise NotFound(self.model, sent) from error


def recipient_shape(account: UUID, recipient: DefaultRecipient | None) -> Recipient | None:
    """Embedded, hence without the number of its aliases."""
    if recipient is None:
        return None
    return {
        "id": str(recipient.uuid),
        "user_id": str(account),
        "email": recipient.address.lower(),
        "description": recipient.description,
        "can_reply_send": recipient.can_reply_send,
        "should_encrypt": recipient.should_encrypt,
        "inline_encryption": recipient.inline_encryption,
        "protected_headers": recipient.protected_headers,
        "remove_pgp_keys": recipient.remove_pgp_keys,
        "remove_pgp_signatures": recipient.remove_pgp_signatures,
        "fingerprint": recipient.fingerprint,
        "email_verified_at": timestamp_or_none(recipient.verified_at),
        "aliases": [],
        "created_at": timestamp(recipient.created_at),
        "updated_at": timestamp(recipient.updated_at),
    }
