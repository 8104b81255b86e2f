"""What requests for several aliases at once have in common (addy-api.md section 3.3)."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from mailrelay.api.addy.checks import (
    ARRAY,
    DISTINCT,
    REQUIRED,
    UUID_TEXT,
    Fields,
    Rule,
    attribute,
    max_items,
    members,
    uuid_of,
    validate,
)
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Plain
from mailrelay.core.requests import Limit

# All of them together.
BULK_LIMIT: Final = Limit("bulk", 12)
IDS_FIELDS: Final[Fields] = (
    attribute("ids", REQUIRED, ARRAY, max_items(25)),
    attribute("ids.*", REQUIRED, UUID_TEXT, DISTINCT),
)


def validate_ids(
    given: Mapping[str, Value], fields: Fields = IDS_FIELDS, extra: Mapping[str, Sequence[Rule]] | None = None
) -> tuple[list[UUID], dict[str, Value]]:
    """The ids of a request, each once and in its order, and all that was validated. Null members do not count."""
    ids = members(given.get("ids"))
    if ids is not None:
        given = {**given, "ids": [one for one in ids if one is not None]}
    values = validate(fields, given, extra)
    return list(dict.fromkeys(number for one in values["ids"] if (number := uuid_of(one)) is not None)), values


def none_found() -> Plain:
    """To raise where none of the aliases qualifies."""
    return Plain(404, "No aliases found")
