"""Keeps the sandbox's processes running, as an init system would, until it is told to stop.

CONTROL/services.json lists them; a change of it takes effect at once. A process that ends is started again after a
short pause. Where CONTROL/NAME.held exists the process is stopped and stays down, which CONTROL/NAME.down confirms.
CONTROL/NAME.pid tells who runs.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tools.sandbox.process import PidFile, spawn, wait_until

log = logging.getLogger("sandbox.supervise")

_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 3.0
_SETTLED_SECONDS = 10.0  # whoever lived so long did not fail while starting
_GRACE_SECONDS = 30.0
_LOOK_SECONDS = 0.05
SUPERVISOR_PID = "supervisor.pid"


@dataclass(slots=True)
class Service:
    """One process to keep. log: file that gets its output."""

    name: str
    argv: list[str]
    log: str
    env: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    started: float
    killed_at: float | None = None  # since when it was asked to end


def write_services(control: Path, services: list[Service]) -> None:
    """Put the list in force."""
    entries = [{"name": s.name, "argv": s.argv, "log": s.log, "env": s.env} for s in services]
    temporary = control / ".services.json"
    temporary.write_text(json.dumps(entries, indent=1))
    temporary.rename(control / "services.json")


class Supervisor:
    """folder: the control folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: dict[str, _Child] = {}
        self._pauses: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._services: dict[str, Service] = {}
        self._seen: tuple[int, int] | None = None
        self.stopping = False

    def run(self) -> None:
        """Until `stopping` is set, then end all children."""
        for path in self._folder.glob("*.pid"):
            if path.name != SUPERVISOR_PID:
                PidFile(path).stop()  # left over from a supervisor that was killed
        while not self.stopping:
            self._read_list()
            self._reap()
            for service in self._services.values():
                self._tend(service)
            for name in self._children.keys() - self._services.keys():
                self._end(name)
            time.sleep(_LOOK_SECONDS)
        while self._children:
            for name in self._children:
                self._end(name)
            self._reap()
            time.sleep(_LOOK_SECONDS)

    def _read_list(self) -> None:
        path = self._folder / "services.json"
        try:
            status = path.stat()
        except FileNotFoundError:
            log.error("%s is gone: ending everything", self._folder)
            self.stopping, self._services = True, {}
            return
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._seen:
            self._services = {entry["name"]: Service(**entry) for entry in json.loads(path.read_text())}
            self._seen = seen

    def _tend(self, service: Service) -> None:
        held = (self._folder / f"{service.name}.held").exists()
        running = service.name in self._children
        if held and running:
            self._end(service.name)
        elif held:
            (self._folder / f"{service.name}.down").touch()
        elif not running and time.monotonic() >= self._due.get(service.name, 0.0):
            self._start(service)

    def _start(self, service: Service) -> None:
        with Path(service.log).open("ab") as output:
            process = subprocess.Popen(
                service.argv,
                env={**os.environ, **service.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._children[service.name] = _Child(process, time.monotonic())
        PidFile(self._folder / f"{service.name}.pid").write(process.pid)
        log.info("%s runs as %d", service.name, process.pid)

    def _reap(self) -> None:
        for name, child in list(self._children.items()):
            status = child.process.poll()
            if status is None:
                continue
            del self._children[name]
            PidFile(self._folder / f"{name}.pid").clear()
            log.info("%s (%d) ended with status %d", name, child.process.pid, status)
            settled = time.monotonic() - child.started > _SETTLED_SECONDS or child.killed_at is not None
            pause = _PAUSE_SECONDS if settled else self._pauses.get(name, _PAUSE_SECONDS)
            self._due[name] = time.monotonic() + pause
            self._pauses[name] = _PAUSE_SECONDS if settled else min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _end(self, name: str) -> None:
        child, now = self._children[name], time.monotonic()
        if child.killed_at is None:
            child.killed_at = now
            child.process.send_signal(signal.SIGTERM)
        elif now - child.killed_at > _GRACE_SECONDS:
            child.process.send_signal(signal.SIGKILL)


class Supervised:
    """The same from outside: start and stop the supervisor, hold and release what it keeps."""

    def __init__(self, control: Path, log: Path) -> None:
        self._control = control
        self._log = log
        self._pid_file = PidFile(control / SUPERVISOR_PID)

    def running(self) -> bool:
        return self._pid_file.pid is not None

    def keep(self, services: list[Service]) -> None:
        """Run these and no others, starting the supervisor if it does not run."""
        write_services(self._control, services)
        if not self.running():
            for leftover in (*self._control.glob("*.held"), *self._control.glob("*.down")):
                leftover.unlink()
            here = Path(__file__).resolve().parents[2]
            argv = [sys.executable, "-m", "tools.sandbox.supervise", str(self._control)]
            self._pid_file.write(spawn(argv, self._log / "supervisor.log", cwd=here))

    def stop(self) -> None:
        """End the supervisor and everything that it keeps."""
        self._pid_file.stop(_GRACE_SECONDS + 10)

    def pid(self, name: str) -> int | None:
        """The running process, None if there is none at the moment."""
        return PidFile(self._control / f"{name}.pid").pid

    def signal(self, name: str, number: signal.Signals) -> int | None:
        """Send a signal; the pid it went to."""
        return PidFile(self._control / f"{name}.pid").kill(number)

    def hold(self, name: str) -> None:
        """Stop it and keep it down; returns when it is gone."""
        down = self._control / f"{name}.down"
        down.unlink(missing_ok=True)  # of an earlier time
        (self._control / f"{name}.held").touch()
        wait_until(down.exists, f"{name} to stop", _GRACE_SECONDS + 5)

    def release(self, name: str) -> None:
        """Let it run again."""
        (self._control / f"{name}.held").unlink(missing_ok=True)


def main(control: Path) -> None:
    supervisor = Supervisor(control)

    def stop(number: int, frame: FrameType | None) -> None:
        supervisor.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    supervisor.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(Path(sys.argv[1]))
