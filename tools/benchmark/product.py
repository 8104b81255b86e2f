"""The product as deployed: a sandbox with one process for each role and the benchmark's aliases."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.benchmark import letter, population
from tools.benchmark.population import Population
from tools.benchmark.systems import FULL, PRODUCT, WATCHED, System, settings
from tools.sandbox import ports, world
from tools.sandbox.process import Trouble, wait_until
from tools.sandbox.sandbox import ROLES
from tools.sandbox.supervise import Service

ALL_IN_ONE = "all"
_DNS = "dns"  # the milter asks it
_AS_PLANNED = frozenset({"queued", "delivered"})
_DMARC = re.compile(r'^mailrelay_dmarc_results_total\{result="(\w+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to run it. mode: of its copies; banner: where they have it; overrides: sections of its settings."""

    key: str
    roles: tuple[str, ...]
    mode: str
    banner: str
    overrides: Mapping[str, Any]


SETUPS = {
    # Copies go out as they came; nobody looks at what comes in.
    PRODUCT: Setup(
        PRODUCT,
        tuple(role for role in ROLES if role != "milter"),
        mode="transparent",
        banner="off",
        overrides={
            "service": {"forward_mode": "transparent"},
            "milter": {"enabled": False},
            "worker": {"mail_log": ""},
        },
    ),
    FULL: Setup(
        FULL,
        ROLES,
        mode="rewrite",
        banner="top",
        overrides={
            "service": {"forward_mode": "rewrite"},
            "milter": {"enabled": True},
            "worker": {"mail_log": ""},
        },
    ),
    WATCHED: Setup(
        WATCHED,
        ROLES,
        mode="rewrite",
        banner="top",
        overrides={"service": {"forward_mode": "rewrite"}, "milter": {"enabled": True}},
    ),
}

# How often rules applied, and to how many messages of those who have some.
_APPLIED = """
    select (select coalesce(sum(applied), 0) from rule),
           (select count(*) from ledger where account_id in (select account_id from rule))
"""


class Product:
    """folder: gets the sandbox. keys: of the neighbours, whose domains its name server knows."""

    def __init__(
        self, setup: Setup, folder: Path, people: Sequence[Population], keys: Path, say: Callable[[str], None]
    ) -> None:
        self.setup = setup
        self.sandbox = world.up(folder, say, setup.overrides)
        self._run([])
        self.sandbox.places.zone.write_text(letter.zone_text(keys))
        for one in people:
            population.fill_product(self.sandbox.dsn, one, setup.banner)
        self.start()

    def start(self, names: tuple[str, ...] | None = None) -> None:
        """Run exactly these roles, freshly started, and return when they are well. `all`: all in one process."""
        names = names or self.setup.roles
        neighbours = [self.sandbox.service(_DNS)]
        self._run(neighbours)
        port = self.sandbox.memory.ports[_DNS]
        wait_until(lambda: ports.answers(port), "the name server to listen")
        self._run([*neighbours, *map(self.sandbox.service, names)])
        for role in ROLES if ALL_IN_ONE in names else names:
            self.sandbox.wait_healthy(role)

    def _run(self, services: list[Service]) -> None:
        supervised = self.sandbox.supervised
        before = {name for name in (*ROLES, ALL_IN_ONE) if supervised.pid(name) is not None}
        supervised.keep(services)
        gone = before - {service.name for service in services}
        wait_until(lambda: all(supervised.pid(name) is None for name in gone), "the roles to stop")

    def pids(self, names: tuple[str, ...] | None = None) -> dict[str, int]:
        """Raises Trouble if one does not run."""
        found = {name: self.sandbox.supervised.pid(name) for name in names or self.setup.roles}
        missing = [name for name, pid in found.items() if pid is None]
        if missing:
            raise Trouble(f"not running: {', '.join(missing)}; see {self.sandbox.places.log}")
        return {name: pid for name, pid in found.items() if pid is not None}

    def join(self, sink_port: int) -> System:
        """Its Postfix, which `mailrelay adopt` has joined already, sends to the sink instead of the sandbox's world."""
        postfix = self.sandbox.postfix
        if bool(postfix.get("smtpd_milters")) != ("milter" in self.setup.roles):
            raise Trouble(f"{self.setup.key}: adopt set smtpd_milters = {postfix.get('smtpd_milters')}")
        wanted = {name: value for name, value in settings(sink_port).items() if postfix.get(name) != value}
        if wanted:
            postfix.postconf("-e", *(f"{name}={value}" for name, value in wanted.items()))
            postfix.stop()
            postfix.start()
        return System(self.setup.key, self.sandbox.memory.ports["smtp"], postfix, self.parts)

    def parts(self) -> dict[str, int]:
        """The pid of each role and of PostgreSQL."""
        postgres = self.sandbox.postgres.pid
        if postgres is None:
            raise Trouble(f"PostgreSQL does not run; see {self.sandbox.postgres.log}")
        return {**self.pids(), "postgresql": postgres}

    def check_books(self) -> None:
        """Raises Trouble unless all mail went the way that was to be measured, by the product's own account."""
        rows = self.sandbox.query("select outcome, coalesce(mode, ''), count(*) from ledger group by 1, 2")
        others = [row for row in rows if row[0] not in _AS_PLANNED or row[1] != self.setup.mode]
        if others or not rows:
            raise Trouble(f"{self.setup.key}: in the ledger is what should not be, or nothing: {others}")
        ((applied, due),) = self.sandbox.query(_APPLIED)
        if int(applied) != int(due) * population.MATCHING:
            raise Trouble(f"{self.setup.key}: rules applied {applied} times, and not {population.MATCHING} times {due}")
        if "milter" in self.setup.roles:
            found = {result for result, count in _DMARC.findall(self.sandbox.metrics("milter")) if float(count)}
            if found != {"pass"}:
                raise Trouble(f"{self.setup.key}: DMARC results were {', '.join(sorted(found)) or 'none'}")
