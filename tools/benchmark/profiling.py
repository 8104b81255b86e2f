"""Where a role spends its time: it runs under cProfile, which slows it down, so that its other figures mean nothing."""

import io
import pstats
import sys
from pathlib import Path

from tools.sandbox.process import wait_until


def command(file: Path, argv: list[str]) -> list[str]:
    """The command of a Python program, profiled; the figures are in the file when it has ended."""
    return [sys.executable, "-m", "cProfile", "-o", str(file), *argv]


def hot_spots(file: Path, functions: int) -> str:
    """The functions with the most time of their own, as pstats prints them."""
    wait_until(lambda: file.exists() and file.stat().st_size > 0, "the profile to be written")
    text = io.StringIO()
    stats = pstats.Stats(str(file), stream=text)
    stats.sort_stats("tottime").print_stats(functions)
    return text.getvalue()
