"""A role in a process of its own beside the others: libmilter takes the signals of the process that it runs in."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mailrelay import log
from mailrelay.config import Config

_COMMAND = "import sys; from mailrelay.cli import main; sys.argv[0] = 'mailrelay'; main()"
_PAUSE_SECONDS = 1.0
_GRACE_SECONDS = 20.0
_BAD_CONFIG = 78


class ChildRole:
    """Runs `mailrelay serve NAME`, and again when it ends."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble = "is starting"

    async def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=self._name)

    async def _keep(self) -> None:
        # What systemd gave to us is about us.
        ours = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        while True:
            command = ("-c", _COMMAND, "-c", str(self._path), "serve", self._name)
            try:
                self._process = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment)
            except OSError as error:  # no memory or no process to be had just now
                self._trouble = f"cannot be started: {error.strerror or error}"
                log.logger().error("child.not_started", role=self._name, problem=self._trouble)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._trouble = ""
            code = await self._process.wait()
            self._trouble = "its configuration cannot be used" if code == _BAD_CONFIG else f"ended with status {code}"
            log.logger().error("child.ended", role=self._name, status=code)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _GRACE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def reload(self, config: Config) -> None:
        """It reads the configuration itself."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGHUP)

    def health(self) -> Mapping[str, str]:
        """Whether it runs; its own status page tells more."""
        return {self._name: self._trouble or "ok"}
