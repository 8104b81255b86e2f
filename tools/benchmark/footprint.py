"""Resident memory of the roles."""

import time
from dataclasses import dataclass

from tools.benchmark.processes import Memory, memory, total
from tools.benchmark.product import ALL_IN_ONE, Product
from tools.sandbox.sandbox import ROLES

IDLE = "idle, a process for each role"
_SETTLE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """of: what the roles had done. roles: memory of each process."""

    of: str
    roles: dict[str, Memory]

    @property
    def total(self) -> Memory:
        return total(self.roles.values())


def now(product: Product, of: str, names: tuple[str, ...] | None = None) -> Footprint:
    """As it is at this moment. names: of the processes; None: one for each role."""
    return Footprint(of, {name: memory(pid) for name, pid in product.pids(names).items()})


def idle(product: Product) -> list[Footprint]:
    """A process for each role, and one process for all, each freshly started. The roles run as before afterwards."""
    found = []
    for of, names in ((IDLE, ROLES), ("idle, one process for all", (ALL_IN_ONE,))):
        product.start(names)
        time.sleep(_SETTLE_SECONDS)
        found.append(now(product, of, names))
    product.start()
    return found
