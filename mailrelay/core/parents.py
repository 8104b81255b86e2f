"""What can be wrong with what domains and usernames, the parents of aliases, are asked to become."""

from typing import Literal

from mailrelay.core.errors import Absent, Conflict


class NoRecipient(Absent):
    """The default recipient that was chosen is none of the account's, or not verified."""


class DomainClash(Conflict):
    """A domain cannot come here. why: it is another's or there already; one of the installation's, or too near to one;
    the home of a verified recipient, whose mail would come back; the operator has banned it."""

    def __init__(self, why: Literal["taken", "local", "mailbox", "banned"], words: str) -> None:
        super().__init__(words)
        self.why = why


class TooMany(Conflict):
    """The account has as many as it may have."""
