"""What stands behind an alias besides whether it takes mail: how its owner wants copies made, and what happened before.

Asked once for every recipient that gets a copy, see store/background.py.
"""

from dataclasses import dataclass
from typing import Literal

from mailrelay.core.eom import DEFAULT_PREFERENCES, Preferences
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.ledger import IngressKey
from mailrelay.core.subject import SpamWarning


@dataclass(frozen=True, slots=True)
class Style:
    """How copies are made (spec Appendix C).

    description: of the alias, for the banner. sending_verified: the alias' domain may be in From; True where it is not
    a custom one. display_from, remove_attachments, no_encryption: what rules say of this message.
    """

    display_from_format: int = 0
    use_reply_to: bool = False
    email_subject: str | None = None
    banner_location: Literal["top", "bottom", "off"] = "top"
    spam_warning: SpamWarning = "banner"
    list_unsubscribe: int = 5
    opaque_addresses: bool = False
    compat_headers: bool = False
    reply_via_alias: bool = False
    description: str = ""
    sending_verified: bool = True
    display_from: str = ""
    remove_attachments: bool = False
    no_encryption: bool = False


@dataclass(frozen=True, slots=True)
class Background:
    """rewrites_only: those of the destinations' domains that refused untouched copies.

    arrivals: how often this message has been at this alias within a day (core/loopguard.py), retries not counted.
    """

    style: Style = Style()
    preferences: Preferences = DEFAULT_PREFERENCES
    accepts_foreign_dsn: bool = False
    rewrites_only: frozenset[str] = frozenset()
    arrivals: int = 0


@dataclass(frozen=True, slots=True)
class BackgroundInquiry:
    """receivers: folded domains of the destinations. rcpt, message_id, key: as the ledger has them, '' if there is no
    Message-ID; fingerprint: of core/loopguard.py.
    """

    account_id: AccountId
    alias_id: AliasId
    receivers: tuple[str, ...]
    rcpt: str
    message_id: str
    fingerprint: int
    key: IngressKey
