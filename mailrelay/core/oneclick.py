"""What signed links ask for, and what there is to say about it (spec section 8.2)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, ip_network
from types import MappingProxyType
from typing import Literal
from uuid import UUID

from mailrelay.core.address import client_ip
from mailrelay.core.blocklist import Entry, domain_entry, email_entry
from mailrelay.core.errors import Malformed
from mailrelay.core.held import HeldId, HeldKind, HeldState
from mailrelay.core.links import Action
from mailrelay.core.notices import Code
from mailrelay.core.verp import EmailType

_PATH = re.compile(r"/u/([a-z-]+)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
NARROW = "alias"  # parameter of links that take back what is blocked at one alias
_NO_PARAMS: Mapping[str, str] = MappingProxyType({})

# What the owner is told by mail, as anybody may have had the link.
NOTICES: Mapping[Action, Code] = MappingProxyType({Action.DEACTIVATE: Code.ADUN, Action.DELETE: Code.ADLN})
_UNDONE_BY: Mapping[Action, Action] = MappingProxyType(
    {
        Action.DEACTIVATE: Action.ACTIVATE,
        Action.ACTIVATE: Action.DEACTIVATE,
        Action.DELETE: Action.RESTORE,
        Action.BLOCK_EMAIL: Action.UNBLOCK,
        Action.BLOCK_DOMAIN: Action.UNBLOCK,
    }
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants done. about: as Action says; entry: of the block list, for actions that change that.

    narrow: the entry is one for this alias alone, as complaints make them.
    """

    action: Action
    about: UUID
    entry: Entry | None = None
    narrow: bool = False

    @property
    def params(self) -> Mapping[str, str]:
        """As its link has them."""
        if self.entry is None:
            return _NO_PARAMS
        if self.action is Action.UNBLOCK:
            return {"type": self.entry.type, "value": self.entry.value, **({NARROW: "1"} if self.narrow else {})}
        return {self.entry.type: self.entry.value}

    @property
    def undo(self) -> "Wish | None":
        """What takes it back, None for what cannot be."""
        action = _UNDONE_BY.get(self.action)
        return None if action is None else Wish(action, self.about, self.entry)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who acts. actor: for the record; ip: '' if unknown; user_agent: as it says itself; at: when."""

    actor: str
    ip: str
    user_agent: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AliasSight:
    """What a page may say about an alias. Never whose it is: links travel.

    asks_login: its owner wants nobody to use the link of a banner without a login. listed: the entry that the wish
    names is on the owner's list.
    """

    address: str
    state: Literal["active", "inactive", "deleted"]
    asks_login: bool = False
    listed: bool = False


@dataclass(frozen=True, slots=True)
class HeldSight:
    """What a page may say about a message that was held. alias: '' if it is gone; kept: its text is still there."""

    id: HeldId
    alias: str
    type: EmailType
    kind: HeldKind | None
    state: HeldState
    kept: bool
    held_at: datetime


@dataclass(frozen=True, slots=True)
class RecipientSight:
    """What a page may say about a recipient, to whoever reads its mail. failing: mail to it came back."""

    address: str
    verified: bool
    failing: bool = False


Sight = AliasSight | HeldSight | RecipientSight


@dataclass(frozen=True, slots=True)
class Change:
    """What a wish about an alias or recipient did. sight: before it; changed: False if there was nothing to do."""

    sight: AliasSight | RecipientSight
    changed: bool


def action_of(path: str) -> Action | None:
    """What a path is for; None if no link of ours looks like that."""
    found = _PATH.fullmatch(path)
    return Action(found[1]) if found is not None and found[1] in set(Action) else None


def wish(path: str, params: Mapping[str, str], is_public_suffix: Callable[[str], bool]) -> Wish:
    """What a link that was verified asks for. Raises Malformed if there is no such thing, or it cannot be blocked."""
    action, found = action_of(path), _PATH.fullmatch(path)
    if action is None or found is None:
        raise Malformed("no link of ours has this form")
    match action:
        case Action.BLOCK_EMAIL:
            entry = email_entry(params.get("email", ""))
        case Action.BLOCK_DOMAIN:
            entry = domain_entry(params.get("domain", ""), is_public_suffix)
        case Action.UNBLOCK:
            return Wish(action, UUID(found[2]), _listed(params), narrow=NARROW in params)
        case _:
            return Wish(action, UUID(found[2]))
    return Wish(action, UUID(found[2]), entry)


def _listed(params: Mapping[str, str]) -> Entry:
    """Whatever may be on a list may be taken off it."""
    match params.get("type"):
        case "email":
            return email_entry(params.get("value", ""))
        case "domain":
            return domain_entry(params.get("value", ""), lambda domain: False)
    raise Malformed("only addresses and domains are blocked")


def counted_for(ip: str) -> str:
    """For whom requests are counted: an address, of IPv6 the /64 that one customer has. '' if it is unknown."""
    address = client_ip(ip)
    if address is None:
        return ""
    return str(address) if isinstance(address, IPv4Address) else str(ip_network((address, 64), strict=False))
