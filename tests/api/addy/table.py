"""All endpoints of the addy.io API, from tests/data/addy-endpoints.txt."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.api.addy.household import IDS

_DATA = Path(__file__).resolve().parents[2] / "data" / "addy-endpoints.txt"
_INTERNAL = "/api/blocklist-check"  # of a spam filter on the host, nothing for clients


@dataclass(frozen=True)
class Row:
    """A line of the table. thing: what the path's id names; given: body, or query of a GET."""

    number: str
    method: str
    path: str
    status: int
    thing: str
    given: Mapping[str, Any] | None

    def __str__(self) -> str:
        return f"{self.number} {self.method} {self.path}"

    @property
    def url(self) -> str:
        return self.path.replace("{id}", IDS.get(self.thing, "?"))

    @property
    def is_described(self) -> bool:
        """Whether the OpenAPI document tells of it."""
        return self.path != _INTERNAL


def _rows() -> tuple[Row, ...]:
    lines = [line.split(None, 5) for line in _DATA.read_text().splitlines() if not line.startswith("#")]
    return tuple(
        Row(number, method, path, int(status), thing, None if given == "-" else json.loads(given))
        for number, method, path, status, thing, given in lines
    )


ROWS = _rows()
