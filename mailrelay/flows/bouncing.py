"""The story of an alias that bounces too much: the job `alias_bounces` (spec section 7.5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailrelay import log
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.failing import AliasBounces, Pattern, pattern
from mailrelay.core.notices import Code, Notice
from mailrelay.flows.ports import Clock


class AliasStore(Protocol):
    """Counts of bounces, and the switch. Both raise Unavailable."""

    async def bounces(self, account_id: AccountId, alias_id: AliasId, now: datetime) -> AliasBounces | None:
        """None: there is nothing to decide."""
        ...

    async def deactivate(self, account_id: AccountId, alias_id: AliasId, why: Pattern, notice: Notice) -> bool:
        """False: somebody else was faster."""
        ...


@dataclass(frozen=True, slots=True)
class BouncingAliases:
    """Handler of the job kind `alias_bounces`, of which one waits after every bounce of accounts that want it."""

    store: AliasStore
    clock: Clock

    async def __call__(self, payload: Mapping[str, object], /) -> None:
        """Switch the alias off if its bounces pass the thresholds. Raises Malformed and Unavailable."""
        account_id = AccountId(_number(payload, "account_id"))
        alias_id = AliasId(_number(payload, "alias_id"))
        now = self.clock()
        found = await self.store.bounces(account_id, alias_id, now)
        why = pattern(found.own, found.account, now) if found is not None else None
        if found is None or why is None:
            return
        notice = Notice(
            Code.ADUN,
            account_id,
            data={
                "alias": found.address,
                "alias_uuid": str(found.uuid),
                "at": now.isoformat(timespec="seconds"),
                "ip": "",
                "user_agent": "",
                "reason": f"bounces_{why}",
            },
        )
        if await self.store.deactivate(account_id, alias_id, why, notice):
            log.logger().info("alias.deactivated", account=account_id, alias=alias_id, reason=f"bounces_{why}")


def _number(payload: Mapping[str, object], name: str) -> int:
    value = payload.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise Malformed(f"{name} of the job is no number")
