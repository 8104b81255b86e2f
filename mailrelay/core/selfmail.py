"""Mail from an owner to the own alias: copies for the others, or one that does not vanish (spec section 9.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mailrelay.core.address import Address
from mailrelay.core.facts import Target

# Domains under which a provider keeps one mailbox (spec section 4.1).
FAMILIES = (frozenset({"pm.me", "protonmail.com", "proton.me"}), frozenset({"gmail.com", "googlemail.com"}))
_DOTS_IGNORED = "gmail.com"


@dataclass(frozen=True, slots=True)
class Normal:
    """Nothing special: everybody gets a copy."""


@dataclass(frozen=True, slots=True)
class ToOthers:
    """These get a copy, the author does not."""

    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class NewMessageId:
    """The author is the only recipient: the copy gets a new Message-ID, the old one goes into the X- field.

    Large providers silently merge a message with the Sent copy of equal Message-ID. As the header changes, the copy
    is made in rewrite mode.
    """


SelfMail = Normal | ToOthers | NewMessageId


def self_mail(author: Address | None, targets: Sequence[Target], *, authenticated: bool, bare: bool) -> SelfMail:
    """Who gets mail that may come from one of the alias' own recipients.

    author: of the From field, else the envelope sender, None if there is neither. targets: the verified recipients
    that would get a copy. authenticated: as spec section 4.2 b demands; whoever only claims to be a recipient is a
    stranger. bare: the alias is addressed itself, not a reverse address below it.
    """
    if author is None or not authenticated or not bare:
        return Normal()
    others = tuple(target for target in targets if not same_mailbox(author, target.address))
    if len(others) == len(targets):
        return Normal()
    return ToOthers(others) if others else NewMessageId()


def same_mailbox(author: Address, recipient: Address) -> bool:
    """True if `author` writes from the mailbox of `recipient` (spec section 4.1).

    Case does not matter. An author without `+` is compared with the recipient less its extension, one with `+` as a
    whole. Some domains are one (FAMILIES), and at Gmail dots do not count.
    """
    written = recipient if "+" in author.local else Address(recipient.local.partition("+")[0], recipient.domain)
    return _folded(author) == _folded(written)


def _folded(address: Address) -> tuple[str, str]:
    family = next((family for family in FAMILIES if address.domain in family), None)
    local, domain = address.local.lower(), min(family) if family is not None else address.domain
    if domain == _DOTS_IGNORED:
        base, plus, extension = local.partition("+")
        local = base.replace(".", "") + plus + extension
    return local, domain
