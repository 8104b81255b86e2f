"""Another Subject, with `{{subject}}` for the original one. The value is text of at most 50 characters."""

from dataclasses import replace

from mailrelay.core.rules.kinds import ActionType, short_text
from mailrelay.core.rules.model import ALL_FLOWS, Act


def _act(value: object) -> Act | None:
    if not isinstance(value, str) or not value:
        return None
    text: str = value
    return lambda effects, _rule: replace(effects, subject=text)


SUBJECT = ActionType("subject", ALL_FLOWS, short_text, _act)
