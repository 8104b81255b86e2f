"""How recipients want their copies encrypted (spec sections 6.1 and 6.5)."""

from dataclasses import dataclass
from typing import Literal

from mailrelay.core.facts import RecipientId

EncryptionFailure = Literal["hold", "stub", "plain"]


@dataclass(frozen=True, slots=True)
class Lock:
    """What one recipient has chosen. key: the certificate, binary; fingerprint: of it.

    failure: what becomes of mail that cannot be encrypted; never_plaintext: it is kept, whatever else is chosen, and
    no rule switches encryption off.
    """

    recipient_id: RecipientId
    key: bytes
    fingerprint: str
    inline: bool = False
    hide_subject: bool = False
    failure: EncryptionFailure = "hold"
    never_plaintext: bool = False
