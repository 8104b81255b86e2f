"""Where a role spends its time, by py-spy: it looks at the stacks of a running process and of those below it.

That costs the role little, so that its figures stay near the truth. Counted is who holds the interpreter, which nobody
does who waits; the time of a function written in C is that of its caller.
"""

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.sandbox.process import Trouble, wait_until

_LOOKS_A_SECOND = 400
_PROCESS = re.compile(r'process \d+:".*?"(?:;|$)|thread \([^)]*\)[^;]*;')
_PLACE = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*?)(?::(?P<line>\d+))?\)$")


@contextmanager
def shown(pid: int, file: Path, functions: int) -> Iterator[None]:
    """Within, the process is looked at; what was found is printed at the end and stays in the file."""
    with _looking(pid, file, file.with_suffix(".log")):
        yield
    print(hot_spots(file.read_text(), functions))


@contextmanager
def _looking(pid: int, file: Path, log: Path) -> Iterator[None]:
    """Afterwards the file has a line for every stack that was seen: frames, then how often."""
    command = Path(sys.executable).with_name("py-spy")
    if not command.exists():
        raise Trouble(f"{command} is missing: {sys.executable} -m pip install py-spy")
    # By functions rather than lines.
    argv = [str(command), "record", "--pid", str(pid), "--subprocesses", "--gil", "--function", "--format", "raw"]
    with log.open("wb") as output:
        looking = subprocess.Popen(
            [*argv, "--rate", str(_LOOKS_A_SECOND), "--output", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: looking.poll() is not None or b"Sampling" in log.read_bytes(), "py-spy to look")
        yield
    finally:
        looking.send_signal(signal.SIGINT)
        if looking.wait():
            raise Trouble(f"py-spy ended with status {looking.returncode}; see {log}")


def hot_spots(stacks: str, functions: int) -> str:
    """Functions and their shares of all time: those with most of their own, then those with most including callees."""
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame for frame in _PROCESS.sub("", stack).split(";") if frame]
        if frames:
            own[frames[-1]] += int(count)
            below.update(dict.fromkeys(frames, int(count)))
    whole = own.total() or 1
    lines = []
    for title, ranking in (("by themselves", own), ("with what they call", below)):
        lines.append(f"functions {title}, of {whole} looks: share by itself, share with what it calls")
        for frame, _ in ranking.most_common(functions):
            lines.append(f"  {own[frame] / whole:6.1%}  {below[frame] / whole:6.1%}  {_named(frame)}")
    return "\n".join(lines)


def _named(frame: str) -> str:
    """`name  folder/file.py:line`, so that what is not ours can be told."""
    found = _PLACE.match(frame)
    if found is None:
        return frame
    file = "/".join(found["file"].split("/")[-3:])
    return f"{found['name']:<32} {file}" + (f":{found['line']}" if found["line"] else "")
