"""Who gets copies instead of the alias' recipients. The value is the id of a verified recipient of the account."""

from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

from mailrelay.core.rules.kinds import ActionType, Wrong, any_value
from mailrelay.core.rules.model import FORWARDS, MAX_FORWARD_TO, Act, Effects


def recipient(value: object) -> UUID | None:
    """The recipient that a value names; None if it is no id of 8-4-4-4-12 hexadecimal digits."""
    if not isinstance(value, str):
        return None
    try:
        named = UUID(value)
    except ValueError:
        return None
    return named if str(named) == value.lower() else None


def _wrong(value: object, recipients: Collection[UUID]) -> Wrong | None:
    if any_value(value) is None and recipient(value) not in recipients:
        return Wrong("in", "the value is not the id of a verified recipient of the account")
    return any_value(value)


def _act(value: object) -> Act | None:
    named = recipient(value)
    if named is None:
        return None
    uuid: UUID = named

    def add(effects: Effects, _rule: str) -> Effects:
        if uuid in effects.forward_to or len(effects.forward_to) >= MAX_FORWARD_TO:
            return effects
        return replace(effects, forward_to=(*effects.forward_to, uuid))

    return add


FORWARD_TO = ActionType("forwardTo", FORWARDS, _wrong, _act, repeats=True)
