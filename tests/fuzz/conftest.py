"""How long the fuzzers look."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--api-calls",
        type=int,
        default=None,
        help="about so many calls of each API, other ones each time (default: few, always the same)",
    )
