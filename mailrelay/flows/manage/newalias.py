"""An owner makes an alias: a name of their own, or one by lot that is tried again until it is free."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from mailrelay.core.coining import AliasFormat, Coiner
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.newaliases import AliasRequest, Ground, NewOwnAlias, Prospect, Refusal, is_reserved
from mailrelay.core.own_aliases import OwnAlias

_TRIES = 20


class NewAliasStore(Protocol):
    """As store/manage_newalias.py."""

    async def survey(self, asked: AliasRequest) -> Prospect: ...
    async def make(self, new: NewOwnAlias, actor: str) -> OwnAlias | Refusal: ...


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted. format None: as the account has it; local, extension: checked, for CUSTOM alone."""

    account: AccountId
    format: AliasFormat | None
    local: str
    extension: str | None
    recipients: tuple[UUID, ...]
    description: str | None


@dataclass(frozen=True, slots=True)
class AliasMaker:
    """allowed: new aliases within an hour for accounts without a limit of their own, 0 for no limit."""

    store: NewAliasStore
    coiner: Coiner
    allowed: int

    async def survey(self, asked: AliasRequest) -> Prospect:
        """What is known of a wish before it is an order. Raises Unavailable."""
        return await self.store.survey(asked)

    async def make(self, order: Order, prospect: Prospect, actor: str) -> OwnAlias | Refusal:
        """Raises Unavailable, also when chance finds no free name."""
        if prospect.ground is None:
            return Refusal.DOMAIN
        allowed = self.allowed if prospect.allowed is None else prospect.allowed
        if allowed and prospect.made >= allowed:
            return Refusal.LIMIT
        format = order.format or prospect.format
        if format is AliasFormat.CUSTOM:
            return await self.store.make(self._new(order, prospect, prospect.ground, allowed, order.local), actor)
        for _ in range(_TRIES):
            local = self.coiner.local(format, prospect.separator)
            if is_reserved(local, prospect.ground.shared):
                continue
            made = await self.store.make(self._new(order, prospect, prospect.ground, allowed, local, format), actor)
            if made is not Refusal.TAKEN:
                return made
        raise Unavailable(f"no free name in {_TRIES} draws of {format}")

    def _new(
        self,
        order: Order,
        prospect: Prospect,
        ground: Ground,
        allowed: int,
        local: str,
        format: AliasFormat = AliasFormat.CUSTOM,
    ) -> NewOwnAlias:
        return NewOwnAlias(
            account=order.account,
            account_uuid=prospect.account_uuid,
            uuid=UUID(local) if format is AliasFormat.UUID else self.coiner.uuid(),
            local=local,
            ground=ground,
            recipients=order.recipients,
            description=order.description,
            extension=order.extension if format is AliasFormat.CUSTOM else None,
            allowed=allowed,
        )
