"""What the endpoints of domains and usernames share: fields, toggles and shapes (addy-api.md sections 2.3, 2.4, 3.9)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from mailrelay.api.addy.call import Call, timestamp, timestamp_or_none
from mailrelay.api.addy.checks import REQUIRED, STRING, Fields, Rule, attribute, max_chars, uuid_of, validate
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import NotFound, missing
from mailrelay.api.addy.shapes import Recipient
from mailrelay.core import autocreate
from mailrelay.core.own_parents import DefaultRecipient
from mailrelay.core.parents import NoRecipient
from mailrelay.core.records import Owned


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


def switched_on(call: Call, model: str) -> Owned:
    """What the body of a toggle names. Raises Invalid and NotFound."""
    return call.owned(model, validate(ID_FIELDS, call.input)["id"])


async def set_recipient(
    call: Call, model: str, look: Callable[[Owned], Awaitable[object]], apply: Callable[[Owned, UUID | None], Awaitable[object]]
) -> Owned:
    """Give a parent the default recipient that the body names, or none. Raises Invalid and NotFound.

    look: raises Absent if the parent is not there, which counts before a recipient that is not; apply: changes it.
    """
    chosen: Value = validate(RECIPIENT_FIELDS, call.input).get("default_recipient")
    owned = call.owned(model)
    with missing(model, call.id):
        number = uuid_of(chosen)
        if chosen is not None and number is None:
            await look(owned)
            raise NotFound("Recipient", chosen)
        try:
            await apply(owned, number)
        except NoRecipient as error:
            raise NotFound("Recipient", chosen) from error
    return owned


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


def changes(call: Call) -> Mapping[str, Any]:
    """What the body of a PATCH changes, by the name of the field; null clears. Raises Invalid."""
    return validate(CHANGE_FIELDS, call.input)
