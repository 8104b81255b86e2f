"""What mail meets, as the policy role decides it: with its memory, which only hears what the database announces."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from mailrelay.config import Config
from mailrelay.core.judge import Deliver, Verdict, judge
from mailrelay.core.screen import AskAlias, RcptRequest, screen
from mailrelay.flows.admit import Admission
from mailrelay.store.changes import Follower
from mailrelay.wiring.runtime import Runtime, new_cache, utc_now


class Desk(Protocol):
    """That of either API."""

    async def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]: ...


class MailPath:
    """Answers about recipients once everything that was announced has been heard."""

    def __init__(self, config: Config, desk: Desk) -> None:
        self._desk = desk
        self._runtime = Runtime(config, "policy", new_cache(config))
        memory = self._runtime.memory
        assert memory.cache is not None
        ledger = self._runtime.ledger
        self._admission = Admission(
            self._runtime.rules, memory.cache, self._runtime.read_facts, self._runtime.read_sending, ledger, utc_now
        )
        self._heard: asyncio.Queue[str] = asyncio.Queue()
        self.follower = Follower(config.database.dsn, memory.reload, self._changed, memory.lost)
        self.database = self._runtime.database

    async def _changed(self, kind: str, value: str) -> None:
        await self._runtime.memory.changed(kind, value)
        if kind == "test":
            self._heard.put_nowait(value)

    async def _until_heard(self) -> None:
        await self._desk.sql("notify mailrelay, 'test:now'")
        await self._heard.get()

    async def answer(self, rcpt: str) -> str:
        """What Postfix hears: from memory if it can be, else from the database."""
        await self._until_heard()
        request = RcptRequest("news@shop.example", rcpt, "192.0.2.9", "1", False)
        return self._admission.at_once(request) or await self._admission.by_database(request)

    async def verdict(self, rcpt: str) -> Verdict | None:
        """What would become of mail; None: it is not even a domain of ours."""
        await self._until_heard()
        rules = self._runtime.rules
        screened = screen(RcptRequest("news@shop.example", rcpt, "192.0.2.9", "1", False), rules.around, utc_now())
        if not isinstance(screened, AskAlias):
            return None
        facts = await self._runtime.read_facts(screened.inquiry)
        return judge(screened.question, facts, rules.limits, utc_now())

    async def fate(self, rcpt: str) -> str:
        """The kind of verdict: Deliver, Drop, Deny, or NoneType."""
        return type(await self.verdict(rcpt)).__name__

    async def reaches(self, rcpt: str) -> list[str]:
        """The mailboxes that it goes to."""
        verdict = await self.verdict(rcpt)
        return [str(target.address) for target in verdict.targets] if isinstance(verdict, Deliver) else []

    async def drain(self) -> None:
        await self._admission.drain()


@asynccontextmanager
async def mail_path(config: Config, desk: Desk) -> AsyncIterator[MailPath]:
    """It listens already."""
    path = MailPath(config, desk)
    await path.database.open()
    following = asyncio.create_task(path.follower.run())
    try:
        await path.follower.connected.wait()
        yield path
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await path.drain()
        await path.database.close()
