"""The product's commands without the time that Python takes to start: a process that has loaded them forks for each.

The tests carry out hundreds, most of them to furnish the world, and what a command does takes a tenth of what its
start does. Sandbox.cli runs the real one.

Run as a program it takes requests, a line of JSON each, and answers likewise.
"""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tools.sandbox.process import Trouble
from tools.sandbox.sandbox import CliResult


class Commands:
    """config: the settings that commands get."""

    def __init__(self, config: Path) -> None:
        self._turn = threading.Lock()  # a question and its answer; tests ask from several threads
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "MAILRELAY_CONFIG": str(config)},
            text=True,
        )

    def run(self, arguments: Sequence[str], stdin: str = "") -> CliResult:
        """Carry out a command, however it ends."""
        assert self._process.stdin is not None and self._process.stdout is not None  # both are pipes
        with self._turn:
            self._process.stdin.write(json.dumps([arguments, stdin]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise Trouble("the process that carries out commands has ended")
        return CliResult(*json.loads(answer))

    def close(self) -> None:
        self._process.communicate()


def _serve() -> None:
    import mailrelay.cli

    for name in ("root", *(module.name for module in pkgutil.iter_modules(mailrelay.cli.__path__))):
        importlib.import_module(f"mailrelay.cli.{name}")
    for line in sys.stdin:
        arguments, stdin = json.loads(line)
        print(json.dumps(_carried_out(arguments, stdin)), flush=True)


def _carried_out(arguments: Sequence[str], stdin: str) -> tuple[int, str, str]:
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as remarks:
        given.write(stdin.encode())
        given.seek(0)
        child = os.fork()
        if child == 0:
            _become(arguments, given, out, remarks)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (out, remarks):
            file.seek(0)
            texts.append(file.read().decode())
        return code, texts[0], texts[1]


def _become(arguments: Sequence[str], *files: IO[bytes]) -> None:
    """Be the command; never returns."""
    code = 70
    try:
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number)
        from mailrelay.cli.root import run

        code = run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
