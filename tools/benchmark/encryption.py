"""What it costs to encrypt a copy, and what small messages notice of a large one."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mailrelay.clients.openpgp import OpenPgp, create_service_key
from mailrelay.clients.pgppool import Pool
from mailrelay.core.facts import RecipientId
from mailrelay.core.header import split
from mailrelay.core.letterhead import Header
from mailrelay.core.locks import Lock
from mailrelay.flows.sealing import Sealing
from tools.benchmark import letter
from tools.sandbox.process import Trouble

LARGE = 25 << 20
SIZES = (4096, 102400, LARGE)
_ROUNDS: Mapping[int, int] = {4096: 500, 102400: 200, LARGE: 5}
_BESIDE = 4  # large ones in a row, while small ones are timed
_PAUSE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Encryption:
    """cpu_seconds: of one copy in all processes, by octets of the message. p99_*: of small ones, in seconds.

    peak: octets of memory that a copy of a large message takes beside what the processes have anyway.
    """

    cpu_seconds: Mapping[int, float]
    peak: int
    p99_alone: float
    p99_beside: float

    @property
    def slower(self) -> float:
        """By how much small messages take longer while a large one is encrypted."""
        return self.p99_beside / self.p99_alone


@dataclass(slots=True)
class _Desk:
    pool: Pool
    sealing: Sealing
    lock: Lock

    async def seal(self, content: bytes) -> None:
        message = split(content)
        if await self.sealing.seal(Header(b"", message.fields), message.body, self.lock) is None:
            raise Trouble("the message was not encrypted")

    def cpu(self) -> float:
        """Seconds that this process and the one for large messages have used."""
        return time.process_time() + (_cpu_of(self.pool.pid) if self.pool.pid is not None else 0.0)

    def memory(self, field: str) -> int:
        """VmRSS or VmHWM of both, in octets."""
        return sum(_memory_of(pid, field) for pid in (os.getpid(), self.pool.pid) if pid is not None)

    def forget_peaks(self) -> None:
        """VmHWM begins anew."""
        for pid in filter(None, (os.getpid(), self.pool.pid)):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def measure(say: Callable[[str], None]) -> Encryption:
    """Everything between the rewritten copy and the encrypted one, for a key on Curve25519."""
    found = asyncio.run(_measure())
    for octets, seconds in found.cpu_seconds.items():
        say(f"  {octets // 1024} KB: {seconds * 1e3:.2f} ms of CPU")
    return found


async def _measure() -> Encryption:
    pool = Pool()
    secret, public = create_service_key("notifications@relay.example", datetime.now(UTC))
    openpgp = OpenPgp([secret], pool=pool)
    sealing = Sealing(_nobody, openpgp.look, openpgp.encrypt, _never, os.urandom, "X-Mailrelay-")
    desk = _Desk(pool, sealing, Lock(RecipientId(1), public, ""))
    contents = {octets: letter.compose(octets) for octets in SIZES}
    try:
        cpu = {octets: await _cpu(desk, content, _ROUNDS[octets]) for octets, content in contents.items()}
        peak = await _peak(desk, contents[LARGE])
        alone = await _p99(desk, contents[SIZES[0]], asyncio.sleep(2))
        beside = await _p99(desk, contents[SIZES[0]], _several(desk, contents[LARGE]))
        return Encryption(cpu, peak, alone, beside)
    finally:
        await openpgp.close()


async def _cpu(desk: _Desk, content: bytes, rounds: int) -> float:
    await desk.seal(content)
    began = desk.cpu()
    for _ in range(rounds):
        await desk.seal(content)
    return (desk.cpu() - began) / rounds


async def _peak(desk: _Desk, content: bytes) -> int:
    """The library keeps what it was given for the next message, so this is not the first."""
    before = desk.memory("VmRSS")
    desk.forget_peaks()
    await desk.seal(content)
    return desk.memory("VmHWM") - before + len(content)  # which was there before


async def _p99(desk: _Desk, small: bytes, work: Coroutine[None, None, None]) -> float:
    task = asyncio.create_task(work)
    waits: list[float] = []
    while not task.done():
        began = time.perf_counter()
        await desk.seal(small)
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(_PAUSE_SECONDS)
    await task
    return sorted(waits)[int(len(waits) * 0.99)]


async def _several(desk: _Desk, content: bytes) -> None:
    for _ in range(_BESIDE):
        await desk.seal(content)


async def _nobody(recipients: Sequence[RecipientId], /) -> Mapping[RecipientId, Lock]:
    return {}


async def _never(lock: Lock, why: object, /) -> None:
    raise Trouble("the key is good")


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_of(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024
