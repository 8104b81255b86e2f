"""Puts the parts together. A process imports only what its roles need, as each costs memory."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import uvloop

from mailrelay import log, notify
from mailrelay.config import Config, load
from mailrelay.core.errors import BadConfig
from mailrelay.endpoint import Endpoint
from mailrelay.health import Health
from mailrelay.servers.status import Status
from mailrelay.store.changes import Follower

if TYPE_CHECKING:
    from mailrelay.wiring.runtime import Runtime

_MAIL_ROLES = frozenset({"policy", "lmtp", "worker"})


class Role(Protocol):
    """One role of a process. start raises BadConfig if it cannot listen; reload takes over what can change."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def reload(self, config: Config) -> None: ...
    def health(self) -> Mapping[str, str]: ...


def serve(path: Path, roles: Sequence[str]) -> None:
    """Run roles until SIGTERM or SIGINT; SIGHUP reads the configuration again. Raises BadConfig.

    The milter takes its processes over: alone it runs in this one, beside others in a child.
    """
    config = load(path)
    log.configure(config.log.level, config.log.format)
    if tuple(roles) == ("milter",):
        from mailrelay.wiring import milter

        milter.serve(path, config)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Process(path, config, roles).run())


class Process:
    """The roles of one process and what they share. Raises BadConfig before anything listens."""

    def __init__(self, path: Path, config: Config, names: Sequence[str]) -> None:
        self._path = path
        self._config = config
        self._names = tuple(names)
        self._runtime = _mail_runtime(config, names)
        self._follower = self._runtime.follower if self._runtime else _watch(config)
        self._roles = {name: self._make(name) for name in names}
        self._stopping = asyncio.Event()

    def _make(self, name: str) -> Role:
        if self._runtime is not None and name == "policy":
            from mailrelay.wiring.policy import PolicyRole

            return PolicyRole(self._config, self._runtime)
        if self._runtime is not None and name == "lmtp":
            from mailrelay.wiring.lmtp import LmtpRole

            return LmtpRole(self._config, self._runtime)
        if name == "api":
            from mailrelay.wiring.api import ApiRole

            return ApiRole(self._config, self._health("api"))
        if name == "milter":
            from mailrelay.wiring.child import ChildRole

            return ChildRole(self._path, name)
        assert self._runtime is not None  # _MAIL_ROLES has the worker
        from mailrelay.wiring.worker import WorkerRole

        return WorkerRole(self._config, self._runtime)

    def _health(self, name: str) -> Health:
        """A role's components, and the database's."""

        def health() -> Mapping[str, str]:
            database = "ok" if self._follower.connected.is_set() else "away, or changes are not announced"
            return {"database": database, **self._roles[name].health()}

        return health

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        async with AsyncExitStack() as stack:
            self._start_status(stack)
            if self._runtime is not None:
                await self._runtime.database.open()
                stack.push_async_callback(self._runtime.close)
            following = asyncio.create_task(self._follower.run(), name="changes")
            stack.push_async_callback(_cancel, following)
            await self._until_connected()
            await self._serve(stack)
            notify.stopping()
        log.logger().info("serve.stopped", roles=list(self._names))

    async def _serve(self, stack: AsyncExitStack) -> None:
        for role in self._roles.values():
            if not self._stopping.is_set():
                stack.push_async_callback(role.stop)
                await role.start()
        if not self._stopping.is_set():
            log.logger().info("serve.ready", roles=list(self._names))
            notify.ready(f"serving {', '.join(self._names)}")
            await asyncio.gather(notify.keep_watchdog(self._stopping), self._stopping.wait())

    async def _until_connected(self) -> None:
        """Nothing is answered before domains and bans are known."""
        waits = [asyncio.create_task(event.wait()) for event in (self._follower.connected, self._stopping)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _start_status(self, stack: AsyncExitStack) -> None:
        for name in self._names:
            endpoint = _status_endpoint(self._config, name)
            if endpoint is not None:
                status = Status()
                status.start(endpoint, self._health(name))
                stack.callback(status.stop)

    def _reload(self) -> None:
        """A configuration that cannot be used changes nothing."""
        notify.reloading()
        try:
            config = load(self._path)
            if self._runtime is not None:
                self._runtime.reload(config)
            for role in self._roles.values():
                role.reload(config)
        except BadConfig as error:
            log.logger().error("serve.reload_refused", problems=list(error.problems))
        except Exception:
            log.logger().exception("serve.reload_failed")
        else:
            log.configure(config.log.level, config.log.format)
            log.logger().info("serve.reloaded")
        notify.ready()


def _mail_runtime(config: Config, names: Sequence[str]) -> "Runtime | None":
    if _MAIL_ROLES.isdisjoint(names):
        return None
    from mailrelay.wiring.runtime import Runtime, new_cache

    return Runtime(config, ",".join(names), new_cache(config) if "policy" in names else None)


def _watch(config: Config) -> Follower:
    """For roles that hold nothing in memory: only whether the database is there."""

    async def restored() -> None: ...

    async def changed(_kind: str, _value: str) -> None: ...

    return Follower(config.database.dsn, restored, changed, lambda: None)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _status_endpoint(config: Config, role: str) -> Endpoint | None:
    """The api role answers on its own port, and the milter's child by itself."""
    return {
        "policy": config.policy.status,
        "lmtp": config.lmtp.status,
        "worker": config.worker.status,
    }.get(role)
