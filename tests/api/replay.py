"""Conversations of real clients, as they are written down in tests/data, and whether they go that way.

A file begins with its title, and after `headers:` with those of every request. Each exchange is a line `=== title`,
orders, the request with headers of its own and its body as sent, a line `--- status`, and the answer: nothing, JSON, or
after `--- status text` a bare text. An order is a line `! WORD REST` for whoever replays, such as `! dns NAME TEXT`,
which publishes a TXT record.

In all of that `<alias>` is what was known before, or a word caught since. In answers `<time>`, `<uuid>`, `<text>`,
`<int>` and others that Memory is told of stand for any such value; `<uuid:new>` catches it under a name.
In JSON `"<<": "alias"` stands for all members of that thing in things.json; `"...": ""` means that there may be more
members than those named.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[1] / "data"

_KINDS = {
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    "text": r"(?s:.+)",
}
_INTEGER = re.compile(r"<int(?::([a-z0-9 ]+))?>")
_PLACE = re.compile(r"<([a-z0-9][a-z0-9 ]*)(?::([a-z0-9 ]+))?>")


@dataclass(frozen=True)
class Exchange:
    """One request and what comes back. orders: what is to be done before, word and rest. answer: None for none."""

    title: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: str
    status: int
    answer: str | None
    is_text: bool
    orders: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Session:
    """What one client says. headers: of every request."""

    name: str
    title: str
    headers: tuple[tuple[str, str], ...]
    exchanges: tuple[Exchange, ...]


def sessions(folder: Path) -> tuple[Session, ...]:
    """All files of a folder."""
    return tuple(_session(path) for path in sorted(folder.glob("*.txt")))


def _session(path: Path) -> Session:
    head, *parts = re.split(r"(?m)^=== ", path.read_text())
    title, _, headers = head.partition("headers:\n")
    return Session(path.stem, title.strip(), tuple(_headers(headers)), tuple(map(_exchange, parts)))


def _headers(text: str) -> Iterator[tuple[str, str]]:
    for line in text.strip().splitlines():
        name, _, value = line.partition(": ")
        yield name, value


def _exchange(text: str) -> Exchange:
    asked, mark, said = text.partition("\n--- ")
    title, _, asked = asked.partition("\n")
    orders = []
    while asked.startswith("! "):
        line, _, asked = asked.partition("\n")
        word, _, rest = line.removeprefix("! ").partition(" ")
        orders.append((word, rest))
    head, _, body = asked.partition("\n\n")
    request, _, headers = head.partition("\n")
    method, _, target = request.strip().partition(" ")
    line, _, answer = said.partition("\n")
    status, _, kind = line.partition(" ")
    assert mark and method and target.startswith("/"), text
    return Exchange(
        *(title.strip(), method, target, tuple(_headers(headers)), body.strip(), int(status)),
        *(answer.strip() or None, kind == "text", tuple(orders)),
    )


class Memory:
    """What names in angle brackets stand for, in one conversation.

    known: at the beginning. kinds: patterns of values besides those that all have. things: by the names in JSON.
    """

    def __init__(self, known: Mapping[str, str], kinds: Mapping[str, str], things: Mapping[str, Any]) -> None:
        self._known = dict(known)
        self._kinds = {**_KINDS, **kinds}
        self._things = things

    def learn(self, name: str, text: str) -> None:
        """From now on a name stands for this."""
        self._known[name] = text

    def written(self, text: str) -> str:
        """A text of the client's."""
        return _PLACE.sub(lambda found: self._known[found[1]], text)

    def written_json(self, text: str) -> str:
        """The same, inside of strings in JSON."""
        return _PLACE.sub(lambda found: json.dumps(self._known[found[1]])[1:-1], text)

    def compare(self, expected: Any, found: Any, place: str = "$") -> Iterator[str]:
        """What is otherwise than expected; remembers what is to be caught."""
        if isinstance(expected, dict):
            yield from self._compare_objects(self._whole(expected), found, place)
        elif isinstance(expected, list):
            if not isinstance(found, list) or len(found) != len(expected):
                yield f"{place}: {found!r} instead of {len(expected)} members"
                return
            for number, (one, other) in enumerate(zip(expected, found, strict=True)):
                yield from self.compare(one, other, f"{place}[{number}]")
        elif isinstance(expected, str) and (integer := _INTEGER.fullmatch(expected)):
            if type(found) is not int:
                yield f"{place}: {found!r} is no integer"
            elif integer[1]:
                self._known[integer[1]] = str(found)
        elif isinstance(expected, str):
            if not isinstance(found, str) or not self.fits(expected, found):
                yield f"{place}: {found!r} instead of {expected!r}"
        elif type(found) is not type(expected) or found != expected:
            yield f"{place}: {found!r} instead of {expected!r}"

    def _compare_objects(self, expected: Mapping[str, Any], found: Any, place: str) -> Iterator[str]:
        if not isinstance(found, dict):
            yield f"{place}: {found!r} is no object"
            return
        for name in expected.keys() - {"..."}:
            if name not in found:
                yield f"{place}.{name} is missing"
        for name in found:
            if name in expected:
                yield from self.compare(expected[name], found[name], f"{place}.{name}")
            elif "..." not in expected:
                yield f"{place}.{name} is not expected"

    def fits(self, expected: str, found: str) -> bool:
        """Whether a text is as expected."""
        pattern, at, caught = "", 0, []
        for place in _PLACE.finditer(expected):
            pattern += re.escape(expected[at : place.start()])
            at = place.end()
            if place[1] in self._kinds:
                pattern += f"({self._kinds[place[1]]})"
                caught.append(place[2])
            else:
                pattern += re.escape(self._known[place[1]])
        match = re.fullmatch(pattern + re.escape(expected[at:]), found)
        if match is None:
            return False
        self._known.update({name: text for name, text in zip(caught, match.groups(), strict=True) if name})
        return True

    def _whole(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """With all the members of the thing that it names."""
        if "<<" not in value:
            return dict(value)
        return {**self._whole(self._things[value["<<"]]), **{name: one for name, one in value.items() if name != "<<"}}
