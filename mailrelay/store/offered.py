"""Shared domains on which new aliases can be made: both APIs ask for the same; mail asks for the switch alone."""

from typing import LiteralString


def usable(domain: LiteralString) -> LiteralString:
    """Whether this row is such a domain: switched on, and its mail comes here, as DNS or the operator said.

    domain: the name of the row.
    """
    return f"{domain}.shared and {domain}.active and {domain}.mx_verified_at is not null"


def listed(domain: LiteralString) -> LiteralString:
    """Whether it is shown to everybody as well (haltman-api.md section 1.5)."""
    return f"{usable(domain)} and {domain}.visible"
