"""Follows LISTEN/NOTIFY: tells what changed, and when that can no longer be known."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from psycopg import AsyncConnection, Error
from psycopg.conninfo import make_conninfo

from mailrelay import log, metrics
from mailrelay.core.errors import Unavailable

_RETRY_SECONDS = 1.0
# A host that vanished without a word is noticed within a minute.
_KEEPALIVE = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 30_000}


@dataclass(slots=True)
class Follower:
    """One connection that listens on channel `mailrelay`.

    restored: called after each connect, before the first change; what was missed in between is unknown, so it reloads.
    changed: called with the payload's two halves, such as `alias` and `shop@in.example`. lost: the connection broke.
    Either may raise: then everything is read again on a new connection.
    """

    dsn: str
    restored: Callable[[], Awaitable[None]]
    changed: Callable[[str, str], Awaitable[None]]
    lost: Callable[[], None]
    connected: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._follow()
            except (Error, OSError, Unavailable) as error:
                log.logger().warning("changes.lost", problem=" ".join(str(error).split()))
            except Exception:
                # Without this task the process would never again be told of changes, nor be healthy.
                log.logger().exception("changes.failed")
            finally:
                if self.connected.is_set():
                    self.connected.clear()
                    metrics.LISTENING.set(0)
                    self.lost()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        async with await AsyncConnection.connect(
            make_conninfo(self.dsn, **_KEEPALIVE),
            autocommit=True,
            connect_timeout=5,
            application_name="mailrelay changes",
        ) as conn:
            await conn.execute("listen mailrelay")
            await self.restored()
            self.connected.set()
            metrics.LISTENING.set(1)
            async for notification in conn.notifies():
                kind, _, value = notification.payload.partition(":")
                await self.changed(kind, value)
