"""A store with the one thing that a link is about, and who sends what was held."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.held import HeldId
from mailrelay.core.links import Action
from mailrelay.core.oneclick import AliasSight, Change, HeldSight, RecipientSight, Sight, Visitor, Wish
from mailrelay.core.verp import EmailType

ABOUT = UUID("50c9e585-e7f5-41c4-9016-9014c15454bc")
NOW = datetime(2026, 1, 6, 12, tzinfo=UTC)
VISITOR = Visitor("link:192.0.2.7", "192.0.2.7", "Mail 1.0", NOW)
ACTIVE = AliasSight("a1@alias.example", "active")
HELD = HeldSight(HeldId(5), "a1@alias.example", EmailType.REPLY, "unauthorised", "held", True, NOW)


@dataclass
class Memory:
    """thing: what every link is about. wait: what clients are told; away: the database cannot be reached."""

    thing: Sight | None = ACTIVE
    conflict: str = ""
    wait: int = 0
    away: bool = False
    asked: list[str] = field(default_factory=list)
    acted: list[tuple[Wish, Visitor]] = field(default_factory=list)

    async def admit(self, subject: str) -> int:
        if self.away:
            raise Unavailable("database: away")
        self.asked.append(subject)
        return self.wait

    async def sight(self, wish: Wish) -> Sight | None:
        return self.thing

    async def held(self, record: UUID) -> HeldSight | None:
        assert self.thing is None or isinstance(self.thing, HeldSight)
        return self.thing

    async def act(self, wish: Wish, visitor: Visitor) -> Change | None:
        if self.conflict:
            raise Conflict(self.conflict)
        if self.thing is None:
            return None
        assert not isinstance(self.thing, HeldSight)
        before, self.thing = self.thing, _after(self.thing, wish.action)
        if self.thing != before:
            self.acted.append((wish, visitor))
        return Change(before, self.thing != before)


def _after(thing: AliasSight | RecipientSight, action: Action) -> AliasSight | RecipientSight:
    if isinstance(thing, RecipientSight):
        return replace(thing, verified=True, failing=False)
    match action:
        case Action.DEACTIVATE if thing.state == "active":
            return replace(thing, state="inactive")
        case Action.ACTIVATE if thing.state == "inactive":
            return replace(thing, state="active")
        case Action.DELETE:
            return replace(thing, state="deleted")
        case Action.RESTORE if thing.state == "deleted":
            return replace(thing, state="active")
        case Action.BLOCK_EMAIL | Action.BLOCK_DOMAIN | Action.UNBLOCK:
            return replace(thing, listed=action is not Action.UNBLOCK)
    return thing


@dataclass
class Sender:
    """Notes who wants something sent, or raises."""

    error: Exception | None = None
    actors: list[str] = field(default_factory=list)

    async def __call__(self, held_id: HeldId, actor: str) -> None:
        self.actors.append(actor)
        if self.error is not None:
            raise self.error
