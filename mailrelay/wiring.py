"""Puts the parts together: the only place that knows everybody."""

import asyncio
import secrets
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from mailrelay import log, notify
from mailrelay.clients.submit import Submitter
from mailrelay.config import Config, load
from mailrelay.core.bounce import Bounce
from mailrelay.core.errors import BadConfig
from mailrelay.core.realm import Realm
from mailrelay.core.screen import RcptRequest
from mailrelay.endpoint import Endpoint
from mailrelay.flows.admit import Admission
from mailrelay.flows.deliver import Delivery
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.retain import Retention
from mailrelay.runtime import Runtime, new_cache, utc_now
from mailrelay.servers.listen import listen
from mailrelay.servers.lmtp import LmtpServer
from mailrelay.servers.policy import PolicySession
from mailrelay.servers.socketmap import SocketmapSession
from mailrelay.servers.status import Status
from mailrelay.store.newalias import AliasMaker
from mailrelay.store.retention import RetentionStore
from mailrelay.wire import report, socketmap
from mailrelay.wire.policy import PolicyRequest

TRANSPORT = "mailrelay"  # the service in master.cf that talks LMTP to us


class Role(Protocol):
    """One role of a process. start raises BadConfig if it cannot listen."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def health(self) -> Mapping[str, str]: ...


class PolicyRole:
    """Policy delegation and socketmap."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        assert runtime.memory.cache is not None
        self._config = config
        self._runtime = runtime
        self._admission = Admission(runtime.rules, runtime.memory.cache, runtime.read_facts, runtime.ledger, utc_now)
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        admission, transport = self._admission, transport_to(self._config.lmtp.listen)

        def policy() -> PolicySession:
            return PolicySession(
                lambda request: _admit_now(admission, request), lambda request: _admit_later(admission, request)
            )

        def maps() -> SocketmapSession:
            return SocketmapSession(lambda lookup: answer_map(lookup, self._runtime.rules.around.realm, transport))

        self._servers.append(await listen(policy, self._config.policy.listen))
        self._servers.append(await listen(maps, self._config.policy.socketmap))

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        await self._admission.drain()

    def health(self) -> Mapping[str, str]:
        return self._runtime.health()


def _rcpt_request(request: PolicyRequest) -> RcptRequest:
    return RcptRequest(
        sender=request.sender,
        rcpt=request.recipient,
        client=request.client_address,
        instance=request.instance,
        authenticated=bool(request.sasl_username),
    )


def _admit_now(admission: Admission, request: PolicyRequest) -> str | None:
    return admission.at_once(_rcpt_request(request)) if request.protocol_state == "RCPT" else "DUNNO"


async def _admit_later(admission: Admission, request: PolicyRequest) -> str:
    return await admission.by_database(_rcpt_request(request))


def transport_to(lmtp: Endpoint) -> str:
    """What Postfix' transport map says for our domains."""
    return f"{TRANSPORT}:{lmtp.postfix}"


def answer_map(lookup: socketmap.Lookup, realm: Realm, transport: str) -> socketmap.Reply:
    """The maps that Postfix asks: which domains are ours, that all their addresses may exist, and where they go."""
    # Postfix looks a transport up by address, domain and `.parent`; only whole domains are ours.
    domain = lookup.key.rpartition("@")[2]
    ours = realm.locate_text(domain) is not None if domain and not domain.startswith(".") else False
    match lookup.map:
        case "domain":
            return socketmap.Ok(domain) if ours and "@" not in lookup.key else socketmap.NotFound()
        case "recipient":
            return socketmap.Ok(lookup.key) if ours and "@" in lookup.key else socketmap.NotFound()
        case "transport":
            return socketmap.Ok(transport) if ours else socketmap.NotFound()
        case _:
            return socketmap.Perm(f"no map {lookup.map}; there are domain, recipient and transport")


class LmtpRole:
    """The delivery of forwarded mail."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self._endpoint = config.lmtp.listen
        self._runtime = runtime
        self._submitter = Submitter(
            config.submit.address,
            config.service.hostname,
            config.submit.connections,
            config.submit.timeout_seconds,
        )
        dispatcher = Dispatcher(
            runtime.rules, runtime.ledger, self._submitter.submit, runtime.dkim, lambda: secrets.randbits(64)
        )
        delivery = Delivery(
            runtime.rules,
            runtime.read_facts,
            runtime.ledger,
            AliasMaker(runtime.database),
            dispatcher,
            read_report,
            utc_now,
            config.lmtp.timeout_seconds,
        )
        self._server = LmtpServer(
            delivery,
            hostname=config.service.hostname,
            message_octets=config.limits.message_octets,
            sessions=config.lmtp.sessions,
            timeout_seconds=300.0,
        )

    async def start(self) -> None:
        await self._server.start(self._endpoint)

    async def stop(self) -> None:
        await self._server.stop()
        self._submitter.close()

    def health(self) -> Mapping[str, str]:
        return {**self._runtime.health(), "re-injection": self._submitter.trouble or "ok"}


def read_report(content: bytes) -> Bounce | None:
    """What a delivery report says about the one copy that its return path names."""
    status = report.delivery_status(content)
    if status is None:
        return None
    entries = sorted(status.recipients, key=lambda entry: entry.action != "failed")
    if not entries:
        return Bounce(failed=False, status="", text="")
    return Bounce(entries[0].action == "failed", entries[0].status, entries[0].diagnostic_code)


class ApiRole:
    """HTTP."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        from mailrelay.api import app, server

        self._runtime = runtime
        self._server = server.serve(app.build(self.health), config.api.listen)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    def health(self) -> Mapping[str, str]:
        return self._runtime.health()


class WorkerRole:
    """Timers."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self._retention = Retention(RetentionStore(config.database.dsn), config.worker, utc_now)
        self._runtime = runtime
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._retention.run(self._stop), name="retention")

    async def stop(self) -> None:
        self._stop.set()
        if self._task is not None:
            await self._task

    def health(self) -> Mapping[str, str]:
        return {**self._runtime.health(), "retention": self._retention.health}


_ROLES: Mapping[str, type[PolicyRole | LmtpRole | ApiRole | WorkerRole]] = {
    "policy": PolicyRole,
    "lmtp": LmtpRole,
    "api": ApiRole,
    "worker": WorkerRole,
}


def _status_endpoint(config: Config, role: str) -> Endpoint | None:
    return {
        "policy": config.policy.status,
        "lmtp": config.lmtp.status,
        "worker": config.worker.status,
    }.get(role)


def serve(path: Path, roles: Sequence[str]) -> None:
    """Run roles until SIGTERM or SIGINT; SIGHUP reads the configuration again. Raises BadConfig."""
    config = load(path)
    log.configure(config.log.level, config.log.format)
    asyncio.run(_serve(path, config, roles))


async def _serve(path: Path, config: Config, names: Sequence[str]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    runtime = Runtime(config, ",".join(names), new_cache(config) if "policy" in names else None)
    loop.add_signal_handler(signal.SIGHUP, lambda: _reload(path, runtime))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runtime.stop)
        roles = {name: _ROLES[name](config, runtime) for name in names}
        _start_status(config, roles, stack)
        await runtime.start(stopping)
        for role in roles.values():
            if not stopping.is_set():
                stack.push_async_callback(role.stop)
                await role.start()
        if not stopping.is_set():
            log.logger().info("serve.ready", roles=list(names))
            notify.ready(f"serving {', '.join(names)}")
            watchdog = asyncio.create_task(notify.keep_watchdog(stopping))
            await stopping.wait()
            await watchdog
        notify.stopping()
    log.logger().info("serve.stopped", roles=list(names))


def _start_status(config: Config, roles: Mapping[str, Role], stack: AsyncExitStack) -> None:
    for name, role in roles.items():
        endpoint = _status_endpoint(config, name)
        if endpoint is not None:
            status = Status()
            status.start(endpoint, role.health)
            stack.callback(status.stop)


def _reload(path: Path, runtime: Runtime) -> None:
    """A configuration that cannot be used changes nothing."""
    notify.reloading()
    try:
        config = load(path)
        runtime.reload(config)
    except BadConfig as error:
        log.logger().error("serve.reload_refused", problems=list(error.problems))
    else:
        log.configure(config.log.level, config.log.format)
        log.logger().info("serve.reloaded")
    notify.ready()


async def explain(config: Config, sender: str, rcpt: str, client: str, content: bytes | None) -> list[tuple[str, str]]:
    """What would become of a message: (check, finding) in order. Raises BadConfig, Unavailable."""
    from mailrelay.flows.explain import Explanation

    log.configure("warning", "text")
    runtime = Runtime(config, "explain", None)
    await runtime.database.open()
    try:
        await runtime.memory.reload()
        explanation = Explanation(runtime.rules, runtime.read_facts, runtime.ledger, utc_now)
        request = RcptRequest(sender, rcpt, client, instance="", authenticated=False)
        return await explanation.explain(request, content)
    finally:
        await runtime.database.close()
