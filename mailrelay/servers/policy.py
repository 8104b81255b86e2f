"""Postfix' policy delegation protocol (postfix SMTPD_POLICY_README): requests in, actions out, in order."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

from mailrelay import log, metrics
from mailrelay.core.errors import Malformed
from mailrelay.wire.policy import Decoder, PolicyRequest, encode_action

# Answers at once, or promises to: None means that the database has to be asked.
AnswerNow = Callable[[PolicyRequest], str | None]
AnswerLater = Callable[[PolicyRequest], Awaitable[str]]

DEFER = encode_action("DEFER_IF_PERMIT 4.3.0 Temporary look-up failure")
_REQUEST_LIMIT = 64 * 1024


class PolicySession(asyncio.Protocol):
    """One connection. Requests that memory can answer are answered without starting a task."""

    def __init__(self, now: AnswerNow, later: AnswerLater) -> None:
        self._now = now
        self._later = later
        self._decoder = Decoder(_REQUEST_LIMIT)
        self._pending: deque[PolicyRequest] = deque()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            requests = self._decoder.feed(data)
        except Malformed as error:
            log.logger().warning("policy.malformed", problem=str(error))
            self._transport.write(DEFER)
            self._transport.close()
            return
        self._pending.extend(requests)
        if self._task is None:
            self._answer_pending()

    def _answer_pending(self) -> None:
        while self._pending and self._transport is not None:
            request = self._pending[0]
            started = time.perf_counter()
            try:
                action = self._now(request)
                answer = None if action is None else encode_action(action)
            except Exception:
                answer = _failed()
            if answer is None:
                self._task = asyncio.get_running_loop().create_task(self._answer_later(request))
                return
            self._pending.popleft()
            self._transport.write(answer)
            metrics.POLICY_SECONDS.observe(time.perf_counter() - started)

    async def _answer_later(self, request: PolicyRequest) -> None:
        started = time.perf_counter()
        try:
            answer = encode_action(await self._later(request))
        except Exception:
            answer = _failed()
        metrics.POLICY_SECONDS.observe(time.perf_counter() - started)
        self._task = None
        if self._transport is not None:
            self._pending.popleft()
            self._transport.write(answer)
            self._answer_pending()


def _failed() -> bytes:
    """A bug of ours: this recipient waits until it is mended, the others get their answers."""
    log.logger().exception("policy.failed")
    metrics.POLICY_ANSWERS.labels("defer", "failed").inc()
    return DEFER
