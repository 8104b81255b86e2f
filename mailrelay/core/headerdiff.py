"""What became of a header, field by field, for people to read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from mailrelay.core.header import Field

# Beyond it fields are compared from both ends only: finding the least change takes the square of their number.
MAX_COMPARED = 2000

Mark = Literal[" ", "-", "+"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a field, without its end. mark: `-` is gone, `+` is new."""

    mark: Mark
    text: str

    def __str__(self) -> str:
        return f"{self.mark}{self.text}"


def compare(before: Sequence[Field], after: Sequence[Field]) -> tuple[Line, ...]:
    """All fields of both headers in order; a field that changed is gone and new, one that moved as well."""
    return tuple(_lines([one.raw for one in before], [one.raw for one in after]))


def _lines(before: Sequence[bytes], after: Sequence[bytes]) -> Iterator[Line]:
    head = _common(before, after)
    rest_before, rest_after = before[head:], after[head:]
    tail = _common(rest_before[::-1], rest_after[::-1])
    middle_before, middle_after = rest_before[: len(rest_before) - tail], rest_after[: len(rest_after) - tail]
    yield from _marked(" ", before[:head])
    if len(middle_before) + len(middle_after) > MAX_COMPARED:
        yield from _marked("-", middle_before)
        yield from _marked("+", middle_after)
    else:
        matcher = SequenceMatcher(None, middle_before, middle_after, autojunk=False)
        for operation, i1, i2, j1, j2 in matcher.get_opcodes():
            if operation == "equal":
                yield from _marked(" ", middle_before[i1:i2])
            else:
                yield from _marked("-", middle_before[i1:i2])
                yield from _marked("+", middle_after[j1:j2])
    yield from _marked(" ", before[len(before) - tail :])


def _common(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    """How many fields at the beginning are the same."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _marked(mark: Mark, raws: Sequence[bytes]) -> Iterator[Line]:
    for raw in raws:
        for line in raw.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\n").split("\n"):
            yield Line(mark, line)
