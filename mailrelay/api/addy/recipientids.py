"""Lists of recipients in requests (addy-api.md sections 3.3, 3.4 and 3.12)."""

from collections.abc import Set
from typing import Final
from uuid import UUID

from mailrelay.api.addy.checks import Rule, members, uuid_of
from mailrelay.api.addy.php import Value

MAX_RECIPIENTS: Final = 10
INVALID_RECIPIENT: Final = "Invalid Recipient"


def known_ids(value: Value) -> tuple[UUID, ...]:
    """The UUIDs in a list of ids that is not too long, each once."""
    found = members(value) or ()
    if len(found) > MAX_RECIPIENTS:
        return ()
    return tuple(dict.fromkeys(number for one in found if (number := uuid_of(one)) is not None))


def verified(recipients: Set[UUID]) -> Rule:
    """All members of the list are ids of these."""

    def test(value: Value) -> bool:
        found = members(value)
        return found is not None and all(uuid_of(one) in recipients for one in found)

    return Rule(test, INVALID_RECIPIENT)
