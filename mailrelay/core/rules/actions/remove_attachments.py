"""Attachments are replaced by notes (spec section 5.6). Any value will do."""

from dataclasses import replace

from mailrelay.core.rules.kinds import ActionType, any_value
from mailrelay.core.rules.model import ALL_FLOWS, Effects


def _remove(effects: Effects, _rule: str) -> Effects:
    return replace(effects, remove_attachments=True)


REMOVE_ATTACHMENTS = ActionType("removeAttachments", ALL_FLOWS, any_value, lambda _value: _remove)
