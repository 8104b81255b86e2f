"""The figures as tables for people and as one JSON document for programs."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.benchmark import bans
from tools.benchmark.api import GOT, SEARCHED, ApiWaits, Waits
from tools.benchmark.apirates import CHECKED, CREATED
from tools.benchmark.bounces import PACE, Flood
from tools.benchmark.encryption import LARGE, Encryption
from tools.benchmark.failures import FailedList
from tools.benchmark.footprint import IDLE, Footprint
from tools.benchmark.mail import Series
from tools.benchmark.milter import ROUNDS as MILTER_ROUNDS
from tools.benchmark.milter import Latency
from tools.benchmark.policy import ROUNDS, Answers
from tools.benchmark.questions import CONNECTIONS
from tools.benchmark.quiet import NOISE
from tools.benchmark.systems import FULL, PLAIN, PRODUCT, TITLES
from tools.sandbox.postgres import binaries
from tools.sandbox.process import run

_MB = 1 << 20
# Relative to the plain relay: system, octets -> (messages a second, CPU).
_MAIL_TARGETS = {
    (PRODUCT, 4096): (0.36, 3.8),
    (PRODUCT, 102400): (0.45, 3.0),
    (FULL, 4096): (0.30, 5.0),
    (FULL, 102400): (0.33, 4.5),
}
_CACHED_TARGET, _UNCACHED_TARGET, _P99_TARGET, _MEMORY_TARGET = 15_000.0, 3_000.0, 0.005, 200.0
_MILTER_P99_TARGET = 0.040
# CPU of a copy in ms by octets; memory and p99 of other messages relative to the message, and to none.
_ENCRYPTION_TARGETS = {4096: 3.0, 102400: 6.0, LARGE: 1500.0}
_ENCRYPTION_MEMORY_TARGET, _SLOWER_TARGET = 6.0, 2.0
# Bounces: reports a second, growth of the role's RSS in MB, forwarding beside them; a page of failed deliveries.
_FLOOD_TARGET, _GROWTH_TARGET, _BESIDE_TARGET, _PAGE_TARGET = 100.0, 10.0, 0.9, 0.050

# p99 of requests of the addy.io API, in seconds.
_API_TARGETS = {SEARCHED: 0.060, GOT: 0.005}
_ADMIN_TARGET = 0.060
# Requests a second, and MB of the role.
_RATE_TARGETS = {CHECKED: 2500, CREATED: 500}
_API_MEMORY_TARGET = 120
_BANS_TARGET = 0.95


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and its bound. at_least: the bound is the least it should be, else the most."""

    name: str
    value: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{'ok    ' if self.met else 'MISSED'}  {self.name:<58} {self.value:>10.4g}   {sign} {self.bound:g}"


@dataclass(slots=True)
class Report:
    """What was measured; what was not is empty. remarks: what makes the figures doubtful."""

    settings: Mapping[str, Any]
    mail: list[Series] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)
    encryptions: list[Encryption] = field(default_factory=list)
    floods: list[Flood] = field(default_factory=list)
    lists: list[FailedList] = field(default_factory=list)
    waits: list[ApiWaits] = field(default_factory=list)
    stands: list[bans.Stand] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def targets(self) -> list[Target]:
        """All targets whose figures are there."""
        return [
            *self._mail_targets(),
            *self._waiting_targets(),
            *self._memory_targets(),
            *self._encryption_targets(),
            *self._failure_targets(),
            *self._api_targets(),
            *self._ban_targets(),
        ]

    def _mail_targets(self) -> Iterator[Target]:
        for (key, octets), (rate, cpu) in _MAIL_TARGETS.items():
            plain, product = _of(self.mail, PLAIN, octets), _of(self.mail, key, octets)
            if plain and product:
                name = f"{octets // 1024} KB, {TITLES[key]}, of plain Postfix':"
                yield Target(f"{name} rate", product.rate / plain.rate, rate, True)
                yield Target(f"{name} CPU", product.cpu_ms / plain.cpu_ms, cpu, False)

    def _waiting_targets(self) -> Iterator[Target]:
        for latency in self.latencies:
            name = f"milter p99 at {latency.pace:g}/s, {latency.octets // 1024} KB, in ms"
            yield Target(name, latency.median.p99 * 1e3, _MILTER_P99_TARGET * 1e3, False)
        for answers in self.answers:
            one, kind = answers.median, "cached" if answers.cached else "from the database"
            if answers.cached:
                yield Target("policy answers for a second of CPU, cached", one.per_core, _CACHED_TARGET, True)
            else:
                yield Target("policy answers/s, from the database", one.rate, _UNCACHED_TARGET, True)
            yield Target(f"policy p99 at 1 000/s, {kind}, in ms", one.p99 * 1e3, _P99_TARGET * 1e3, False)

    def _memory_targets(self) -> Iterator[Target]:
        for footprint in self.footprints:
            if footprint.of == IDLE:
                whole = footprint.total
                yield Target(f"RSS in MB, {footprint.of}", whole.rss / _MB, _MEMORY_TARGET, False)
                if whole.pss is not None:
                    yield Target(f"PSS in MB, {footprint.of}", whole.pss / _MB, _MEMORY_TARGET, False)

    def _encryption_targets(self) -> Iterator[Target]:
        for one in self.encryptions:
            for octets, bound in _ENCRYPTION_TARGETS.items():
                name = f"encryption of {octets // 1024} KB, CPU in ms"
                yield Target(name, one.cpu_seconds[octets] * 1e3, bound, False)
            name = f"memory for the encryption of {LARGE // 1024} KB, of that"
            yield Target(name, one.peak / LARGE, _ENCRYPTION_MEMORY_TARGET, False)
            yield Target("p99 of small messages beside it, of that without", one.slower, _SLOWER_TARGET, False)

    def _failure_targets(self) -> Iterator[Target]:
        for flood in self.floods:
            yield Target("bounces/s, as fast as they are taken", flood.rate, _FLOOD_TARGET, True)
            yield Target(
                f"growth of lmtp's RSS in MB, {flood.reports} bounces", flood.growth / _MB, _GROWTH_TARGET, False
            )
            name = f"rate of mail beside {flood.pace:g} bounces/s, of that without"
            yield Target(name, flood.beside / flood.alone, _BESIDE_TARGET, True)
        for found in self.lists:
            for page in found.pages:
                name = f"failed list, {page.of}, in ms"
                yield Target(name, page.median * 1e3, _PAGE_TARGET * 1e3, False)

    def _api_targets(self) -> Iterator[Target]:
        for found in self.waits:
            for waits in found.waits:
                if waits.of in _API_TARGETS:
                    yield Target(f"api, {waits.of}, p99 in ms", waits.p99 * 1e3, _API_TARGETS[waits.of] * 1e3, False)
            for waits in found.admin:
                yield Target(f"admin list, {waits.of}, p99 in ms", waits.p99 * 1e3, _ADMIN_TARGET * 1e3, False)
            for rate in found.rates:
                yield Target(f"api, {rate.of}, a second", rate.a_second, _RATE_TARGETS[rate.of], True)
            if found.rss:
                yield Target("api, RSS of the role in MB", found.rss / _MB, _API_MEMORY_TARGET, False)

    def _ban_targets(self) -> Iterator[Target]:
        if self.stands:
            name = f"policy answers with {self.stands[-1].bans} bans, of those without"
            yield Target(name, bans.slower(self.stands), _BANS_TARGET, True)

    def noise(self) -> list[str]:
        """What other programs took from us."""
        found = [
            f"{one.octets // 1024} KB, {one.system.title}: {len(one.quiet)} of {len(one.runs)} runs were quiet, "
            f"other programs used up to {max(run.foreign_share for run in one.runs):.0%} of a processor"
            for one in self.mail
            if len(one.quiet) < len(one.runs)
        ]
        rounds = [(f"policy service, {_kind(one)}", one.median.foreign_share) for one in self.answers]
        rounds += [(f"milter, {one.octets // 1024} KB", one.median.foreign_share) for one in self.latencies]
        return found + [
            f"{what}: other programs used up to {share:.0%} of a processor" for what, share in rounds if share > NOISE
        ]

    def text(self) -> str:
        """Tables."""
        parts = [_heading(self.settings)]
        for octets in dict.fromkeys(series.octets for series in self.mail):
            parts.append(_mail_table([series for series in self.mail if series.octets == octets]))
        if self.latencies:
            parts.append(_latency_table(self.latencies))
        if self.answers:
            parts.append(_answers_table(self.answers))
        if self.footprints:
            parts.append(_memory_table(self.footprints))
        if self.encryptions:
            parts.append("\n\n".join(map(_encryption_table, self.encryptions)))
        if self.floods:
            parts.append(_flood_table(self.floods))
        if self.lists:
            parts.append("\n\n".join(map(_list_table, self.lists)))
        if self.waits:
            parts.append("\n\n".join(map(_waits_table, self.waits)))
        if self.stands:
            parts.append(bans.table(self.stands))
        if targets := self.targets():
            parts.append("\n".join(["targets", *(f"  {target}" for target in targets)]))
        if remarks := [*self.remarks, *self.noise()]:
            parts.append("\n".join(["remarks", *(f"  {remark}" for remark in remarks)]))
        return "\n\n".join(parts) + "\n"

    def document(self) -> dict[str, Any]:
        """The same for programs: seconds, octets and milliseconds as the names say."""
        return {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": host(),
            "settings": dict(self.settings),
            "mail": [_series_document(series, _of(self.mail, PLAIN, series.octets)) for series in self.mail],
            "policy": [{**asdict(answers), "median": asdict(answers.median)} for answers in self.answers],
            "milter": [{**asdict(latency), "median": asdict(latency.median)} for latency in self.latencies],
            "memory": [
                {"of": footprint.of, "total": asdict(footprint.total), "roles": _roles_document(footprint)}
                for footprint in self.footprints
            ],
            "encryption": [asdict(one) for one in self.encryptions],
            "bounces": [{**asdict(flood), "rate": flood.rate, "growth": flood.growth} for flood in self.floods],
            "api": [_waits_document(found) for found in self.waits],
            "bans": [asdict(one) for one in self.stands],
            "failed_lists": [asdict(found) for found in self.lists],
            "targets": [{**asdict(target), "met": target.met} for target in self.targets()],
            "remarks": [*self.remarks, *self.noise()],
        }


def host() -> dict[str, str | int]:
    """What it ran on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processors": os.cpu_count() or 0,
        "model": models[0].partition(":")[2].strip() if models else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postfix": run(["postconf", "-dh", "mail_version"]).strip(),
        "postgresql": run([str(binaries() / "postgres"), "--version"]).split()[2],
    }


def _of(mail: Sequence[Series], key: str, octets: int) -> Series | None:
    return next((series for series in mail if series.system.key == key and series.octets == octets), None)


def _heading(settings: Mapping[str, Any]) -> str:
    machine = host()
    return (
        f"mailrelay benchmark, {datetime.now(UTC):%Y-%m-%d}: {machine['processors']} x {machine['model']}, "
        f"Postfix {machine['postfix']}, PostgreSQL {machine['postgresql']}, Python {machine['python']}\n"
        + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
    )


def _mail_table(found: Sequence[Series]) -> str:
    plain = next((series for series in found if series.system.key == PLAIN), None)
    first = found[0]
    lines = [
        f"{first.octets // 1024} KB, {first.messages} messages, median of {len(first.runs)}",
        f"  {'':<36}{'messages/s':>11}{'ratio':>7}{'CPU ms':>9}{'ratio':>7}   of which",
    ]
    for series in found:
        rate = f"{series.rate / plain.rate:.2f}" if plain else "-"
        cpu = f"{series.cpu_ms / plain.cpu_ms:.2f}" if plain else "-"
        parts = [(part, series.part_ms(part)) for part in series.runs[0].cpu_ms]
        shares = ", ".join(f"{part} {spent:.2f}" for part, spent in parts if spent >= 0.005)
        lines.append(
            f"  {series.system.title:<36}{series.rate:>11.1f}{rate:>7}{series.cpu_ms:>9.2f}{cpu:>7}   {shares}"
        )
    lines.append("  Postfix' programs, CPU ms")
    for series in found:
        programs = sorted(series.postfix_ms.items(), key=lambda item: -item[1])
        shares = ", ".join(f"{program} {spent:.2f}" for program, spent in programs if spent >= 0.005)
        lines.append(f"  {series.system.title:<36}   {shares}")
    return "\n".join(lines)


def _answers_table(found: Sequence[Answers]) -> str:
    lines = [
        f"policy service, {CONNECTIONS} connections, median of {ROUNDS}",
        f"  {'':<20}{'answers/s':>10}{'per core second':>17}{'median ms':>11}{'p99 ms':>8}  at 1 000/s",
    ]
    for answers in found:
        one = answers.median
        waits = f"{one.p50 * 1e3:>11.2f}{one.p99 * 1e3:>8.2f}"
        lines.append(f"  {_kind(answers):<20}{one.rate:>10.0f}{one.per_core:>17.0f}{waits}")
    return "\n".join(lines)


def _latency_table(found: Sequence[Latency]) -> str:
    lines = [
        f"milter, from the beginning of a conversation with it to its answer, median of {MILTER_ROUNDS}",
        f"  {'':<20}{'median ms':>10}{'p99 ms':>8}{'CPU ms':>8}",
    ]
    for latency in found:
        one, name = latency.median, f"{latency.octets // 1024} KB at {latency.pace:g}/s"
        lines.append(f"  {name:<20}{one.p50 * 1e3:>10.2f}{one.p99 * 1e3:>8.2f}{one.cpu_seconds * 1e3:>8.2f}")
    return "\n".join(lines)


def _kind(answers: Answers) -> str:
    return "from memory" if answers.cached else "from the database"


def _memory_table(found: Sequence[Footprint]) -> str:
    lines = ["resident memory, MB", f"  {'':<36}{'RSS':>8}{'PSS':>8}   RSS of which"]
    for footprint in found:
        whole = footprint.total
        pss = f"{whole.pss / _MB:.0f}" if whole.pss is not None else "-"
        parts = ", ".join(f"{role} {memory.rss / _MB:.0f}" for role, memory in footprint.roles.items())
        lines.append(f"  {footprint.of:<36}{whole.rss / _MB:>8.0f}{pss:>8}   {parts}")
    return "\n".join(lines)


def _encryption_table(found: Encryption) -> str:
    sizes = ", ".join(f"{octets // 1024} KB {spent * 1e3:.2f}" for octets, spent in found.cpu_seconds.items())
    return "\n".join(
        [
            "encryption of a copy (Curve25519), CPU ms",
            f"  {sizes}",
            f"  memory for {LARGE // 1024} KB: {found.peak / _MB:.0f} MB",
            f"  p99 of small ones: {found.p99_alone * 1e3:.2f} ms, beside large ones {found.p99_beside * 1e3:.2f} ms",
        ]
    )


def _flood_table(found: Sequence[Flood]) -> str:
    lines = [
        f"bounces, each with a message of 4 KB, and mail beside {PACE:g} of them a second",
        f"  {'reports':>9}{'a second':>10}{'recorded':>10}{'failed':>9}{'stored':>9}"
        f"{'RSS MB':>9}{'at most':>9}{'after':>8}{'mail/s':>9}{'beside':>9}",
    ]
    for one in found:
        sizes = f"{one.rss_before / _MB:>9.1f}{one.rss_peak / _MB:>9.1f}{one.rss_after / _MB:>8.1f}"
        lines.append(
            f"  {one.reports:>9}{one.rate:>10.0f}{one.recorded:>10}{one.failed:>9}{one.stored:>9}"
            f"{sizes}{one.alone:>9.1f}{one.beside:>9.1f}"
        )
    return "\n".join(lines)


def _list_table(found: FailedList) -> str:
    lines = [
        f"failed deliveries, an account with {found.rows}",
        f"  {'':<36}{'median ms':>10}{'worst ms':>10}",
    ]
    for page in found.pages:
        lines.append(f"  {page.of:<36}{page.median * 1e3:>10.1f}{page.worst * 1e3:>10.1f}")
    return "\n".join(lines)


def _waits_table(found: ApiWaits) -> str:
    lines = [
        f"addy.io API, an account with {found.own} of {found.aliases} aliases",
        f"  {'':<36}{'median ms':>10}{'p99 ms':>10}{'worst ms':>10}",
    ]
    lines += map(_waits_line, found.waits)
    if found.admin:
        lines.append(f"Haltman API, the list of all {found.aliases} aliases")
        lines += map(_waits_line, found.admin)
    if found.rates:
        lines.append(f"  {'':<36}{'a second':>10}{'CPU ms':>10}")
    lines += [f"  {rate.of:<36}{rate.a_second:>10.0f}{rate.cpu_ms:>10.2f}" for rate in found.rates]
    return "\n".join(lines)


def _waits_line(waits: Waits) -> str:
    return f"  {waits.of:<36}{waits.median * 1e3:>10.1f}{waits.p99 * 1e3:>10.1f}{waits.worst * 1e3:>10.1f}"


def _waits_document(found: ApiWaits) -> dict[str, Any]:
    waits, admin = (
        [{"of": one.of, "median": one.median, "p99": one.p99, "worst": one.worst} for one in some]
        for some in (found.waits, found.admin)
    )
    rates = [{**asdict(one), "a_second": one.a_second} for one in found.rates]
    return {
        "aliases": found.aliases,
        "own": found.own,
        "waits": waits,
        "admin": admin,
        "rates": rates,
        "rss": found.rss,
    }


def _series_document(series: Series, plain: Series | None) -> dict[str, Any]:
    ratios = {"rate_ratio": None, "cpu_ratio": None}
    if plain is not None:
        ratios = {"rate_ratio": series.rate / plain.rate, "cpu_ratio": series.cpu_ms / plain.cpu_ms}  # type: ignore[dict-item]
    return {
        "system": series.system.key,
        "octets": series.octets,
        "messages": series.messages,
        "rate": series.rate,
        "cpu_ms": series.cpu_ms,
        **ratios,
        "cpu_ms_parts": {part: series.part_ms(part) for part in series.runs[0].cpu_ms},
        "postfix_ms_programs": series.postfix_ms,
        "runs": [asdict(run) for run in series.runs],
    }


def _roles_document(footprint: Footprint) -> dict[str, Any]:
    return {role: asdict(memory) for role, memory in footprint.roles.items()}
