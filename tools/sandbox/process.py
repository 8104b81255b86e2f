"""Processes that outlive the command that started them, found again by pid file and never mistaken for another."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class Trouble(Exception):
    """The sandbox cannot go on; the text tells the user why and what to do."""


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0, pause: float = 0.05) -> None:
    """Return as soon as the condition holds. Raises Trouble after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Trouble(f"waited {seconds:g} seconds for {what}")
        time.sleep(pause)


def run(argv: Sequence[str], env: Mapping[str, str] | None = None, user: str | None = None) -> str:
    """The command's standard output. Raises Trouble with its remarks when it fails."""
    done = subprocess.run(
        argv,
        env={**os.environ, **(env or {})},
        user=user,
        group=user,
        extra_groups=[] if user else None,
        cwd="/" if user else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing")[-4000:]
        raise Trouble(f"`{' '.join(argv)}` ended with status {done.returncode}:\n{said}")
    return done.stdout


def start_time(pid: int) -> str | None:
    """When the kernel started the process, in its own ticks; None if there is no such process (or only its corpse)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def working_folder(pid: int) -> Path | None:
    """Where the process works; None if it is gone. Tells servers apart that note their pid in files of their own."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


class PidFile:
    """`PID START-TIME`, so that a number that the kernel gave to somebody else is not taken for our process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, pid: int) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.write_text(f"{pid} {start_time(pid)}\n")
        temporary.rename(self.path)

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)

    @property
    def pid(self) -> int | None:
        """The living process, or None."""
        try:
            pid, started = self.path.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if start_time(int(pid)) == started else None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int | None:
        """Send the signal; the pid it went to, None if nothing runs."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, number)
        return pid

    def stop(self, seconds: float = 20.0) -> None:
        """TERM, and KILL for what does not listen; returns when the process is gone."""
        pid = self.kill(signal.SIGTERM)
        if pid is None:
            return
        started = start_time(pid)
        try:
            wait_until(lambda: start_time(pid) != started or started is None, f"process {pid} to end", seconds)
        except Trouble:
            self.kill()
            wait_until(lambda: start_time(pid) != started, f"process {pid} to end after KILL", 5)
        self.clear()


def spawn(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> int:
    """Start a process of its own session whose output goes to the log file; returns its pid."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    child.returncode = 0  # it is to live on: nobody waits for it here
    return child.pid
