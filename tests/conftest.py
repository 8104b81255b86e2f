"""What all groups of tests have in common."""

import gc
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings
from structlog.dev import ConsoleRenderer, plain_traceback

pytest_plugins = ["tests.databases"]

# The same examples in every run: what fails was broken by the change at hand. `--hypothesis-profile=search` draws new
# ones. How long one takes decides nothing: the machine may be busy.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", _PATIENT, derandomize=True)
settings.register_profile("search", _PATIENT)
settings.load_profile("steady")


def pytest_collection_finish() -> None:
    """Thousands of tests stay in memory to the end: looked through with all else that lives long, they would cost a
    third of a second now and then, in the middle of whatever measures its time.
    """
    gc.collect()
    gc.freeze()


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
