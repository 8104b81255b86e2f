"""What the mail flows go by: everything that a reload may change, in one place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mailrelay.core.address import Address
from mailrelay.core.facts import ForwardMode
from mailrelay.core.judge import DefaultLimits
from mailrelay.core.reply import Replies
from mailrelay.core.screen import Surroundings
from mailrelay.core.sending.authorise import SendingLimits
from mailrelay.core.spam import Thresholds

ArcSeal = Literal["off", "transparent", "always"]


@dataclass(frozen=True, slots=True)
class Identity:
    """How the installation appears in mail. hostname: also the authserv-id of Authentication-Results (RFC 8601)."""

    domain: str
    hostname: str
    bounce_domain: str
    header_prefix: str
    operator: tuple[Address, ...]
    forward_mode: ForwardMode = "rewrite"  # of aliases that have no setting
    sign_transparent: bool = True
    arc_seal: ArcSeal = "transparent"

    @property
    def fallback_from(self) -> str:
        """Who writes for aliases whose own domain must not be in From."""
        return f"relay@{self.domain}"


@dataclass(frozen=True, slots=True)
class Checks:
    """What the milter's findings are worth at delivery.

    required: mail to people that it has not seen waits. keys: of the ingress header, the first signs, all verify.
    """

    required: bool
    keys: Sequence[bytes]
    thresholds: Thresholds


@dataclass(slots=True)
class Rules:
    """Mutable on purpose: the flows hold this object, and whoever reloads puts new values into it."""

    around: Surroundings
    replies: Replies
    limits: DefaultLimits
    sending_limits: SendingLimits
    identity: Identity
    checks: Checks
    message_octets: int
