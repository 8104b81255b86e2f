"""All endpoints of the Haltman API, from tests/data/haltman-endpoints.txt."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

from mailrelay.api.haltman.endpoint import NO_STORE

_DATA = Path(__file__).resolve().parents[2] / "data" / "haltman-endpoints.txt"
_KEY = "0123456789abcdef" * 4

Members = Mapping[str, str]


@dataclass(frozen=True)
class Rate:
    """A limit. name: `*` if nobody cares; step_ms: 0 unless it only slows down."""

    kind: Literal["rule", "slow", "fail"]
    name: str
    limit: int
    seconds: int
    subject: str
    where: str = ""
    reason: str = ""
    step_ms: int = 0

    def __str__(self) -> str:
        return self.name if self.name != "*" else self.reason


@dataclass(frozen=True)
class Row:
    """An endpoint. also: other statuses of a success; asks: members of a well-formed request."""

    method: str
    path: str
    status: int
    access: str
    section: str
    asks: Members = field(default_factory=dict)
    rates: tuple[Rate, ...] = ()
    errors: tuple[tuple[int, str], ...] = ()
    caching: Members = field(default_factory=lambda: NO_STORE)
    also: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.section} {self.method} {self.path}"

    @property
    def rules(self) -> tuple[Rate, ...]:
        """Those that count every request."""
        return tuple(one for one in self.rates if one.kind != "fail")

    def request(self, asks: Members, path: str | None = None) -> tuple[str, str, bytes | None]:
        """Method, target and body of a request with these members."""
        asks = dict(asks)
        path = path or self.path
        for name, usual in (("id", "1"), ("target", "new.example")):
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", quote(asks.pop(name, usual)))
        if self.method == "GET":
            return self.method, f"{path}?{urlencode(asks)}" if asks else path, None
        return self.method, path, json.dumps(asks).encode() if asks else None


def _rows() -> Iterator[Row]:
    lines: list[str] = []
    shared: dict[str, list[str]] = {}
    found: list[tuple[str, list[str]]] = []
    for line in _DATA.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("= "):
            shared[line.removeprefix("= ")] = lines = []
        elif not line.startswith(" "):
            lines = []
            found.append((line, lines))
        else:
            lines.append(line.strip())
    for head, lines in found:
        method, path, status, access, section = head.split()
        row = Row(method, path, int(status), access, section)
        for word, _, rest in (line.partition(" ") for line in _whole(lines, shared)):
            row = _with(row, word, rest.strip())
        yield row


def _whole(lines: list[str], shared: Mapping[str, list[str]]) -> Iterator[str]:
    for line in lines:
        yield from shared[line.split()[1]] if line.startswith("like ") else (line,)


def _with(row: Row, word: str, rest: str) -> Row:
    match word:
        case "asks":
            pairs = (one.partition("=") for one in rest.replace("<key>", _KEY).split())
            return replace(row, asks={name: value for name, _, value in pairs})
        case "rule" | "fail":
            name, rate, subject, where, reason = rest.split()
            limit, seconds = map(int, rate.split("/"))
            kind: Literal["rule", "fail"] = "rule" if word == "rule" else "fail"
            return replace(row, rates=(*row.rates, Rate(kind, name, limit, seconds, subject, where, reason)))
        case "slow":
            name, rate, subject, step = rest.split()
            limit, seconds = map(int, rate.split("/"))
            slow = Rate("slow", name, limit, seconds, subject, step_ms=int(step))
            return replace(row, rates=(*row.rates, slow))
        case "error" | "ours":
            status, _, code = rest.partition(" ")
            return replace(row, errors=(*row.errors, (int(status), code)))
        case "also":
            return replace(row, also=(*row.also, int(rest)))
        case "caching":
            return replace(row, caching={"Cache-Control": rest})
    raise ValueError(f"{word} {rest}")


ROWS = tuple(_rows())
LIMITS = tuple((row, rate) for row in ROWS for rate in row.rates if rate.kind == "rule")
SLOWED = tuple((row, rate) for row in ROWS for rate in row.rates if rate.kind == "slow")
