"""Keeps what is in memory in step with the database: domains, bans and cached facts."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from mailrelay import log
from mailrelay.core.bans import Ban, BanBook, BanId
from mailrelay.core.facts import AccountId
from mailrelay.flows.cache import FactsCache
from mailrelay.flows.rulebook import Rulebooks
from mailrelay.flows.rules import Rules

Domains = tuple[frozenset[str], frozenset[str]]  # shared, custom


_AT_ONCE = 1000  # bans, a few milliseconds: a hundred thousand would keep Postfix waiting


@dataclass(slots=True)
class Memory:
    """Reacts to announced changes. cache: only the policy role has one; rulebooks: for those who deliver."""

    rules: Rules
    read_domains: Callable[[], Awaitable[Domains]]
    read_bans: Callable[[], Awaitable[list[Ban]]]
    read_ban: Callable[[BanId], Awaitable[Ban | None]]
    cache: FactsCache | None = None
    rulebooks: Rulebooks | None = None

    async def reload(self) -> None:
        """Read everything; afterwards the caches are empty and trusted. Raises Unavailable."""
        await self._reload_domains()
        bans = await _book(await self.read_bans())
        self.rules.around = replace(self.rules.around, bans=bans)
        if self.cache is not None:
            self.cache.clear()
            self.cache.trusted = True
        if self.rulebooks is not None:
            self.rulebooks.clear()
            self.rulebooks.trusted = True
        realm = self.rules.around.realm
        log.logger().info("memory.loaded", shared=len(realm.shared), custom=len(realm.custom), bans=len(bans))

    async def _reload_domains(self) -> None:
        shared, custom = await self.read_domains()
        realm = replace(self.rules.around.realm, shared=shared, custom=custom)
        self.rules.around = replace(self.rules.around, realm=realm)

    async def changed(self, kind: str, value: str) -> None:
        """One announced change; kinds that no cache holds are ignored. Raises Unavailable."""
        match kind:
            case "domain":
                await self._reload_domains()
                self._clear()
            case "username" | "handle":
                self._clear()
            case "ban":
                await self._reload_ban(BanId(int(value)))
            case "alias" if self.cache is not None:
                local, _, domain = value.rpartition("@")
                self.cache.forget_address(local, domain)
            case "account":
                self._forget_account(AccountId(int(value)))

    def _forget_account(self, account_id: AccountId) -> None:
        if self.cache is not None:
            self.cache.forget_account(account_id)
        if self.rulebooks is not None:
            self.rulebooks.forget_account(account_id)

    def _clear(self) -> None:
        if self.cache is not None:
            self.cache.clear()

    async def _reload_ban(self, ban_id: BanId) -> None:
        ban = await self.read_ban(ban_id)
        if ban is None:
            self.rules.around.bans.drop(ban_id)
        else:
            self.rules.around.bans.put(ban)

    def lost(self) -> None:
        """Changes are no longer announced: nothing in the caches is fresh any more."""
        if self.cache is not None:
            self.cache.trusted = False
        if self.rulebooks is not None:
            self.rulebooks.trusted = False


async def _book(bans: Sequence[Ban]) -> BanBook:
    """All of them, while others get their turns."""
    book = BanBook()
    for number, ban in enumerate(bans, 1):
        book.put(ban)
        if not number % _AT_ONCE:
            await asyncio.sleep(0)
    return book
