"""Where the banner of this message stands. Of the values that may be stored, others than these three do nothing."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from mailrelay.core.rules.kinds import ActionType, any_value
from mailrelay.core.rules.model import FORWARDS, Act, BannerLocation

_LOCATIONS: Mapping[object, BannerLocation] = MappingProxyType({"top": "top", "bottom": "bottom", "off": "off"})


def _act(value: object) -> Act | None:
    location = _LOCATIONS.get(value) if isinstance(value, str) else None
    return None if location is None else lambda effects, _rule: replace(effects, banner=location)


BANNER = ActionType("banner", FORWARDS, any_value, _act)
