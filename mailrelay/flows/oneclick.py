"""The story of a signed link: what its page says, and what its button does (spec section 8.2).

Whoever has the link may use it; so every act can be repeated without harm, most can be undone, and the owner is told.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from mailrelay import log
from mailrelay.core.errors import Conflict
from mailrelay.core.held import HeldId
from mailrelay.core.links import Action
from mailrelay.core.oneclick import AliasSight, Change, HeldSight, Sight, Visitor, Wish, counted_for


class LinkStore(Protocol):
    """What links are about. None: there is no such thing. Everything raises Unavailable.

    act: in one transaction with its audit record and the owner's notice; raises Conflict.
    """

    async def admit(self, subject: str) -> int: ...
    async def sight(self, wish: Wish) -> Sight | None: ...
    async def held(self, record: UUID) -> HeldSight | None: ...
    async def act(self, wish: Wish, visitor: Visitor) -> Change | None: ...


class Release(Protocol):
    """Sends a held message, soon: durable once it returns; asked for twice, it is done once. Raises Unavailable.

    If it cannot go out after all, its owner hears of it.
    """

    async def __call__(self, held_id: HeldId, actor: str) -> None: ...


class Trouble(StrEnum):
    """Why a link shows nothing to press, or its button did nothing."""

    UNKNOWN = "unknown"  # or forgotten
    DELETED = "deleted"  # the alias, which would have to be there
    LOGIN = "login"  # the owner wants a login in between
    IMPOSSIBLE = "impossible"  # the text says why


@dataclass(frozen=True, slots=True)
class Declined:
    """Nothing can be done. text: for IMPOSSIBLE, in the words of whoever found out."""

    trouble: Trouble
    text: str = ""


@dataclass(frozen=True, slots=True)
class Acted:
    """It is as it was wished. changed: False if it was before. undo: None if there is nothing to take back."""

    sight: Sight
    changed: bool
    undo: Wish | None


@dataclass(frozen=True, slots=True)
class OneClick:
    """Looks and acts. Raises Unavailable."""

    store: LinkStore
    release: Release

    async def admit(self, ip: str) -> int:
        """0 if a client may ask, which is counted, else the seconds that it has to wait. Unknown ones may."""
        subject = counted_for(ip)
        return await self.store.admit(subject) if subject else 0

    async def look(self, wish: Wish, *, from_banner: bool) -> Sight | Declined:
        """What the page has to say; nothing changes. from_banner: the link is one that banners have."""
        sight = await self.store.sight(wish)
        if sight is None:
            return Declined(Trouble.UNKNOWN)
        if isinstance(sight, AliasSight):
            if from_banner and sight.asks_login:
                return Declined(Trouble.LOGIN)
            if sight.state == "deleted" and wish.action in (Action.DELETE, Action.ACTIVATE):
                return Declined(Trouble.DELETED)
        return sight

    async def act(self, wish: Wish, visitor: Visitor) -> Acted | Declined:
        """Do it. Only what changed something can be undone, else an old link would undo what the owner did since."""
        if wish.action is Action.SEND:
            return await self._send(wish, visitor)
        try:
            change = await self.store.act(wish, visitor)
        except Conflict as error:
            return Declined(Trouble.IMPOSSIBLE, str(error))
        if change is None:
            return Declined(Trouble.UNKNOWN)
        gone = isinstance(change.sight, AliasSight) and change.sight.state == "deleted"
        if gone and wish.action in (Action.DELETE, Action.ACTIVATE):
            return Declined(Trouble.DELETED)
        log.logger().info("link.acted", action=wish.action.value, about=str(wish.about), changed=change.changed)
        return Acted(change.sight, change.changed, wish.undo if change.changed else None)

    async def _send(self, wish: Wish, visitor: Visitor) -> Acted | Declined:
        held = await self.store.held(wish.about)
        if held is None:
            return Declined(Trouble.UNKNOWN)
        if held.state == "released":
            return Acted(held, False, None)
        if held.state == "discarded" or not held.kept:
            return Declined(Trouble.IMPOSSIBLE, "its text is not kept any more")
        await self.release(held.id, visitor.actor)
        return Acted(held, True, None)
