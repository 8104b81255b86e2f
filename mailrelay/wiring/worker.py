"""The worker role: timers."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from mailrelay.config import Config
from mailrelay.flows.retain import Retention
from mailrelay.store.retention import RetentionStore


class WorkerRole:
    """Clears away what is old and counts the ledger."""

    def __init__(self, config: Config) -> None:
        self._retention = Retention(RetentionStore(config.database.dsn), config.worker, lambda: datetime.now(UTC))
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._retention.run(self._stop), name="retention")

    async def stop(self) -> None:
        self._stop.set()
        if self._task is not None:
            await self._task

    def reload(self, config: Config) -> None:
        """Its settings are read when it starts."""

    def health(self) -> Mapping[str, str]:
        return {"retention": self._retention.health}
