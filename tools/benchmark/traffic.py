"""The load: smtp-source sends, smtp-sink takes. Both are Postfix' own test programs and cost little."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools.benchmark.letter import HELO, SENDER
from tools.sandbox.ports import answers
from tools.sandbox.process import Trouble, wait_until

SESSIONS = 20
_LOOK_SECONDS = 0.005
_STUCK_SECONDS = 30.0
_COUNTER = re.compile(rb"mesg=(\d+)")


def mortal(argv: list[str]) -> list[str]:
    """The command, as nobody if we are root, and killed by the kernel if we die."""
    harmless = ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *harmless, "--pdeathsig", "KILL", *argv]


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages of one run.

    file: what each of them holds. recipient: smtp-source puts 1, 2, 3… before it, so every message has its own alias.
    """

    messages: int
    file: Path
    recipient: str


class Source:
    """smtp-source, sending a batch over parallel sessions, a connection for each message as strangers do."""

    def __init__(self, port: int, batch: Batch, log: Path) -> None:
        argv = ["smtp-source", "-s", str(SESSIONS), "-m", str(batch.messages), "-N", "-F", str(batch.file)]
        argv += ["-f", SENDER, "-t", batch.recipient, "-M", HELO, f"127.0.0.1:{port}"]
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(mortal(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def check(self) -> None:
        """Raises Trouble if it gave up."""
        if self._process.poll():
            said = self._log.read_text(errors="replace").strip()
            raise Trouble(f"smtp-source gave up with status {self._process.returncode}: {said[-2000:]}")

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


class Sink:
    """smtp-sink: takes everything and counts it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._seen = 0
        self._text = b""
        argv = ["smtp-sink", "-4", "-c", "-h", "outside.example", f"127.0.0.1:{port}", "1000"]
        self._process = subprocess.Popen(mortal(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._output: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        os.set_blocking(self._output.fileno(), False)
        wait_until(lambda: answers(port), "smtp-sink to listen")

    @property
    def pid(self) -> int:
        return self._process.pid

    def count(self) -> int:
        """Messages taken since it runs."""
        while chunk := self._read():
            self._text = (self._text + chunk)[-200:]
            if found := _COUNTER.findall(self._text.rpartition(b"\r")[0] + b" "):
                self._seen = int(found[-1])
        if self._process.poll() is not None:
            raise Trouble(f"smtp-sink ended with status {self._process.returncode}")
        return self._seen

    def _read(self) -> bytes:
        try:
            return os.read(self._output.fileno(), 65536)
        except BlockingIOError:
            return b""

    def wait_for(self, wanted: int, meanwhile: Callable[[], None]) -> None:
        """Return as soon as it has so many. Raises Trouble when nothing more comes. meanwhile: called often."""
        last, since = -1, time.monotonic()
        while (now := self.count()) < wanted:
            meanwhile()
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > _STUCK_SECONDS:
                raise Trouble(f"no message arrived for {_STUCK_SECONDS:g} seconds; {wanted - now} are missing")
            time.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()
