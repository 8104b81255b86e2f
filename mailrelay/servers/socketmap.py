"""Postfix' socketmap protocol (socketmap_table(5)), answered from memory."""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import cast

from prometheus_client import Counter

from mailrelay import log, metrics
from mailrelay.core.errors import Malformed
from mailrelay.wire import socketmap

Answer = Callable[[socketmap.Lookup], socketmap.Reply]
_MAPS = frozenset({"domain", "recipient", "transport"})


class SocketmapSession(asyncio.Protocol):
    """One connection; questions are answered in order, several a connection."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._decoder = socketmap.Decoder()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            lookups = self._decoder.feed(data)
        except Malformed as error:
            log.logger().warning("socketmap.malformed", problem=str(error))
            self._transport.write(socketmap.encode(socketmap.Perm(str(error))))
            self._transport.close()
            return
        if lookups:
            self._transport.write(b"".join(map(self._reply, lookups)))

    def _reply(self, lookup: socketmap.Lookup) -> bytes:
        try:
            reply = self._answer(lookup)
            encoded = socketmap.encode(reply)  # which refuses what is not printable, such as an odd key sent back
        except Exception:
            log.logger().exception("socketmap.failed")
            reply = socketmap.Temp("temporary failure")
            encoded = socketmap.encode(reply)
        _count(lookup.map if lookup.map in _MAPS else "other", type(reply).__name__.lower()).inc()
        return encoded


@cache
def _count(name: str, result: str) -> Counter:
    return metrics.SOCKETMAP_ANSWERS.labels(name, result)
