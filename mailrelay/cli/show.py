"""Results as text for people and as JSON for programs."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime


def document(value: object) -> str:
    """One JSON document. Times are RFC 3339 in UTC."""
    return json.dumps(plain(value), ensure_ascii=False, indent=2)


def plain(value: object) -> object:
    """What JSON knows: dataclasses become objects, what it does not know becomes text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        return rfc3339(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [plain(item) for item in value]
    return str(value)


def rfc3339(moment: datetime) -> str:
    """`2026-01-02T03:04:05Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def cell(value: object) -> str:
    """A value within a line."""
    if value is None or value == "" or value == ():
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, tuple | list):
        return ", ".join(cell(item) for item in value)
    return _one_line(str(value))


def fields(record: object) -> dict[str, object]:
    """The fields of a dataclass, as JSON has them."""
    return {name: plain(value) for name, value in shallow(record).items()}


def indented(lines: Sequence[str], columns: int) -> list[str]:
    """Lines of others, made harmless; all but the first moved to the right."""
    return [f"{'' if number == 0 else ' ' * columns}{_one_line(line)}" for number, line in enumerate(lines)]


def details(record: object) -> str:
    """The fields of a dataclass or mapping, one a line."""
    found = record if isinstance(record, Mapping) else shallow(record)
    width = max(len(name) for name in found)
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {cell(value)}" for name, value in found.items())


def table(records: Iterable[object], columns: Sequence[str]) -> str:
    """One line per record, columns aligned; '' without records."""
    lines = [[cell(getattr(record, column)) for column in columns] for record in records]
    if not lines:
        return ""
    lines.insert(0, [column.replace("_", " ").upper() for column in columns])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def shallow(record: object) -> dict[str, object]:
    """The fields of a dataclass, as they are."""
    assert dataclasses.is_dataclass(record)
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _one_line(text: str) -> str:
    """Control characters of others must not reach the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
