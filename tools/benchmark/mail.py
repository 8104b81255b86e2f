"""Sends batches through every system in turn, and works out what a message costs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tools.benchmark.maillog import Audit, audit
from tools.benchmark.population import Population
from tools.benchmark.quiet import NOISE, Patience
from tools.benchmark.systems import System
from tools.benchmark.traffic import Batch, Sink, Source
from tools.benchmark.watch import Watch
from tools.sandbox.process import Trouble, wait_until

_LOG_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """One batch through one system.

    cpu_ms: per message, by part; postfix_ms: the same of Postfix' programs. foreign_seconds: CPU that others used.
    """

    seconds: float
    rate: float
    cpu_ms: dict[str, float]
    postfix_ms: dict[str, float]
    foreign_seconds: float
    deferred: int
    warnings: tuple[str, ...]

    @property
    def total_ms(self) -> float:
        return sum(self.cpu_ms.values())

    @property
    def foreign_share(self) -> float:
        """How much of the machine others took: 1 is one processor, all the time."""
        return self.foreign_seconds / self.seconds


@dataclass(slots=True)
class Series:
    """All runs of one system with one size of message. The figures are of its quiet runs, if it has any."""

    system: System
    octets: int
    messages: int
    runs: list[Run] = field(default_factory=list)

    @property
    def quiet(self) -> list[Run]:
        """The runs that other programs did not disturb."""
        return [run for run in self.runs if run.foreign_share <= NOISE]

    @property
    def _counted(self) -> list[Run]:
        return self.quiet or self.runs

    @property
    def rate(self) -> float:
        """Messages a second, the median."""
        return median(run.rate for run in self._counted)

    @property
    def cpu_ms(self) -> float:
        """CPU time of all processes for a message, the median."""
        return median(run.total_ms for run in self._counted)

    def part_ms(self, part: str) -> float:
        """The same of one part."""
        return median(run.cpu_ms.get(part, 0.0) for run in self._counted)

    @property
    def postfix_ms(self) -> dict[str, float]:
        """What a message costs in each of Postfix' programs, the median."""
        programs = dict.fromkeys(program for run in self._counted for program in run.postfix_ms)
        return {program: median(run.postfix_ms.get(program, 0.0) for run in self._counted) for program in programs}


@dataclass(slots=True)
class Meter:
    """Measures runs. people: to whom, by system; letters: what, by octets. folder: for smtp-source's words."""

    people: Mapping[str, Population]
    sink: Sink
    letters: Mapping[int, Path]
    folder: Path
    say: Callable[[str], None]
    patience: Patience
    _next_block: dict[str, int] = field(default_factory=dict)

    def warm_up(self, systems: Sequence[System], batches: Sequence[tuple[int, int]]) -> None:
        """Start processes, fill connections and caches. batches: (messages, octets)."""
        for system in systems:
            for messages, octets in batches:
                self._run(system, messages, octets)

    def measure(self, systems: Sequence[System], messages: int, octets: int, repeat: int) -> list[Series]:
        """The systems take turns, so that a slow minute of the machine hits all alike."""
        found = [Series(system, octets, messages) for system in systems]
        for number in range(1, repeat + 1):
            for series in found:
                run = self._quiet_run(series.system, messages, octets)
                series.runs.append(run)
                self.say(
                    f"  {octets / 1024:3.0f} KB, {number}/{repeat}  {series.system.title:<36} "
                    f"{run.rate:6.1f}/s  {run.total_ms:6.2f} ms CPU"
                )
        return found

    def _quiet_run(self, system: System, messages: int, octets: int) -> Run:
        while True:
            self.patience.wait(system.roots())
            run = self._run(system, messages, octets)
            if not self.patience.again(run.foreign_share, run.seconds, self.say):
                return run

    def _run(self, system: System, messages: int, octets: int) -> Run:
        log_before, count_before = _size(system.postfix.maillog), self.sink.count()
        batch = Batch(messages, self.letters[octets], self.people[system.key].pattern(self._block(system)))
        watch = Watch({**system.roots(), "sink": self.sink.pid})
        began = time.monotonic()
        source = Source(system.port, batch, self.folder / "smtp-source.log")
        try:
            self.sink.wait_for(count_before + messages, lambda: _tend(source, watch))
            seconds = time.monotonic() - began
            wait_until(system.postfix.empty, "its queue to empty")
        except Trouble as error:
            raise Trouble(f"{system.title}: {error}; see {system.postfix.maillog}") from error
        finally:
            source.close()
        used = watch.used()
        verdict = self._verdict(system, messages, log_before)
        if self.sink.count() != count_before + messages:
            raise Trouble(f"{system.title}: the sink took {self.sink.count() - count_before} of {messages} messages")
        cpu_ms = {part: spent * 1000 / messages for part, spent in used.parts.items() if part != "sink"}
        postfix_ms = {program: spent * 1000 / messages for program, spent in used.programs["postfix"].items()}
        return Run(seconds, messages / seconds, cpu_ms, postfix_ms, used.foreign, verdict.deferred, verdict.warnings)

    def _block(self, system: System) -> int:
        """Every run of a system is for aliases that it has not seen, and for the same ones in each system."""
        block = self._next_block.get(system.key, 0)
        self._next_block[system.key] = (block + 1) % self.people[system.key].blocks
        return block

    def _verdict(self, system: System, messages: int, log_before: int) -> Audit:
        """From the log since then. Raises Trouble unless every message arrived exactly once."""
        found: list[Audit] = []

        def complete() -> bool:  # the log is written a moment later than the mail is delivered
            with system.postfix.maillog.open(errors="replace") as log:
                log.seek(log_before)
                found[:] = [audit(log.read(), self.sink.port)]
            return not found[0].complaint(messages)

        try:
            wait_until(complete, "the log", _LOG_SECONDS, pause=0.2)
        except Trouble as error:
            raise Trouble(f"{system.title}: {found[0].complaint(messages)}; see {system.postfix.maillog}") from error
        return found[0]


def _tend(source: Source, watch: Watch) -> None:
    source.check()
    watch.look()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
