"""What administrators do with aliases and handles (haltman-api.md sections 3.1, 3.18 and 3.21).

Whether a change may be is decided by what is there when it is asked for, and carried out only if that is still so; if
not, it is decided anew.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar
from urllib.parse import quote

from mailrelay.core.address import Address
from mailrelay.core.admin_changes import AliasPatch, AliasSeen, AliasWish, HandlePatch, HandleSeen, HandleWish, Refusal
from mailrelay.core.admin_lists import ListedAlias, ListedHandle
from mailrelay.core.facts import AliasId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.records import HandleId
from mailrelay.core.subscriptions import Survey
from mailrelay.core.suspects import BanHit, Suspect, of_name
from mailrelay.flows.obstacles import AtManaged, Bans, Managed, at_managed, of_alias, of_destination

Objection = Refusal | BanHit | AtManaged

REMOVAL_PAGE: Final = "remove"  # our own below /api, which sites pass on anyway

_TRIES = 5
_Seen = TypeVar("_Seen", AliasSeen, HandleSeen)
_Change = TypeVar("_Change", AliasPatch, HandlePatch)
_Done = TypeVar("_Done", ListedAlias, ListedHandle)


class AliasStore(Protocol):
    """As store/admin_aliases.py. All raise Unavailable. None: it is not any more what was seen."""

    async def survey(self, address: Address, goto: Address) -> Survey: ...
    async def look(self, number: AliasId) -> AliasSeen | None: ...
    async def make(self, wish: AliasWish, notice: Notice | None, actor: str) -> ListedAlias | Refusal: ...
    async def apply(self, seen: AliasSeen, change: AliasPatch, actor: str) -> ListedAlias | Refusal | None: ...


class HandleStore(Protocol):
    """As store/admin_handles.py. All raise Unavailable. None: it is not any more what was seen."""

    async def is_alias(self, mailbox: Address) -> bool: ...
    async def look(self, number: HandleId) -> HandleSeen | None: ...
    async def make(self, wish: HandleWish, notice: Notice | None, actor: str) -> ListedHandle | Refusal: ...
    async def apply(self, seen: HandleSeen, change: HandlePatch, actor: str) -> ListedHandle | Refusal | None: ...


@dataclass(frozen=True, slots=True)
class Office:
    """What both kinds of changes need. has_notices: whether people hear of what administrators make for them."""

    bans: Bans
    managed: Managed
    has_notices: bool

    async def at_managed(self, goto: Address) -> AtManaged | None:
        return await at_managed(self.managed, goto)

    def notice(self, kind: str, about: str, goto: Address, base_url: str) -> Notice | None:
        """For whoever gets the mail from now on, with a link to a page where they can ask for the end of it."""
        if not self.has_notices:
            return None
        link = f"{base_url}/api/{REMOVAL_PAGE}/{kind}?{kind}={quote(about)}" if base_url else ""
        return Notice(Code.MFY, None, data={"address": str(goto), "tag": kind, "about": about, "link": link})


@dataclass(frozen=True, slots=True)
class AdminAliases:
    """tombstone: what stands for the destination of deleted aliases, and is none."""

    office: Office
    store: AliasStore
    tombstone: Address

    async def create(self, wish: AliasWish, base_url: str, actor: str) -> ListedAlias | Objection:
        """base_url: of the site that the administrator is on, '' if unknown.

        Raises Conflict while the mailbox' account is deleted.
        """
        if wish.goto == self.tombstone:
            return Refusal.NO_DESTINATION
        hit = await self.office.bans.first(*of_alias(wish.address), *of_destination(wish.goto))
        objection = hit or await self._objection(wish.address, wish.goto, is_new=True)
        if objection is not None:
            return objection
        notice = self.office.notice("alias", str(wish.address), wish.goto, base_url)
        return await self.store.make(wish, notice, actor)

    async def change(self, number: AliasId, wanted: AliasPatch, actor: str) -> ListedAlias | Objection:
        """Raises Conflict while the account of the new mailbox is being deleted."""

        async def decide(seen: AliasSeen) -> AliasPatch | Objection:
            return await self._decide(seen, wanted)

        return await _carried_out(
            lambda: self.store.look(number), decide, lambda seen, change: self.store.apply(seen, change, actor)
        )

    async def _decide(self, seen: AliasSeen, wanted: AliasPatch) -> AliasPatch | Objection:
        """The members that differ, if they may."""
        address = None if wanted.address == seen.address else wanted.address
        shown = seen.goto or self.tombstone  # as the list has it, also where no mailbox is usable
        goto = None if wanted.goto == shown else wanted.goto
        is_active = (seen.state == "active") if wanted.active is None else wanted.active
        if goto == self.tombstone:
            return Refusal.NO_DESTINATION
        if is_active and goto is None and seen.goto is None:
            return Refusal.NO_DESTINATION if seen.is_gone else Refusal.NOWHERE
        suspects: list[Sequence[Suspect]] = []
        if address is not None or is_active:
            suspects += of_alias(address or seen.address)
        destination = goto or (seen.goto if is_active else None)
        if destination is not None:
            suspects += of_destination(destination)
        hit = await self.office.bans.first(*suspects)
        if hit is not None:
            return hit
        if address is not None or goto is not None:
            objection = await self._objection(address or seen.address, goto, is_new=address is not None)
            if objection is not None:
                return objection
        return AliasPatch(address, goto, None if is_active == (seen.state == "active") else is_active)

    async def _objection(self, address: Address, goto: Address | None, is_new: bool) -> Objection | None:
        """is_new: the address is. goto None: it stays."""
        survey = await self.store.survey(address, goto or address)
        if is_new and survey.taken:
            return Refusal.TAKEN
        if is_new and not survey.domain_takes:
            return Refusal.DOMAIN
        if goto is None:
            return None
        return Refusal.DESTINATION_IS_ALIAS if survey.destination_is_alias else await self.office.at_managed(goto)


@dataclass(frozen=True, slots=True)
class AdminHandles:
    office: Office
    store: HandleStore

    async def create(self, wish: HandleWish, base_url: str, actor: str) -> ListedHandle | Objection:
        """base_url: of the site that the administrator is on, '' if unknown.

        Raises Conflict while the mailbox' account is deleted.
        """
        hit = await self.office.bans.first(of_name(wish.handle), *of_destination(wish.goto))
        objection = hit or await self._destination(wish.goto)
        if objection is not None:
            return objection
        return await self.store.make(wish, self.office.notice("handle", wish.handle, wish.goto, base_url), actor)

    async def change(self, number: HandleId, wanted: HandlePatch, actor: str) -> ListedHandle | Objection:
        """Raises Conflict while the account of the new mailbox is being deleted."""

        async def decide(seen: HandleSeen) -> HandlePatch | Objection:
            return await self._decide(seen, wanted)

        return await _carried_out(
            lambda: self.store.look(number), decide, lambda seen, change: self.store.apply(seen, change, actor)
        )

    async def _decide(self, seen: HandleSeen, wanted: HandlePatch) -> HandlePatch | Objection:
        """The members that differ, if they may."""
        handle = None if wanted.handle == seen.handle else wanted.handle
        goto = None if wanted.goto == seen.goto else wanted.goto
        is_active = (seen.state == "active") if wanted.active is None else wanted.active
        if is_active and goto is None and seen.goto is None:
            return Refusal.NO_DESTINATION
        suspects: list[Sequence[Suspect]] = []
        if handle is not None or is_active:
            suspects.append(of_name(handle or seen.handle))
        destination = goto or (seen.goto if is_active else None)
        if destination is not None:
            suspects += of_destination(destination)
        objection = await self.office.bans.first(*suspects) or (None if goto is None else await self._destination(goto))
        if objection is not None:
            return objection
        return HandlePatch(handle, goto, None if is_active == (seen.state == "active") else is_active)

    async def _destination(self, goto: Address) -> Objection | None:
        if await self.store.is_alias(goto):
            return Refusal.DESTINATION_IS_ALIAS
        return await self.office.at_managed(goto)


async def _carried_out(
    look: Callable[[], Awaitable[_Seen | None]],
    decide: Callable[[_Seen], Awaitable[_Change | Objection]],
    apply: Callable[[_Seen, _Change], Awaitable[_Done | Refusal | None]],
) -> _Done | Objection:
    """A change of what is there, decided anew while others change it meanwhile."""
    for _ in range(_TRIES):
        seen = await look()
        if seen is None:
            return Refusal.ABSENT
        change = await decide(seen)
        if isinstance(change, Refusal | BanHit | AtManaged):
            return change
        done = await apply(seen, change)
        if done is not None:
            return done
    return Refusal.CHANGED
