"""The types of conditions (spec section 5.3)."""

from collections.abc import Mapping
from types import MappingProxyType

from mailrelay.core.rules.conditions.alias import ALIAS
from mailrelay.core.rules.conditions.alias_description import ALIAS_DESCRIPTION
from mailrelay.core.rules.conditions.sender import SENDER
from mailrelay.core.rules.conditions.subject import SUBJECT
from mailrelay.core.rules.kinds import ConditionType

CONDITIONS: Mapping[str, ConditionType] = MappingProxyType(
    {kind.name: kind for kind in (SENDER, SUBJECT, ALIAS, ALIAS_DESCRIPTION)}
)
