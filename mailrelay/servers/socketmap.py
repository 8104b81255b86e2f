"""Postfix' socketmap protocol (socketmap_table(5)): answers in the order of the questions."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import cache
from typing import cast

from prometheus_client import Counter

from mailrelay import log, metrics
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.wire import socketmap

# Answers from memory, or promises to: None means that the database has to be asked.
AnswerNow = Callable[[socketmap.Lookup], socketmap.Reply | None]
AnswerLater = Callable[[socketmap.Lookup], Awaitable[socketmap.Reply]]
_MAPS = frozenset({"domain", "recipient", "transport", "sender_login"})
_FAILED = socketmap.Temp("temporary failure")


class SocketmapSession(asyncio.Protocol):
    """One connection. Questions that memory can answer are answered without starting a task."""

    def __init__(self, now: AnswerNow, later: AnswerLater) -> None:
        self._now = now
        self._later = later
        self._decoder = socketmap.Decoder()
        self._pending: deque[socketmap.Lookup] = deque()
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
            lookups = self._decoder.feed(data)
        except Malformed as error:
            log.logger().warning("socketmap.malformed", problem=str(error))
            self._transport.write(socketmap.encode(socketmap.Perm(str(error))))
            self._transport.close()
            self._pending.clear()
            return
        self._pending.extend(lookups)
        if self._task is None:
            self._answer_pending()

    def _answer_pending(self) -> None:
        answers: list[bytes] = []
        while self._pending and self._task is None:
            lookup = self._pending.popleft()
            try:
                reply = self._now(lookup)
            except Exception:
                log.logger().exception("socketmap.failed")
                reply = _FAILED
            if reply is None:
                self._task = asyncio.get_running_loop().create_task(self._answer_later(lookup))
            else:
                answers.append(_encoded(lookup, reply))
        if answers and self._transport is not None:
            self._transport.write(b"".join(answers))

    async def _answer_later(self, lookup: socketmap.Lookup) -> None:
        try:
            reply = await self._later(lookup)
        except Unavailable as error:
            log.logger().warning("socketmap.unavailable", map=lookup.map, problem=str(error))
            reply = _FAILED
        except Exception:
            log.logger().exception("socketmap.failed")
            reply = _FAILED
        answer = _encoded(lookup, reply)
        self._task = None
        if self._transport is not None:
            self._transport.write(answer)
            self._answer_pending()


def _encoded(lookup: socketmap.Lookup, reply: socketmap.Reply) -> bytes:
    try:
        answer = socketmap.encode(reply)  # which refuses what is not printable, such as an odd key sent back
    except ValueError:
        log.logger().exception("socketmap.failed")
        reply = _FAILED
        answer = socketmap.encode(reply)
    _count(lookup.map if lookup.map in _MAPS else "other", type(reply).__name__.lower()).inc()
    return answer


@cache
def _count(name: str, result: str) -> Counter:
    return metrics.SOCKETMAP_ANSWERS.labels(name, result)
