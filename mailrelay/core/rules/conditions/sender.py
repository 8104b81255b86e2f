"""Who wrote: on forwards the contact, on replies and sends the recipient's real address. Compared without case."""

from mailrelay.core.rules.kinds import ConditionType
from mailrelay.core.rules.matching import ascii_lower

SENDER = ConditionType("sender", lambda tested: ascii_lower(tested.sender), ascii_lower, ignores_case=True)
