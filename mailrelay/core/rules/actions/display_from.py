"""Another name beside the From address. The value is text of at most 50 characters."""

from dataclasses import replace

from mailrelay.core.rules.kinds import ActionType, short_text
from mailrelay.core.rules.model import ALL_FLOWS, Act


def _act(value: object) -> Act | None:
    if not isinstance(value, str) or not value:
        return None
    name: str = value
    return lambda effects, _rule: replace(effects, display_from=name)


DISPLAY_FROM = ActionType("displayFrom", ALL_FLOWS, short_text, _act)
