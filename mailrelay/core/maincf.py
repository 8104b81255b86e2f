"""main.cf and master.cf as bytes: where entries and words are, and how to take some out leaving the rest alone.

Source: postconf(5) and master(5). A logical line begins with a character that is no white space and goes on over
lines that begin with white space; empty lines and lines whose first visible character is `#` may stand anywhere,
also inside a logical line, and do not end it. Lists are split at white space and commas, not inside braces.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_LINE = re.compile(rb"[^\n]*\n|[^\n]+\Z")
_SEPARATORS = " \t\r\n,"

Unit = tuple[str, ...]  # consecutive words that belong together: ("check_policy_service", "inet:127.0.0.1:10031")


@dataclass(frozen=True, slots=True)
class Entry:
    """One logical line; the numbers are offsets in its file."""

    key: str  # `transport_maps` in main.cf, `smtp/inet` in master.cf
    start: int
    value: int  # where its words begin: behind the `=` in main.cf, at the start in master.cf
    end: int  # behind its last line that is no comment


@dataclass(frozen=True, slots=True)
class Word:
    """One element of a list, with its offsets in the text it came from."""

    text: str
    start: int
    end: int


def words(value: str) -> list[Word]:
    """The elements of a Postfix list, a group in braces being part of one."""
    found: list[Word] = []
    start, depth = -1, 0
    for at, char in enumerate(value):
        if depth == 0 and char in _SEPARATORS:
            if start >= 0:
                found.append(Word(value[start:at], start, at))
                start = -1
            continue
        start = at if start < 0 else start
        depth += {"{": 1, "}": -1 if depth else 0}.get(char, 0)
    if start >= 0:
        found.append(Word(value[start:], start, len(value)))
    return found


def texts(value: str) -> list[str]:
    """The elements of a Postfix list."""
    return [word.text for word in words(value)]


def parameters(content: bytes) -> list[Entry]:
    """The entries of a main.cf, in order; a parameter set twice is there twice (Postfix takes the last)."""
    found = []
    for start, end in _logical_lines(content):
        name, equals, _ = content[start:end].partition(b"=")
        if equals:
            found.append(Entry(name.strip().decode("latin-1"), start, start + len(name) + 1, end))
    return found


def services(content: bytes) -> list[Entry]:
    """The entries of a master.cf, in order."""
    found = []
    for start, end in _logical_lines(content):
        fields = content[start:end].split(None, 2)
        if len(fields) >= 2:
            key = f"{fields[0].decode('latin-1')}/{fields[1].decode('latin-1')}"
            found.append(Entry(key, start, start, end))
    return found


def entry_words(content: bytes, entry: Entry) -> list[Word]:
    """The words of an entry with offsets in the file, comments inside left out."""
    # latin-1 keeps offsets; for anything but ASCII the words are good for comparing only.
    found = words(_masked(content, entry)[entry.value - entry.start :].decode("latin-1"))
    return [Word(word.text, word.start + entry.value, word.end + entry.value) for word in found]


def main_meaning(content: bytes) -> Mapping[str, list[str]]:
    """What a main.cf says, whatever its layout: the elements of each parameter."""
    return {entry.key: [word.text for word in entry_words(content, entry)] for entry in parameters(content)}


def master_meaning(content: bytes) -> Mapping[str, list[str]]:
    """What a master.cf says, whatever its layout: the fields, command and arguments of each service."""
    return {entry.key: _masked(content, entry).decode("latin-1").split() for entry in services(content)}


def ended(content: bytes) -> bytes:
    """The same with a newline at its end: postconf appends without looking, and would join two lines."""
    return content if not content or content.endswith(b"\n") else content + b"\n"


def drop(content: bytes, entry: Entry) -> bytes:
    """The file without that entry; comments inside it stay."""
    kept = b"".join(line for line in _LINE.findall(content[entry.start : entry.end]) if _is_comment(line))
    return content[: entry.start] + kept + content[entry.end :]


def without(content: bytes, name: str, units: Sequence[Unit]) -> bytes:
    """main.cf with those units taken out of every entry of the parameter `name`."""
    while True:
        span = next(_spans_of(content, name, units), None)
        if span is None:
            return content
        content = _cut(content, *span)


def relaid(content: bytes, name: str, original: bytes) -> bytes:
    """main.cf with the layout that `original` had for `name`, if its one entry still has the same words there."""
    new = [entry for entry in parameters(content) if entry.key == name]
    old = [entry for entry in parameters(original) if entry.key == name]
    if len(new) != 1 or len(old) != 1:
        return content
    now, then = new[0], old[0]
    if [w.text for w in entry_words(content, now)] != [w.text for w in entry_words(original, then)]:
        return content
    block = original[then.start : then.end]
    # postconf moves comments from the middle of a value behind it.
    comments = b"".join(line for line in _LINE.findall(block) if _is_comment(line))
    end = now.end + len(comments) if content[now.end :].startswith(comments) else now.end
    return _joined(content[: now.start], block, content[end:])


def undo(now: bytes, adopted: bytes, original: bytes) -> bytes:
    """Take the change from `original` to `adopted` back out of `now`, wherever its lines are still as adopted."""
    # Whole entries are compared, not lines: half of a value that went over several lines must not come back.
    lines, was, wanted = _items(now), _items(adopted), _items(original)
    place: dict[int, int] = {-1: -1, len(was): len(lines)}  # item of adopted -> item of now
    for block in SequenceMatcher(None, was, lines, autojunk=False).get_matching_blocks():
        place.update((block.a + i, block.b + i) for i in range(block.size))
    result = b""
    done = 0
    for tag, first, last, from_, to in SequenceMatcher(None, was, wanted, autojunk=False).get_opcodes():
        span = None if tag == "equal" else _contiguous(place, first, last)
        if span is not None:
            result = _joined(result, b"".join(lines[done : span[0]]), b"".join(wanted[from_:to]))
            done = span[1]
    return _joined(result, b"".join(lines[done:]))


def _items(content: bytes) -> list[bytes]:
    """The file cut into its entries, comments inside them included, and the lines between."""
    items, done = [], 0
    for start, end in _logical_lines(content):
        items += [*_LINE.findall(content[done:start]), content[start:end]]
        done = end
    return items + _LINE.findall(content[done:])


def _contiguous(place: Mapping[int, int], first: int, last: int) -> tuple[int, int] | None:
    """Where the adopted lines [first, last) stand unbroken in the file of today; for none, where they would."""
    if first == last:
        before, after = place.get(first - 1), place.get(first)
        return (after, after) if before is not None and after is not None and after == before + 1 else None
    found = [place.get(line) for line in range(first, last)]
    start = found[0]
    if start is None or found != list(range(start, start + len(found))):
        return None
    return start, start + len(found)


def _joined(*parts: bytes) -> bytes:
    """The parts one after the other, none of them sharing a line."""
    filled = [part for part in parts if part]
    return b"".join([ended(part) for part in filled[:-1]] + filled[-1:])


def _logical_lines(content: bytes) -> Iterator[tuple[int, int]]:
    start, end = -1, -1
    for match in _LINE.finditer(content):
        line = match[0]
        if _is_comment(line):
            continue
        if line[:1].isspace():
            end = match.end()
            continue
        if start >= 0:
            yield start, end
        start, end = match.span()
    if start >= 0:
        yield start, end


def _masked(content: bytes, entry: Entry) -> bytes:
    """The entry with spaces for its comments, so that offsets stay."""
    lines = _LINE.findall(content[entry.start : entry.end])
    return b"".join(b" " * len(line) if _is_comment(line) else line for line in lines)


def _is_comment(line: bytes) -> bool:
    text = line.strip()
    return not text or text.startswith(b"#")


def _spans_of(content: bytes, name: str, units: Sequence[Unit]) -> Iterator[tuple[Entry, int, int]]:
    """Entry, first and last word of each unit found."""
    for entry in parameters(content):
        if entry.key != name:
            continue
        found = [word.text for word in entry_words(content, entry)]
        for unit in units:
            for first in range(len(found) - len(unit) + 1):
                if tuple(found[first : first + len(unit)]) == unit:
                    yield entry, first, first + len(unit) - 1


def _cut(content: bytes, entry: Entry, first: int, last: int) -> bytes:
    """The file without the words first..last of the entry, and without the separator that came with them."""
    found = entry_words(content, entry)
    start, end = found[first].start, found[last].end
    before = found[first - 1].end if first else entry.value
    after = found[last + 1].start if last + 1 < len(found) else -1
    begins_line = b"\n" in content[before:start]
    ends_line = after < 0 or b"\n" in content[end:after]
    if first and (after < 0 or not begins_line):
        comments = [line for line in _LINE.findall(content[before:start])[1:] if _is_comment(line) and line.strip()]
        kept = b"\n" + b"".join(comments).removesuffix(b"\n") if comments else b""
        return content[:before] + kept + content[end:]
    if begins_line and ends_line and after >= 0:
        return content[: content.rindex(b"\n", 0, start) + 1] + content[content.index(b"\n", end) + 1 :]
    if ends_line:
        return content[:start] + content[end:].lstrip(b",")
    return content[:start] + content[after:]
