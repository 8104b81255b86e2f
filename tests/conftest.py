"""What all groups of tests have in common."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True, scope="session")
def loggers_listen() -> Iterator[None]:
    """A logger that keeps the processors of its first use is deaf to `capture_logs` once a test configures logging."""
    configure = structlog.configure

    def without_cache(**settings: object) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", without_cache)
        yield
