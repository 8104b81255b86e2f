"""CPU time and memory of processes, from /proc.

How CPU time is counted: a part of a system is a process and all its descendants (Postfix' master and its services,
PostgreSQL's postmaster and its backends, a role). For each living process we take utime + stime and also cutime +
cstime, which hold what its children had used when they ended and were waited for, and their children before them.
Postfix' master, the postmaster and the SRS daemon wait for their children, so nothing is missed and nothing counted
twice, as long as no process leaves its family. The kernel tells hundredths of a second for each process, rounded down;
over a run of seconds and some dozen processes the roundings cancel out to well below one per cent.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.sandbox.process import Trouble

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of /proc/PID/stat. ticks: of the process and of its children that are gone."""

    pid: int
    parent: int
    ticks: int

    @classmethod
    def parse(cls, line: str) -> "Stat":
        # The name stands in brackets and may hold anything, brackets too.
        fields = line.rpartition(")")[2].split()
        return cls(int(line.partition(" ")[0]), int(fields[1]), sum(map(int, fields[11:15])))


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


def cpu_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """What each part has used since it was started. roots: pid of each part.

    A child that ends after its parent was read and before it is read itself would be missed, so we look until
    two looks in a row find the same processes.
    """
    known: dict[str, list[int]] = {}
    for _ in range(50):
        found = families(_scan(), roots)
        pids = {name: sorted(stat.pid for stat in family) for name, family in found.items()}
        if pids == known:
            return {name: sum(stat.ticks for stat in family) / _TICKS for name, family in found.items()}
        known = pids
    raise Trouble("processes come and go too fast to be counted")


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds: of each part, and of programs that have nothing to do with the measurement."""

    parts: dict[str, float]
    foreign: float


class Watch:
    """Measures from the moment it is made. roots: pid of each part."""

    def __init__(self, roots: Mapping[str, int]) -> None:
        self._roots = dict(roots)
        self._parts = cpu_seconds(roots)
        self._machine, self._own = _machine_seconds(), _own_seconds()

    def used(self) -> Used:
        """What was used since then. Children of ours that still run and are no part count as foreign."""
        parts = {name: after - self._parts[name] for name, after in cpu_seconds(self._roots).items()}
        ours = sum(parts.values()) + _own_seconds() - self._own
        return Used(parts, max(0.0, _machine_seconds() - self._machine - ours))


def _own_seconds() -> float:
    """Of this process and its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _machine_seconds() -> float:
    """What all processors together have worked since the machine was started, for whomever."""
    user, nice, system, _, _, irq, softirq, *_ = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq))) / _TICKS


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
