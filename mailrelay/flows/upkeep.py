"""The worker's small duties, once an hour: what ends with time, and reminders of what is about to."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime

from mailrelay import log, metrics
from mailrelay.core.errors import Unavailable
from mailrelay.flows.ports import Clock

_EVERY_SECONDS = 3600.0
_RETRY_SECONDS = 5.0  # the database is away
_FAILURE_SECONDS = 60.0

# Does its duty at a time; repeated, or done by several workers at once, it does nothing more. Gives how many things
# it touched. Raises Unavailable.
Step = Callable[[datetime], Awaitable[int]]


class Upkeep:
    """Runs every step, whatever becomes of the others."""

    def __init__(self, steps: Mapping[str, Step], clock: Clock, every_seconds: float = _EVERY_SECONDS) -> None:
        self._steps = steps
        self._clock = clock
        self._every = every_seconds
        self.health = "starting"  # or "ok", or what is wrong

    async def run(self, stop: asyncio.Event) -> None:
        """Until stop is set; a step under way ends first."""
        while not stop.is_set():
            retries = [(name, await self._do(name)) for name in self._steps if not stop.is_set()]
            failing = {name: seconds for name, seconds in retries if seconds is not None}
            self.health = f"failing: {', '.join(failing)}" if failing else "ok"
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(failing.values(), default=self._every))

    async def _do(self, name: str) -> float | None:
        """None: it was done; else the seconds until it is worth another try."""
        try:
            touched = await self._steps[name](self._clock())
        except Unavailable as error:
            metrics.DATABASE_ERRORS.inc()
            log.logger().warning("upkeep.postponed", step=name, problem=str(error))
            return _RETRY_SECONDS
        except Exception:
            log.logger().exception("upkeep.failed", step=name)
            return _FAILURE_SECONDS
        if touched:
            log.logger().info("upkeep.done", step=name, touched=touched)
        return None
