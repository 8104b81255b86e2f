"""Other programs on the machine: waits for them to pause, and judges whether they disturbed a measurement."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tools.benchmark.watch import Watch

NOISE = 0.25  # of one processor: with more than this taken by others, a figure is doubtful
_LOOK_SECONDS = 0.5


@dataclass(slots=True)
class Patience:
    """seconds: what may still be spent on waiting for a quiet machine, and on measuring again."""

    seconds: float

    def wait(self, roots: dict[str, int]) -> None:
        """Return when the machine is quiet, or patience is at its end. roots: whose work is no noise."""
        while self.seconds > 0:
            watch, began = Watch(roots), time.monotonic()
            time.sleep(_LOOK_SECONDS)
            spent = time.monotonic() - began
            if watch.used().foreign / spent < NOISE:
                return
            self.seconds -= spent

    def again(self, foreign_share: float, seconds: float, say: Callable[[str], None]) -> bool:
        """Whether a measurement of so many seconds was disturbed and may be repeated."""
        if foreign_share <= NOISE or self.seconds <= 0:
            return False
        self.seconds -= seconds
        say(f"    again: other programs used {foreign_share:.0%} of a processor")
        return True
