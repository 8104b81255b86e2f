"""Aliases that people without an account ask for and give up (haltman-api.md sections 3.3 and 3.5 to 3.7)."""

from dataclasses import dataclass
from enum import Enum, auto

from mailrelay.core.address import Address


class Refused(Enum):
    """Why nothing is mailed, or nothing was changed."""

    DOMAIN = auto()  # no aliases can be made there
    TAKEN = auto()  # an alias or handle has the name, or once had it, or it is reserved
    DESTINATION_IS_ALIAS = auto()
    ABSENT = auto()  # there is no such alias
    INACTIVE = auto()  # it takes no mail any more
    NOWHERE = auto()  # its mail goes to no mailbox
    OWNER_CHANGED = auto()  # its mail does not go to the mailbox that got the code
    NO_CODE = auto()  # unknown, used, or expired
    INCOMPLETE = auto()  # what the code is for is not known in full


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a wish. domain_takes: new aliases; taken: the name is; destination_is_alias: or once was."""

    domain_takes: bool
    taken: bool
    destination_is_alias: bool


@dataclass(frozen=True, slots=True)
class Found:
    """An alias by its address. goto: where its mail goes, None if to no mailbox."""

    active: bool
    goto: Address | None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """made: False: it was there already, as it should be."""

    address: Address
    goto: Address
    made: bool


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    address: Address
