"""Recipients: why a mailbox cannot be one, and what its owner may change."""

from dataclasses import dataclass
from enum import Enum

from mailrelay.core.errors import Conflict, Malformed
from mailrelay.core.records import KEEP, Keep


class Hindrance(Enum):
    """Why a mailbox cannot be a recipient."""

    CUSTOM_DOMAIN = "it is at somebody's domain that is served here"
    OUR_DOMAIN = "it is at a domain of the installation"
    BANNED = "it is banned"


class Unsuitable(Conflict):
    """A mailbox that nobody may have as a recipient. hindrances: at least one."""

    def __init__(self, text: str, *hindrances: Hindrance) -> None:
        super().__init__(text)
        self.hindrances = hindrances


class Taken(Conflict):
    """The account has it already, or somebody else has it verified."""


class NoMailDomain(Malformed):
    """Nobody takes mail for the domain, as DNS says."""


class IsDefault(Conflict):
    """The account's default recipient stays until another one takes its place."""


class IsVerified(Conflict):
    """There is nothing to ask about any more."""


class TooManyRecipients(Conflict):
    """The account has as many recipients as it may have."""


class AskedEnough(Conflict):
    """Its reader was asked so often lately that it would be a nuisance. seconds: until it may be asked once more."""

    def __init__(self, text: str, seconds: int) -> None:
        super().__init__(text)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class RecipientChange:
    """What an owner sets; encryption is a matter of its own. description: at most 200 characters, None for none."""

    description: str | Keep | None = KEEP
    can_reply_send: bool | Keep = KEEP
    remove_pgp_keys: bool | Keep = KEEP
    remove_pgp_signatures: bool | Keep = KEEP
