"""The alias as an address, without extension. Compared without case."""

from mailrelay.core.rules.kinds import ConditionType
from mailrelay.core.rules.matching import ascii_lower

ALIAS = ConditionType("alias", lambda tested: ascii_lower(tested.alias), ascii_lower, ignores_case=True)
