"""A parent that keeps worker processes, for a server that one process could not give more than one processor to.

The parent does no work of the role: it starts workers, starts dead ones again, passes signals on, and answers the
status page for all of them. It talks to each through a pipe: `reload` and `status NUMBER` go there, `ready` and
`NUMBER JSON` come back. When the pipe ends, the worker winds up: so no worker outlives its parent.
"""

import gc
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Lock
from typing import NoReturn

from mailrelay import log, notify

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
_LOOK_SECONDS, _REST_SECONDS = 0.05, 1.0
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 3.0
_SETTLED_SECONDS = 10.0  # a worker that lived so long did not fail while starting
_ANSWER_SECONDS = 2.0
# Workers finish what they have at hand; less than TimeoutStopSec of the unit.
_GRACE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker says of itself. metrics: in the text format of Prometheus."""

    metrics: str
    health: Mapping[str, str]


@dataclass(slots=True)
class _Worker:
    pid: int
    pipe: Connection
    started: float
    ready: bool = False


class Prefork:
    """work: runs in each worker, with its end of the pipe, and never returns. reload: in the parent; False: refused."""

    def __init__(self, count: int, work: Callable[[Connection], NoReturn], reload: Callable[[], bool]) -> None:
        self._count = count
        self._work = work
        self._reload = reload
        self._workers: list[_Worker] = []
        self._due = 0.0
        self._pause = _PAUSE_SECONDS
        self._asked = 0
        # Held while a process is forked, lest a worker inherits a lock that the thread of the status page holds at that
        # moment, and while a pipe is read or written, lest two threads share a message.
        self._lock = Lock()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # they wait until `run` looks

    def run(self, ready: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT. ready: called when the first worker is."""
        announced = False
        gc.collect()
        gc.freeze()  # a collection in a worker would write to every page that it shares with us
        try:
            while True:
                self._tend()
                if not announced and any(worker.ready for worker in self._workers):
                    announced = True
                    ready()
                notify.watchdog()
                waiting = len(self._workers) < self._count or not all(worker.ready for worker in self._workers)
                received = signal.sigtimedwait(_SIGNALS, _LOOK_SECONDS if waiting else _REST_SECONDS)
                if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
                    return
                if received is not None and received.si_signo == signal.SIGHUP:
                    self._pass_reload_on()
        finally:
            self._wind_up()

    def reports(self) -> tuple[list[Report], int]:
        """What the workers say, and how many there should be. One that does not answer is left out."""
        with self._lock:
            self._asked += 1
            asked = [worker for worker in self._workers if worker.ready and _sent(worker.pipe, f"status {self._asked}")]
            deadline = time.monotonic() + _ANSWER_SECONDS
            found = [_report(worker.pipe, self._asked, deadline) for worker in asked]
        return [one for one in found if one is not None], self._count

    def health(self) -> dict[str, str]:
        """Components and their state; of several workers the worst counts."""
        reports, wanted = self.reports()
        components = {"workers": "ok" if len(reports) == wanted else f"{len(reports)} of {wanted} answer"}
        for report in reports:
            for name, state in report.health.items():
                if components.get(name, "ok") == "ok":
                    components[name] = state
        return components

    def _tend(self) -> None:
        """Bury the dead, start new ones, hear who is ready."""
        for worker in [worker for worker in self._workers if _ended(worker.pid)]:
            self._bury(worker)
        while len(self._workers) < self._count and time.monotonic() >= self._due:
            self._fork()
        for worker in self._workers:
            if not worker.ready:
                with suppress(EOFError, OSError), self._lock:
                    worker.ready = worker.pipe.poll() and worker.pipe.recv_bytes() == b"ready"

    def _bury(self, worker: _Worker) -> None:
        with self._lock:
            self._workers.remove(worker)
            worker.pipe.close()
        settled = time.monotonic() - worker.started > _SETTLED_SECONDS
        self._pause = _PAUSE_SECONDS if settled else min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        self._due = time.monotonic() + self._pause
        log.logger().error("worker.died", pid=worker.pid)

    def _fork(self) -> None:
        ours, theirs = Pipe()
        with self._lock:
            pid = os.fork()
            if pid == 0:
                self._become_worker(ours, theirs)
            theirs.close()
            self._workers.append(_Worker(pid, ours, time.monotonic()))

    def _become_worker(self, ours: Connection, theirs: Connection) -> NoReturn:
        try:
            # Our ends of the others' pipes would keep those open after the parent has gone.
            for pipe in (ours, *(worker.pipe for worker in self._workers)):
                pipe.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            self._work(theirs)
        except BaseException:
            log.logger().exception("worker.failed")
        finally:
            os._exit(70)

    def _pass_reload_on(self) -> None:
        notify.reloading()
        if self._reload():
            with self._lock:
                for worker in self._workers:
                    _sent(worker.pipe, "reload")
        notify.ready()

    def _wind_up(self) -> None:
        notify.stopping()
        with self._lock:
            for worker in self._workers:
                worker.pipe.close()
        deadline = time.monotonic() + _GRACE_SECONDS
        left: Sequence[_Worker] = self._workers
        while left := [worker for worker in left if not _ended(worker.pid)]:
            if time.monotonic() > deadline:
                for worker in left:
                    os.kill(worker.pid, signal.SIGKILL)
                    os.waitpid(worker.pid, 0)
                break
            time.sleep(_LOOK_SECONDS)
        self._workers.clear()


def _ended(pid: int) -> bool:
    """True once for each child that is gone; its corpse goes with the answer."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _sent(pipe: Connection, message: str) -> bool:
    try:
        pipe.send_bytes(message.encode())
    except OSError:  # it is dying
        return False
    return True


def _report(pipe: Connection, number: int, deadline: float) -> Report | None:
    """The answer to question `number`; answers to earlier ones came too late and are thrown away."""
    try:
        while pipe.poll(max(0.0, deadline - time.monotonic())):
            answered, _, data = pipe.recv_bytes().partition(b" ")
            if answered == str(number).encode():
                found = json.loads(data)
                return Report(found["metrics"], found["health"])
    except (EOFError, OSError):
        pass
    return None
