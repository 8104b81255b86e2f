"""What the owner noted about the alias. Compared with case, as it is written."""

from mailrelay.core.rules.kinds import ConditionType

ALIAS_DESCRIPTION = ConditionType(
    "alias_description", lambda tested: tested.alias_description, lambda value: value, ignores_case=False
)
