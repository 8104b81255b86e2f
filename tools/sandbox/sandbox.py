"""One sandbox: its parts, started and stopped together, and what one can ask of them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.sandbox import dns, ports, zone
from tools.sandbox.places import CHECKOUT, Places, prepare, remove_run
from tools.sandbox.postfix import Instance
from tools.sandbox.postgres import Cluster
from tools.sandbox.process import Trouble, wait_until
from tools.sandbox.sender import Mailer
from tools.sandbox.supervise import Service, Supervised

ROLES = ("policy", "milter", "lmtp", "api", "worker")
DATABASE = "mailrelay"
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is not the proxy's business
_NEIGHBOURHOOD = ("dns", "outside")
_PORTS = (
    *("smtp", "submit", "outside", "dns"),
    *("policy", "socketmap", "policy_status", "milter_status", "lmtp", "lmtp_status", "api", "worker_status"),
)


@dataclass(slots=True)
class Memory:
    """What a later command must know: ports by purpose, credentials by kind."""

    ports: dict[str, int] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CliResult:
    """How a mailrelay command ended."""

    code: int
    out: str
    remarks: str

    def json(self) -> Any:
        """The result of a command that ran with --json."""
        return json.loads(self.out)


class Sandbox:
    """root: its folder, made if it is missing. hasty: PostgreSQL need not wait for the disk."""

    def __init__(self, root: Path, hasty: bool = False) -> None:
        self.places: Places = prepare(root)
        self.memory = self._remember()
        self.postgres = Cluster(self.places.postgres, hasty)
        self.postfix = Instance(self.places.postfix)
        self.supervised = Supervised(self.places.control, self.places.log)

    # --- what it knows ---------------------------------------------------------------------------------------------

    def _remember(self) -> Memory:
        path = self.places.memory
        if path.exists():
            return Memory(**json.loads(path.read_text()))
        return Memory(ports=dict(zip(_PORTS, ports.pick(len(_PORTS)), strict=True)))

    def note(self) -> None:
        """Keep the memory for later commands."""
        temporary = self.places.memory.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_text(
            json.dumps({"ports": self.memory.ports, "credentials": self.memory.credentials}, indent=1) + "\n"
        )
        temporary.rename(self.places.memory)

    def address(self, purpose: str) -> str:
        """`127.0.0.1:PORT` of a listener."""
        return f"127.0.0.1:{self.memory.ports[purpose]}"

    @property
    def dsn(self) -> str:
        return self.postgres.dsn(DATABASE)

    @property
    def http(self) -> str:
        """Base URL of the api role."""
        return f"http://{self.address('api')}"

    @property
    def status_urls(self) -> dict[str, str]:
        """Base URL of each role's /healthz and /metrics."""
        found = {role: f"http://{self.address(f'{role}_status')}" for role in ROLES if role != "api"}
        return {role: self.http if role == "api" else found[role] for role in ROLES}

    @property
    def mailer(self) -> Mailer:
        return Mailer(("127.0.0.1", self.memory.ports["smtp"]), self.places.keys)

    # --- the product -----------------------------------------------------------------------------------------------

    def cli(self, *arguments: str, stdin: str = "", expect: int | None = 0) -> CliResult:
        """Run a mailrelay command with this sandbox's settings. Raises Trouble if it ends unlike `expect`."""
        done = subprocess.run(
            [*_product(), *arguments],
            env={**os.environ, "MAILRELAY_CONFIG": str(self.places.config)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if expect is not None and done.returncode != expect:
            said = done.stderr.strip() or done.stdout.strip() or "it said nothing"
            raise Trouble(f"`mailrelay {' '.join(arguments)}` ended with status {done.returncode}:\n{said}")
        return CliResult(done.returncode, done.stdout, done.stderr)

    def query(self, sql: str) -> list[list[str]]:
        """Rows of a statement on the product's database, every value as psql writes it."""
        return self.postgres.rows(sql, DATABASE)

    def healthy(self, role: str) -> bool:
        """Whether /healthz of the role says that all is well."""
        return self.health(role)[0] == 200

    def health(self, role: str) -> tuple[int, str]:
        """Status and body of /healthz; status 0 if nobody answers."""
        try:
            with _DIRECTLY.open(f"{self.status_urls[role]}/healthz", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metrics(self, role: str) -> str:
        """The text of /metrics."""
        with _DIRECTLY.open(f"{self.status_urls[role]}/metrics", timeout=10) as response:
            text: bytes = response.read()
        return text.decode()

    # --- starting and stopping -------------------------------------------------------------------------------------

    def start_neighbourhood(self) -> None:
        """Name server and outside world; returns when both answer."""
        self._keep(_NEIGHBOURHOOD)
        for name in _NEIGHBOURHOOD:
            port = self.memory.ports[name]
            wait_until(lambda port=port: ports.answers(port), f"{name} to listen; see {self.places.log / name}.log")  # type: ignore[misc]

    def start_roles(self) -> None:
        """All roles, beside the neighbourhood; returns when each says that it is well."""
        self._keep((*_NEIGHBOURHOOD, *ROLES))
        for role in ROLES:
            self.wait_healthy(role)

    def wait_healthy(self, role: str, seconds: float = 60.0) -> None:
        """Return when the role says that it is well. Raises Trouble with its log if that takes too long."""
        try:
            wait_until(lambda: self.healthy(role), f"the role {role} to be healthy", seconds)
        except Trouble as error:
            log = self.places.log / f"{role}.log"
            tail = log.read_text(errors="replace")[-3000:] if log.exists() else ""
            raise Trouble(f"{error}; it answers {self.health(role)}; the end of {log}:\n{tail}") from error

    def stop(self) -> None:
        """Everything, Postfix first so that no new work arrives. What is queued stays queued."""
        self.postfix.stop()
        self.supervised.stop()
        self.postgres.stop()

    def discard(self) -> None:
        """Stop everything and delete the folder, wherever its parts are."""
        self.stop()
        remove_run(self.places.run)
        shutil.rmtree(self.places.root)

    def states(self) -> dict[str, str]:
        """Each part and how it is: `running`, `stopped`, or what a role complains about."""
        found = {name: _running(self.supervised.pid(name)) for name in _NEIGHBOURHOOD}
        found["postgresql"] = _running(self.postgres.pid)
        found["postfix"] = _running(self.postfix.pid)
        for role in ROLES:
            code, body = self.health(role)
            found[role] = _running(self.supervised.pid(role)) if code in (0, 200) else f"unwell: {body.strip()}"
        return found

    def _keep(self, names: tuple[str, ...]) -> None:
        services = [self.service(name) for name in names]
        self.supervised.keep(services)

    def service(self, name: str) -> Service:
        """How a part that is supervised is run: the name server, the outside world, a role."""
        here = {"PYTHONPATH": str(CHECKOUT)}
        places, log = self.places, str(self.places.log / f"{name}.log")
        if name == "dns":
            arguments = [str(places.zone), str(self._zone_notice), str(self.memory.ports["dns"])]
            return Service(name, [sys.executable, "-m", "tools.sandbox.dns", *arguments], log, here)
        if name == "outside":
            arguments = [str(places.outside), str(self.memory.ports["outside"])]
            return Service(name, [sys.executable, "-m", "tools.sandbox.outside", *arguments], log, here)
        return Service(name, [*_product(), "serve", name], log, {"MAILRELAY_CONFIG": str(places.config)})

    # --- the zone --------------------------------------------------------------------------------------------------

    @property
    def _zone_notice(self) -> Path:
        return self.places.control / "zone.serving"

    def reload_dns(self) -> None:
        """Serve the zone file as it is now. Raises Trouble if it does not parse or nobody serves it."""
        text = self.places.zone.read_text()
        try:
            dns.parse_zone(text)
        except ValueError as error:
            raise Trouble(f"{self.places.zone}: {error}; the old zone stays in force") from error
        wanted = dns.fingerprint(text)
        if self.supervised.signal("dns", signal.SIGHUP) is None:
            raise Trouble("the name server does not run: start the sandbox first")
        wait_until(lambda: self._zone_notice.read_text() == wanted, "the name server to serve the zone", 10)

    def publish_keys(self) -> None:
        """Put the product's DKIM keys into the zone."""
        text = self.places.zone.read_text()
        new = zone.with_product_keys(text, self.places.dkim)
        if new != text:
            self.places.zone.write_text(new)
            self.reload_dns()


def _product() -> list[str]:
    """The mailrelay command of the environment that we run in."""
    command = Path(sys.executable).with_name("mailrelay")
    if not command.exists():
        raise Trouble(f"{command} is missing: the project is not installed in this environment; run tools/quickstart")
    return [str(command)]


def _running(pid: int | None) -> str:
    return "stopped" if pid is None else "running"
