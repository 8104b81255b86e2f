"""The job that deletes an account: whoever asked for it does not wait for a hundred thousand aliases."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mailrelay import log
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId


class Accounts(Protocol):
    """As store/deletion.py. All raise Unavailable, and may be repeated."""

    async def is_due(self, account: AccountId) -> bool: ...
    async def clear(self, account: AccountId) -> bool: ...
    async def finish(self, account: AccountId) -> None: ...


@dataclass(frozen=True, slots=True)
class AccountDeletion:
    """Handler of the job. Interrupted, it goes on where it was."""

    accounts: Accounts

    async def __call__(self, payload: Mapping[str, object], /) -> None:
        """Raises Malformed and Unavailable."""
        number = payload.get("account_id")
        if not isinstance(number, int):
            raise Malformed("account_id of the job is no number")
        account = AccountId(number)
        if not await self.accounts.is_due(account):
            return
        while await self.accounts.clear(account):
            pass
        await self.accounts.finish(account)
        log.logger().info("account.deleted", account=account)
