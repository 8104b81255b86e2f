"""Processes and their memory, from /proc."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.sandbox.process import Trouble


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of /proc/PID/stat. CPU ticks: its own, and of children that ended and were waited for."""

    pid: int
    name: str
    parent: int
    own: int
    inherited: int

    @classmethod
    def parse(cls, line: str) -> "Stat":
        # The name stands in brackets and may hold anything, brackets too.
        head, _, rest = line.rpartition(") ")
        pid, _, name = head.partition(" (")
        fields = rest.split()
        utime, stime, cutime, cstime = map(int, fields[11:15])
        return cls(int(pid), name, int(fields[1]), utime + stime, cutime + cstime)


def _scan() -> dict[int, Stat]:
    """All processes of the machine, older ones first: a parent is read before its children."""
    found = {}
    for name in sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int):
        try:
            stat = Stat.parse(Path(f"/proc/{name}/stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[stat.pid] = stat
    return found


def families(stats: Mapping[int, Stat], roots: Mapping[str, int]) -> dict[str, list[Stat]]:
    """The processes of each root and below it. Raises Trouble for a root that is not there."""
    children: dict[int, list[Stat]] = {}
    for stat in stats.values():
        children.setdefault(stat.parent, []).append(stat)
    found = {}
    for name, root in roots.items():
        if root not in stats:
            raise Trouble(f"{name} (process {root}) ended while it was measured")
        family, todo = [], [stats[root]]
        while todo:
            stat = todo.pop()
            family.append(stat)
            todo += children.get(stat.pid, [])
        found[name] = family
    return found


def living(roots: Mapping[str, int]) -> dict[str, list[Stat]]:
    """The family of each root, the root first, as it is at one moment.

    A child that ends after its parent was read and before it is read itself would be missed, so we look until
    two looks in a row find the same processes.
    """
    known: dict[str, list[int]] = {}
    for _ in range(50):
        found = families(_scan(), roots)
        pids = {name: sorted(stat.pid for stat in family) for name, family in found.items()}
        if pids == known:
            return found
        known = pids
    raise Trouble("processes come and go too fast to be counted")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident octets. pss: pages that several processes share are divided among them; None where we may not read."""

    rss: int
    pss: int | None

    @classmethod
    def parse(cls, rollup: str) -> "Memory":
        """From /proc/PID/smaps_rollup."""
        sizes = {name: int(number) * 1024 for name, number in re.findall(r"(?m)^(Rss|Pss):\s+(\d+) kB", rollup)}
        return cls(sizes["Rss"], sizes.get("Pss"))


def memory(pid: int) -> Memory:
    """Of one process and its descendants."""
    found = []
    for stat in families(_scan(), {"process": pid})["process"]:
        try:
            found.append(Memory.parse(Path(f"/proc/{stat.pid}/smaps_rollup").read_text()))
        except PermissionError:
            pages = int(Path(f"/proc/{stat.pid}/statm").read_text().split()[1])
            found.append(Memory(pages * os.sysconf("SC_PAGE_SIZE"), None))
    return total(found)


def total(parts: Iterable[Memory]) -> Memory:
    """The sum; without a PSS if one part has none."""
    known = list(parts)
    shares = [part.pss for part in known if part.pss is not None]
    return Memory(sum(part.rss for part in known), sum(shares) if len(shares) == len(known) else None)
