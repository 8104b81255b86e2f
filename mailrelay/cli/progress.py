"""A bar for long work, on standard error, if that is a terminal."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import click


class Progress:
    """Use it as a context; nothing is shown before `begin`."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._step: Callable[[int], None] = _nothing

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def begin(self, total: int) -> None:
        """There are so many steps."""
        if total and sys.stderr.isatty():
            bar = self._stack.enter_context(click.progressbar(length=total, file=sys.stderr, show_pos=True))
            self._step = bar.update

    def step(self, steps: int) -> None:
        """So many more are done."""
        self._step(steps)


def _nothing(steps: int) -> None:
    pass
