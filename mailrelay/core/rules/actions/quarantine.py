"""Nothing is sent, the message is kept for its owner to look at. Any value will do."""

from dataclasses import replace

from mailrelay.core.rules.kinds import ActionType, any_value
from mailrelay.core.rules.model import ALL_FLOWS, Effects


def _quarantine(effects: Effects, rule: str) -> Effects:
    return replace(effects, quarantine=rule) if effects.quarantine is None else effects


QUARANTINE = ActionType("quarantine", ALL_FLOWS, any_value, lambda _value: _quarantine)
