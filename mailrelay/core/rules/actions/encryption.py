"""Copies go out unencrypted. Only a value that means no does so: a rule cannot turn encryption on, it has no key."""

from dataclasses import replace

from mailrelay.core.rules.kinds import ActionType, any_value
from mailrelay.core.rules.model import FORWARDS, Act, Effects

_NO = frozenset({"0", "false", "off"})


def _switch_off(effects: Effects, _rule: str) -> Effects:
    return replace(effects, no_encryption=True)


def _act(value: object) -> Act | None:
    means_no = value in _NO if isinstance(value, str) else isinstance(value, (bool, int)) and not value
    return _switch_off if means_no else None


ENCRYPTION = ActionType("encryption", FORWARDS, any_value, _act)
