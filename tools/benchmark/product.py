"""The product as deployed: the sandbox's, one process for each role, with the benchmark's aliases."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.benchmark import population, profiling
from tools.benchmark.population import Population
from tools.benchmark.systems import PRODUCT, System, settings
from tools.sandbox import world
from tools.sandbox.places import CHECKOUT
from tools.sandbox.process import Trouble, wait_until
from tools.sandbox.sandbox import DATABASE, ROLES
from tools.sandbox.supervise import Service

# A release that rewrites would do other work; the targets are those of the transparent mode.
_OVERRIDES = {"service": {"forward_mode": "transparent"}}
ALL_IN_ONE = "all"


class Product:
    """folder: gets the sandbox."""

    def __init__(self, folder: Path, people: Population, profile: str | None, say: Callable[[str], None]) -> None:
        self.profile = profile
        self.sandbox = world.up(folder, say, _OVERRIDES)
        self._run([])
        population.fill_product(self.sandbox.dsn, people)
        self.start(ROLES)

    @property
    def profile_file(self) -> Path:
        """Where the profiled role leaves its figures when it ends."""
        return self.sandbox.places.root / "profile.pstats"

    def start(self, names: tuple[str, ...]) -> None:
        """Run exactly these roles, freshly started, and return when they are well. `all`: all in one process."""
        self._run([])
        self._run([self._service(name) for name in names])
        for role in ROLES if ALL_IN_ONE in names else names:
            self.sandbox.wait_healthy(role)

    def _run(self, services: list[Service]) -> None:
        before = {name for name in (*ROLES, ALL_IN_ONE) if self.sandbox.supervised.pid(name) is not None}
        self.sandbox.supervised.keep(services)
        gone = before - {service.name for service in services}
        wait_until(lambda: all(self.sandbox.supervised.pid(name) is None for name in gone), "the roles to stop")

    def _service(self, name: str) -> Service:
        argv = [str(Path(sys.executable).with_name("mailrelay")), "serve", name]
        if name == self.profile:
            argv = profiling.command(self.profile_file, argv)
        places = self.sandbox.places
        environment = {
            "MAILRELAY_CONFIG": str(places.config),
            "PYTHONPATH": os.environ.get("PYTHONPATH", str(CHECKOUT)),
        }
        return Service(name, argv, str(places.log / f"{name}.log"), environment)

    def pids(self, names: tuple[str, ...] = ROLES) -> dict[str, int]:
        """Raises Trouble if one does not run."""
        found = {name: self.sandbox.supervised.pid(name) for name in names}
        missing = [name for name, pid in found.items() if pid is None]
        if missing:
            raise Trouble(f"not running: {', '.join(missing)}; see {self.sandbox.places.log}")
        return {name: pid for name, pid in found.items() if pid is not None}

    def join(self, sink_port: int) -> System:
        """Its Postfix, which `mailrelay adopt` has joined already, sends to the sink instead of the sandbox's world."""
        postfix = self.sandbox.postfix
        wanted = {name: value for name, value in settings(sink_port).items() if postfix.get(name) != value}
        postfix.postconf("-e", *(f"{name}={value}" for name, value in wanted.items()))
        postfix.stop()
        postfix.start()
        return System(PRODUCT, self.sandbox.memory.ports["smtp"], postfix, self._helpers)

    def _helpers(self) -> Mapping[str, int]:
        postgres = self.sandbox.postgres.pid
        if postgres is None:
            raise Trouble(f"PostgreSQL does not run; see {self.sandbox.postgres.log}")
        return {**self.pids(), "postgresql": postgres}

    def outcomes(self) -> dict[str, int]:
        """How many rows of the ledger have which outcome."""
        rows = self.sandbox.postgres.query("select outcome, count(*) from ledger group by 1", DATABASE)
        return {name: int(count) for name, count in (line.split("|") for line in rows.splitlines())}
