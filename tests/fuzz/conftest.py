"""How long the fuzzers look."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--api-calls",
        type=int,
        default=None,
        help="about so many calls of the addy.io API, other ones each time (default: few, always the same)",
    )
