"""The milter role: a parent with the socket, and processes that each run libmilter and an event loop beside it."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread
from typing import NoReturn, TypeVar

import uvloop
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from mailrelay import log, notify
from mailrelay.clients.reach import ContactDomains
from mailrelay.clients.resolver import Resolver
from mailrelay.clients.spf import check_spf
from mailrelay.config import Config, load
from mailrelay.core.errors import BadConfig, Unavailable
from mailrelay.core.findings import Findings
from mailrelay.core.header import Message
from mailrelay.core.sending.contact import Reach
from mailrelay.endpoint import Endpoint
from mailrelay.flows.authenticate import Authenticator, Client
from mailrelay.flows.examine import Examination, Examined
from mailrelay.flows.recipients import Arrival, Recipients
from mailrelay.health import exposition
from mailrelay.servers.listen import clear_the_way
from mailrelay.servers.status import Status
from mailrelay.store.preferences import PreferencesReader
from mailrelay.wiring import copies
from mailrelay.wiring.examine import trusted
from mailrelay.wiring.prefork import Prefork
from mailrelay.wiring.runtime import Runtime, utc_now
from mailrelay.wiring.samples import merged
from mailrelay.wiring.suffixes import organisational_domains

try:
    from mailrelay.servers.milter import MilterServer, listen
except ImportError as error:
    raise BadConfig((f"the milter role needs pymilter ({error}): pip install 'mailrelay[milter]'",)) from error

_BACKLOG = 128
_FOLDER_MODE = 0o711
# Whoever can enter the folder may connect, as with our other sockets.
_SOCKET_MODE = 0o666
_FINISH_SECONDS = 10.0
_OBEY_SECONDS = 10.0
_LAST_WORD_SECONDS = 0.1  # libmilter writes an answer after the callback that gave it
_T = TypeVar("_T")


def serve(path: Path, config: Config) -> None:
    """Run the role until SIGTERM or SIGINT; SIGHUP reads the configuration again. Raises BadConfig."""
    worker = Worker(path, config)

    def reload() -> bool:
        try:
            worker.take_over(load(path))
        except BadConfig as error:
            log.logger().error("serve.reload_refused", problems=list(error.problems))
            return False
        return True

    count = config.milter.processes or os.cpu_count() or 1
    prefork = Prefork(count, worker.run, reload)
    registry = CollectorRegistry()
    registry.register(_Together(prefork))
    status = Status()
    socket = _Socket(config.milter.listen)
    worker.server.register()
    socket.open()
    status.start(config.milter.status, prefork.health, registry)

    def ready() -> None:
        socket.show()
        log.logger().info("serve.ready", roles=["milter"], processes=count)
        notify.ready(f"serving milter with {count} processes")

    try:
        prefork.run(ready)
    finally:
        socket.close()
        status.stop()
        log.logger().info("serve.stopped", roles=["milter"])


class _Together(Collector):
    """The metrics of all processes, the parent's memory and processor time included."""

    def __init__(self, prefork: Prefork) -> None:
        self._prefork = prefork

    def collect(self) -> Iterator[Metric]:
        reports, _ = self._prefork.reports()
        yield from merged([report.metrics for report in reports], parent=exposition("")[1].decode())


class _Socket:
    """The listening socket, which libmilter opens and whose name is ours.

    libmilter would remove the name whenever one of its processes ends, so it knows a passing one only.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._path = Path(endpoint.path)
        self._passing = self._path.with_name(f".{os.getpid()}")

    def open(self) -> None:
        """Listen, unseen if it is a unix socket. Raises BadConfig."""
        try:
            if self._endpoint.path:
                self._make_way()
                address = f"unix:{self._passing}"
            else:
                family = "inet6" if ":" in self._endpoint.host else "inet"
                address = f"{family}:{self._endpoint.port}@{self._endpoint.host}"
            listen(address, _BACKLOG)
            if self._endpoint.path:
                self._passing.chmod(_SOCKET_MODE)
        except OSError as error:
            raise BadConfig((f"{self._endpoint}: cannot listen there: {error.strerror or error}",)) from error

    def _make_way(self) -> None:
        if not self._path.parent.exists():
            self._path.parent.mkdir(_FOLDER_MODE)
            self._path.parent.chmod(_FOLDER_MODE)
        clear_the_way(str(self._path))
        self._passing.unlink(missing_ok=True)
        if not os.access(self._path.parent, os.W_OK | os.X_OK):
            raise PermissionError(0, f"this user cannot write to {self._path.parent}")

    def show(self) -> None:
        """From now on Postfix finds it."""
        if self._endpoint.path:
            self._passing.rename(self._path)

    def close(self) -> None:
        """Nobody finds it any more."""
        if self._endpoint.path:
            for path in (self._passing, self._path):
                path.unlink(missing_ok=True)


class Worker:
    """What each process does. Made in the parent, where it shows whether all secrets are there; run after the fork."""

    def __init__(self, path: Path, config: Config) -> None:
        self._path = path
        self._config = config
        self._runtime = Runtime(config, "milter", None)
        self._authenticator: Authenticator | None = None
        self._domains: ContactDomains | None = None
        self._examination = Examination(
            self._runtime.rules,
            trusted(config),
            self._authenticate,
            Recipients(
                self._runtime.rules,
                self._runtime.read_facts,
                self._runtime.ruling,
                self._runtime.clearance(self._reach),
                copies.leak_test(config, self._runtime),
                utc_now,
            ),
            PreferencesReader(self._runtime.database).read,
            self._runtime.count_rules,
            self._runtime.ledger,
            self._runtime.post,
            utc_now,
            config.milter.timeout_seconds,
        )
        self.server = MilterServer(
            self._ask,
            self._examination.is_ours,
            self._examination.is_in_our_name,
            lambda: self._runtime.rules.message_octets,
            config.milter.spam.macro,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = Event()

    def take_over(self, config: Config) -> None:
        """What can change while it runs. Raises BadConfig. In the parent it is for workers to come."""
        self._runtime.reload(config)
        self._examination.trusted = trusted(config)
        self._examination.timeout_seconds = config.milter.timeout_seconds
        self._config = config
        log.configure(config.log.level, config.log.format)

    # --- in the worker's process -----------------------------------------------------------------------------------

    def run(self, pipe: Connection) -> NoReturn:
        """Serve until the pipe ends or a signal comes."""
        Thread(target=self._run_loop, name="loop", daemon=True).start()
        Thread(target=self._obey, args=(pipe,), name="parent", daemon=True).start()
        self._ready.wait()
        pipe.send_bytes(b"ready")
        self.server.run()
        self._wind_up()

    def _run_loop(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except Exception:
            log.logger().exception("worker.failed")
        finally:
            os._exit(70)  # without it nobody is answered

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        resolver = Resolver(self._config.dns.nameservers)
        self._domains = ContactDomains(resolver)
        self._authenticator = Authenticator(resolver, check_spf, organisational_domains())
        await self._runtime.database.open()
        following = asyncio.create_task(self._runtime.follower.run(), name="changes")
        # Before the domains are known, nobody could tell whose mail is ours.
        await self._runtime.follower.connected.wait()
        self._ready.set()
        await following

    async def _authenticate(self, message: Message, client: Client, author_domain: str, now: int) -> Findings:
        assert self._authenticator is not None  # made before anything was answered
        return await self._authenticator.authenticate(message, client, author_domain, now)

    async def _reach(self, domain: str, /) -> Reach:
        assert self._domains is not None  # made with the other
        return await self._domains(domain)

    def _ask(self, arrival: Arrival) -> Examined:
        """From libmilter's threads into the event loop and back."""
        return self._await(self._submit(arrival), self._config.milter.timeout_seconds + 5)

    def _submit(self, arrival: Arrival) -> "Future[Examined]":
        return asyncio.run_coroutine_threadsafe(self._examination(arrival), self._running)

    @property
    def _running(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None  # made before the parent was told that this worker is ready
        return self._loop

    @staticmethod
    def _await(future: "Future[_T]", seconds: float) -> _T:
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise

    def _obey(self, pipe: Connection) -> None:
        """What the parent says; its silence for ever means the end."""
        while True:
            try:
                command, _, number = pipe.recv_bytes().decode().partition(" ")
            except (EOFError, OSError):
                self._wind_up()
            if command == "reload":
                self._reload()
            elif command == "status":
                report = {"metrics": exposition("")[1].decode(), "health": self._health()}
                pipe.send_bytes(f"{number} {json.dumps(report)}".encode())

    def _reload(self) -> None:
        """It was good when the parent read it, but may not be any more."""
        try:
            self._await(
                asyncio.run_coroutine_threadsafe(self._take_over(load(self._path)), self._running), _OBEY_SECONDS
            )
        except BadConfig as error:
            log.logger().error("serve.reload_refused", problems=list(error.problems))
        except Exception:  # whatever it is, the parent has to be heard further
            log.logger().exception("serve.reload_failed")
        else:
            log.logger().info("serve.reloaded")

    async def _take_over(self, config: Config) -> None:
        self.take_over(config)

    def _health(self) -> dict[str, str]:
        connected = self._runtime.follower.connected.is_set()
        return {"database": "ok" if connected else "away, or changes are not announced"}

    def _wind_up(self) -> NoReturn:
        """Finish what is at hand and go, without libmilter's own farewell, which can take seconds.

        It sleeps in the main thread, whose server has ended, or in the one that listens to the parent: messages are
        examined in others.
        """
        deadline = time.monotonic() + _FINISH_SECONDS
        while self.server.busy and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(_LAST_WORD_SECONDS)
        if self._loop is not None:
            try:
                self._await(asyncio.run_coroutine_threadsafe(self._finish(), self._loop), deadline - time.monotonic())
            except (TimeoutError, Unavailable):
                log.logger().warning("message.not_noted")
        os._exit(0)

    async def _finish(self) -> None:
        await self._examination.drain()
        await self._runtime.database.close()
