"""What all groups of tests have in common."""

from collections.abc import Iterator

import pytest
import structlog

pytest_plugins = ["tests.databases"]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands set how much is logged, which must not decide what the next test hears."""
    yield
    structlog.reset_defaults()
