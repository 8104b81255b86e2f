"""What the mail flows go by: everything that a reload may change, in one place."""

from dataclasses import dataclass

from mailrelay.core.address import Address
from mailrelay.core.judge import DefaultLimits
from mailrelay.core.reply import Replies
from mailrelay.core.screen import Surroundings


@dataclass(frozen=True, slots=True)
class Identity:
    """How the installation appears in mail."""

    domain: str
    bounce_domain: str
    header_prefix: str
    sign_transparent: bool
    operator: tuple[Address, ...]


@dataclass(slots=True)
class Rules:
    """Mutable on purpose: the flows hold this object, and whoever reloads puts new values into it."""

    around: Surroundings
    replies: Replies
    limits: DefaultLimits
    identity: Identity
    message_octets: int
