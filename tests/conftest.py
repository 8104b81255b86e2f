"""What all groups of tests have in common."""

from collections.abc import Iterator

import pytest
import structlog
from structlog.dev import ConsoleRenderer, plain_traceback

pytest_plugins = ["tests.databases"]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands set how much is logged, which must not decide what the next test hears."""
    log_plainly()
    yield
    structlog.reset_defaults()


def log_plainly() -> None:
    """Where `rich` is installed, as some tools want it, it would show all variables of every traceback for minutes."""
    usual = structlog.get_config()["processors"][:-1]
    structlog.configure(processors=[*usual, ConsoleRenderer(exception_formatter=plain_traceback)])
