"""The process for large OpenPGP jobs: it dies, hangs, is cancelled, and other mail goes on."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pysequoia
import pytest
from pysequoia import Tsk

from mailrelay.clients.openpgp import OpenPgp, create_service_key
from mailrelay.clients.pgppool import Job, Pool, TooLarge
from mailrelay.core.errors import Malformed, Unavailable
from tests.unit.pgp import NOW

SECRET, PUBLIC = create_service_key("relay@relay.example", NOW)
LARGE = os.urandom(1 << 20)
HUGE = os.urandom(25 << 20)
# In place of the real process: takes the job and never answers.
HANGS = "import socket, sys, time\nsocket.recv_fds(socket.socket(fileno=int(sys.argv[1])), 1, 3)\ntime.sleep(600)"


def encrypts(limit_octets: int = 1 << 30) -> Job:
    return Job([SECRET], [PUBLIC], limit_octets)


def said(message: bytes) -> bytes | None:
    return pysequoia.decrypt(message, decryptor=Tsk.from_bytes(SECRET).decryptor()).bytes


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool()
    yield made
    await made.close()
    assert made.pid is None


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


async def at_work(pool: Pool) -> None:
    """Returns when the process has pipes open: it is in the middle of a job."""
    while not has_pipes(pool.pid):  # noqa: ASYNC110  # the process tells nobody
        await asyncio.sleep(0.001)


def has_pipes(pid: int | None) -> bool:
    if pid is None:
        return False
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith("pipe:"):
                return True
    return False


def exists(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


def resident(process: object, name: str) -> int:
    """What a process has in memory now (VmRSS), or had at most (VmHWM), in octets."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def forget_the_most() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def test_one_process_serves_all_and_leaves_no_descriptors(pool: Pool) -> None:
    assert said(await pool.run(encrypts(), LARGE)) == LARGE
    first, before = pool.pid, descriptors()
    for content in (b"", b"x", LARGE):
        assert said(await pool.run(encrypts(), content)) == content
    with pytest.raises(Malformed):
        await pool.run(Job([SECRET], [b"junk"], 1 << 30), LARGE)
    assert said(await pool.run(encrypts(), LARGE)) == LARGE
    assert pool.pid == first and descriptors() == before


async def test_a_process_that_was_killed_is_replaced(pool: Pool) -> None:
    await pool.run(encrypts(), LARGE)
    first = pool.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await pool.run(encrypts(), LARGE)
    assert said(await pool.run(encrypts(), LARGE)) == LARGE
    assert pool.pid not in (None, first)


async def test_sigterm_is_for_the_service_and_not_for_its_process(pool: Pool) -> None:
    await pool.run(encrypts(), b"x")
    first = pool.pid
    assert first is not None
    os.kill(first, signal.SIGTERM)
    assert said(await pool.run(encrypts(), LARGE)) == LARGE
    assert pool.pid == first


def test_the_process_ends_with_the_service() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "mailrelay.clients.pgpworker", str(theirs.fileno())]
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        ours.close()
        assert process.wait(30) == 0


async def test_a_process_killed_in_the_middle_costs_one_message(pool: Pool) -> None:
    await pool.run(encrypts(), b"x")
    before = descriptors()
    running = asyncio.create_task(pool.run(encrypts(), HUGE))
    waiting = asyncio.create_task(pool.run(encrypts(), LARGE))
    await asyncio.sleep(0)  # both have begun
    await at_work(pool)
    assert pool.pid is not None
    os.kill(pool.pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await running
    assert said(await waiting) == LARGE
    assert len(descriptors()) == len(before)


async def test_a_cancelled_job_ends_at_once_and_disturbs_nobody(pool: Pool) -> None:
    await pool.run(encrypts(), b"x")
    before = descriptors()
    running = asyncio.create_task(pool.run(encrypts(), HUGE))
    waiting = asyncio.create_task(pool.run(encrypts(), LARGE))
    given_up = asyncio.create_task(pool.run(encrypts(), LARGE))
    await asyncio.sleep(0)
    await at_work(pool)
    running.cancel()
    given_up.cancel()
    for task in (running, given_up):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert said(await waiting) == LARGE
    assert len(descriptors()) == len(before)


async def test_one_that_hangs_is_given_up() -> None:
    pool = Pool(command=(sys.executable, "-c", HANGS), deadline_seconds=0.3)
    with pytest.raises(Unavailable):
        await pool.run(encrypts(), HUGE)
    assert pool.pid is None
    await pool.close()


@pytest.mark.parametrize("command", [("/nonexistent",), (sys.executable, "-c", "raise SystemExit(1)")])
async def test_one_that_does_not_start_is_our_trouble(command: tuple[str, ...]) -> None:
    pool = Pool(command=command)
    before = descriptors()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await pool.run(encrypts(), HUGE)
    assert len(descriptors()) == len(before)
    await pool.close()


async def test_only_so_many_wait() -> None:
    pool = Pool(waiting=2, command=(sys.executable, "-c", HANGS))
    tasks = [asyncio.create_task(pool.run(encrypts(), LARGE)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await pool.run(encrypts(), LARGE)
    await pool.close()
    for task in tasks:
        with pytest.raises(Unavailable):
            await task


async def test_shutting_down_ends_the_process_and_who_waits() -> None:
    pool = Pool()
    await pool.run(encrypts(), b"x")
    pid = pool.pid
    tasks = [asyncio.create_task(pool.run(encrypts(), HUGE)) for _ in range(3)]
    await asyncio.sleep(0)
    await at_work(pool)
    await asyncio.wait_for(pool.close(), 10)
    for task in tasks:
        with pytest.raises(Unavailable):
            await task
    assert not exists(pid)
    with pytest.raises(Unavailable):
        await pool.run(encrypts(), LARGE)
    await pool.close()


async def test_too_much_ends_the_job(pool: Pool) -> None:
    with pytest.raises(TooLarge):
        await pool.run(encrypts(1 << 16), HUGE)
    assert said(await pool.run(encrypts(), LARGE)) == LARGE


async def test_small_messages_go_on_while_a_large_one_is_encrypted() -> None:
    openpgp = OpenPgp([SECRET])
    await openpgp.encrypt(LARGE, [PUBLIC])
    large = asyncio.create_task(openpgp.encrypt(HUGE, [PUBLIC]))
    done = 0
    longest = 0.0
    while not large.done():
        started = time.thread_time()
        await openpgp.encrypt(b"small" * 800, [PUBLIC])
        longest = max(longest, time.thread_time() - started)
        done += 1
        await asyncio.sleep(0)
    assert said(await large) == HUGE
    assert done > 50 and longest < 0.1
    await openpgp.close()


async def test_memory_stays_below_six_times_the_message(pool: Pool) -> None:
    await pool.run(encrypts(), b"x")
    forget_the_most()
    own, other = resident("self", "VmRSS"), resident(pool.pid, "VmRSS")
    await pool.run(encrypts(), HUGE, lambda armored: armored.replace(b"\n", b"\r\n"))
    grown = resident("self", "VmHWM") - own + resident(pool.pid, "VmHWM") - other
    assert grown + len(HUGE) < 6 * len(HUGE)
