"""Delivers events to webhooks: each in the order of events, every event at least once, many webhooks at a time."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.httptarget import Target, target
from mailrelay.core.webhooks import Answer, Entry, Occurrence, Position, Webhook, WebhookId, body, headers, pause

# A slow receiver gives its place to others after this time, and comes last.
_TURN_SECONDS = 20.0
_LAG_SECONDS = 30.0
_RETRY_SECONDS = 5.0


class Line(Protocol):
    """A way to one receiver, for requests one after the other."""

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer: ...


class Client(Protocol):
    """Opens lines; of_account: an account's webhook may reach less than the installation's."""

    def line(self, target: Target, of_account: bool) -> AbstractAsyncContextManager[Line]: ...


class Store(Protocol):
    """What deliveries need of the database; see store/webhooks.py. All raise Unavailable."""

    async def renumber(self) -> bool: ...
    async def take(self, limit: int) -> Sequence[Webhook]: ...
    async def page(self, webhook: Webhook, after: Position) -> Sequence[Entry]: ...
    async def advance(self, webhook: WebhookId, expected: Position, to: Position) -> bool: ...
    async def release(self, webhook: WebhookId, expected: Position, to: Position) -> bool: ...
    async def fail(
        self, webhook: WebhookId, expected: Position, to: Position, problem: str, pause: timedelta | None
    ) -> bool: ...
    async def lag(self) -> Mapping[bool, float]: ...


class WebhookRunner:
    """Any number of them may run, in as many processes: a webhook belongs to one at a time.

    concurrency: webhooks that are served at the same time. pause: how long to wait after so many failures in a row,
    None to give up.
    """

    def __init__(
        self,
        store: Store,
        client: Client,
        clock: Callable[[], datetime],
        concurrency: int = 16,
        pause: Callable[[int], timedelta | None] = pause,
        poll_seconds: float = 1.0,
    ) -> None:
        self._store = store
        self._client = client
        self._clock = clock
        self._concurrency = concurrency
        self._pause = pause
        self._poll_seconds = poll_seconds
        self._turns: set[asyncio.Task[None]] = set()
        self._renumbered = False
        self._lag_due = 0.0  # by the monotonic clock
        self.health = "starting"  # or "ok", or what is wrong

    async def run(self, stop: asyncio.Event) -> None:
        """Until stop is set. Requests under way end first, which takes no longer than one attempt may."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                seconds = await self._look(stop)
                # Whoever is done makes room at once; with room to spare there is no hurry.
                full = self._turns if len(self._turns) >= self._concurrency else ()
                await asyncio.wait({stopped, *full}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if self._turns:
                await asyncio.wait(self._turns)
        finally:
            for task in (stopped, *self._turns):
                task.cancel()
            await asyncio.gather(stopped, *self._turns, return_exceptions=True)

    async def _look(self, stop: asyncio.Event) -> float:
        """Begin the turns of webhooks that are due. Gives the seconds until the next look."""
        try:
            if not self._renumbered and await self._store.renumber():
                log.logger().warning("webhooks.renumbered")
            self._renumbered = True
            if free := self._concurrency - len(self._turns):
                for webhook in await self._store.take(free):
                    turn = asyncio.create_task(self._turn(webhook, stop), name=f"webhook {webhook.id}")
                    self._turns.add(turn)
                    turn.add_done_callback(self._turns.discard)
            await self._measure()
        except Unavailable as error:
            metrics.DATABASE_ERRORS.inc()
            log.logger().warning("webhooks.postponed", problem=str(error))
            self.health = "database away"
            return _RETRY_SECONDS
        except Exception:
            log.logger().exception("webhooks.failed")
            self.health = "failing, see the log"
            return _RETRY_SECONDS
        self.health = "ok"
        return self._poll_seconds

    async def _measure(self) -> None:
        if time.monotonic() < self._lag_due:
            return
        self._lag_due = time.monotonic() + _LAG_SECONDS
        for of_all, seconds in (await self._store.lag()).items():
            metrics.WEBHOOK_LAG_SECONDS.labels("installation" if of_all else "account").set(seconds)

    async def _turn(self, webhook: Webhook, stop: asyncio.Event) -> None:
        """Deliver to one webhook what there is. If the database goes away meanwhile, the lease runs out by itself."""
        try:
            await self._serve(webhook, stop)
        except Unavailable as error:
            metrics.DATABASE_ERRORS.inc()
            log.logger().warning("webhook.postponed", webhook=webhook.id, problem=str(error))
        except Exception:
            log.logger().exception("webhook.failed", webhook=webhook.id)

    async def _serve(self, webhook: Webhook, stop: asyncio.Event) -> None:
        place = _Place(webhook)
        if webhook.secret is None:
            await self._failed(place, "its secret cannot be decrypted with storage.key")
            return
        try:
            wanted = target(webhook.url)
        except Malformed as error:  # by another release's rules it was none
            await self._failed(place, str(error))
            return
        async with self._client.line(wanted, webhook.account is not None) as line:
            await self._deliver(place, webhook.secret, line, stop)

    async def _deliver(self, place: "_Place", secret: str, line: Line, stop: asyncio.Event) -> None:
        webhook = place.webhook
        until = time.monotonic() + _TURN_SECONDS
        while entries := await self._store.page(webhook, place.reached):
            for entry in entries:
                if stop.is_set() or time.monotonic() >= until:
                    await self._store.release(webhook.id, place.stored, place.reached)
                    return
                if entry.occurrence is not None:
                    answer = await self._post(line, entry.occurrence, secret)
                    if not answer.delivered:
                        await self._failed(place, answer.problem)
                        return
                    if not await self._store.advance(webhook.id, place.stored, entry.position):
                        return  # replayed, switched off, or somebody else's by now
                    place.failures, place.stored = 0, entry.position
                place.reached = entry.position
        await self._store.release(webhook.id, place.stored, place.reached)

    async def _post(self, line: Line, occurrence: Occurrence, secret: str) -> Answer:
        content = body(occurrence)
        answer = await line.post(headers(occurrence, content, secret, int(self._clock().timestamp())), content)
        result = "delivered" if answer.delivered else "failed"
        metrics.WEBHOOK_DELIVERIES.labels(occurrence.event, result).inc()
        return answer

    async def _failed(self, place: "_Place", problem: str) -> None:
        failures = place.failures + 1
        pause = self._pause(failures)
        if not await self._store.fail(place.webhook.id, place.stored, place.reached, problem, pause):
            return
        if pause is None:
            metrics.WEBHOOKS_GIVEN_UP.inc()
            log.logger().warning("webhook.given_up", webhook=place.webhook.id, failures=failures, problem=problem)
        else:
            log.logger().info("webhook.delayed", webhook=place.webhook.id, failures=failures, problem=problem)


class _Place:
    """How far a turn has come. stored: as the database has it; reached: past events that are not for this webhook."""

    def __init__(self, webhook: Webhook) -> None:
        self.webhook = webhook
        self.failures = webhook.failures
        self.stored = self.reached = webhook.position
