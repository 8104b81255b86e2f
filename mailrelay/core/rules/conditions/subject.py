"""The subject in NFC, as are the values: which form a keyboard makes is not for its user to know. With case."""

from unicodedata import normalize

from mailrelay.core.rules.kinds import ConditionType


def _composed(text: str) -> str:
    return normalize("NFC", text)


SUBJECT = ConditionType("subject", lambda tested: _composed(tested.subject), _composed, ignores_case=False)
