"""CPU time of a system's parts.

A part is a process and all its descendants: Postfix' master and its services, PostgreSQL's postmaster and its backends,
a role. For each living process we take utime + stime from /proc/PID/stat, and also cutime + cstime, which hold what its
children had used when they ended and were waited for, and their children before them. Postfix' master, the postmaster
and the SRS daemon wait for their children, so nothing is missed and nothing counted twice, as long as no process leaves
its family. The kernel tells hundredths of a second for each process, rounded down; over a run of seconds and some dozen
processes the roundings cancel out to well below one per cent.
"""

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.benchmark.processes import Stat, living

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK_SECONDS = 1.0
_NEW = Stat(0, "", 0, 0, 0)
ENDED = "(ended)"


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds: of each part, of the programs of each part, and of what has nothing to do with the measurement."""

    parts: dict[str, float]
    programs: dict[str, dict[str, float]]
    foreign: float


class Watch:
    """Measures from the moment it is made. roots: pid of each part."""

    def __init__(self, roots: Mapping[str, int]) -> None:
        self._roots = dict(roots)
        self._before = living(roots)
        self._gone: dict[str, dict[int, Stat]] = {part: {} for part in roots}
        self._looked = time.monotonic()
        self._machine, self._own = _machine_seconds(), _own_seconds()

    def look(self) -> None:
        """To be called now and then, so that processes that end meanwhile are known by name."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._note(living(self._roots))
            self._looked = time.monotonic()

    def _note(self, now: Mapping[str, Sequence[Stat]]) -> None:
        for part, family in now.items():
            self._gone[part].update((stat.pid, stat) for stat in family)

    def used(self) -> Used:
        """What was used since the beginning. Children of ours that still run and are no part count as foreign."""
        after = living(self._roots)
        programs = {
            part: programs_of(self._before[part], list(self._gone[part].values()), family)
            for part, family in after.items()
        }
        parts = {part: sum(spent.values()) for part, spent in programs.items()}
        ours = sum(parts.values()) + _own_seconds() - self._own
        return Used(parts, programs, max(0.0, _machine_seconds() - self._machine - ours))


def programs_of(before: Sequence[Stat], meanwhile: Sequence[Stat], after: Sequence[Stat]) -> dict[str, float]:
    """Seconds of each program of a family.

    meanwhile: members as they were seen last. What a child used that ended counts for its program as far as it was
    seen, and the rest for ENDED: its parent has inherited all of it.
    """
    at_first = {stat.pid: stat for stat in before}
    alive = {stat.pid for stat in after}
    gone = {stat.pid: stat for stat in (*before, *meanwhile) if stat.pid not in alive}
    ticks: Counter[str] = Counter()
    for stat in (*after, *gone.values()):
        first = at_first.get(stat.pid, _NEW)
        ticks[stat.name] += stat.own - first.own
        ticks[ENDED] += stat.inherited - first.inherited
    ticks[ENDED] -= sum(stat.own + stat.inherited for stat in gone.values())
    return {name: count / _TICKS for name, count in ticks.items()}


def _own_seconds() -> float:
    """Of this process and its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _machine_seconds() -> float:
    """What all processors together have worked since the machine was started, for whomever."""
    user, nice, system, _, _, irq, softirq, *_ = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq))) / _TICKS
