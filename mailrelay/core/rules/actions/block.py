"""Nothing is sent. Any value will do."""

from dataclasses import replace

from mailrelay.core.rules.kinds import ActionType, any_value
from mailrelay.core.rules.model import ALL_FLOWS, Effects


def _block(effects: Effects, rule: str) -> Effects:
    return replace(effects, block=rule) if effects.block is None else effects


BLOCK = ActionType("block", ALL_FLOWS, any_value, lambda _value: _block)
