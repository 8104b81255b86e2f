"""Patterns of owners: RE2, whose time is linear whatever the pattern; and where a bad one goes wrong (spec 5.4)."""

import re
from collections.abc import Iterator
from typing import Protocol

import re2

from mailrelay.core.errors import Malformed

MAX_PATTERN_CHARACTERS = 200
_MAX_MEMORY_OCTETS = 1 << 20

# What parentheses cannot be part of: quoted text, escapes, character classes.
_TOKEN = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\\.|\[:\^?\w*:\]|[^\]\\])*\]?|.", re.DOTALL)


class Pattern(Protocol):
    """What is used of a compiled pattern. programsize: in RE2 instructions; search: None if there is no match."""

    @property
    def programsize(self) -> int: ...

    def search(self, text: bytes, /) -> object | None: ...


class BadPattern(Malformed):
    """RE2 refuses it. position: how many characters stand before what it refuses; None: it is all of it.

    too_large: to find that out took milliseconds.
    """

    def __init__(self, reason: str, position: int | None, too_large: bool = False) -> None:
        super().__init__(reason)
        self.position = position
        self.too_large = too_large


def compiled(pattern: str, *, ignores_case: bool) -> Pattern:
    """A pattern to search octets in UTF-8 with. Raises BadPattern."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise BadPattern(f"a pattern has at most {MAX_PATTERN_CHARACTERS} characters", MAX_PATTERN_CHARACTERS)
    refusal = _refusal(pattern, ignores_case)
    if not isinstance(refusal, str):
        return refusal
    position = _position(pattern, refusal, ignores_case)
    reason, _, fragment = refusal.partition(": ")
    # Of unbalanced parentheses RE2 names the whole pattern.
    shown = f"{reason}: {fragment}" if fragment and fragment != pattern else reason
    raise BadPattern(shown, position, reason.startswith("pattern too large"))


def _refusal(pattern: str, ignores_case: bool) -> Pattern | str:
    """The compiled pattern, or why not, in RE2's words: `reason: fragment`."""
    options = re2.Options()
    options.case_sensitive = not ignores_case
    options.log_errors = False
    options.max_mem = _MAX_MEMORY_OCTETS
    try:
        made: Pattern = re2.compile(pattern, options)
    except re2.error as error:
        words = error.args[0]
        return words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    except UnicodeEncodeError:
        return "half of a surrogate pair"
    return made


def _position(pattern: str, refusal: str, ignores_case: bool) -> int | None:
    reason, _, fragment = refusal.partition(": ")
    if reason in ("missing )", "unexpected )"):
        return _unbalanced(pattern, closing=reason == "unexpected )")
    if reason == "missing ]":
        return len(pattern) - len(fragment)
    if reason == "trailing \\":
        return len(pattern) - 1
    if not fragment:
        return None
    # The fragment may stand there several times: the one at fault is refused although the pattern ends behind it.
    for at in _places(pattern, fragment):
        if _refusal(pattern[: at + len(fragment)], ignores_case) == refusal:
            return at
    first = pattern.find(fragment)
    return first if first >= 0 else None


def _places(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _unbalanced(pattern: str, *, closing: bool) -> int | None:
    """Of the innermost parenthesis that is not closed; or of the first that closes nothing."""
    opened: list[int] = []
    for token in _TOKEN.finditer(pattern):
        if token[0] == "(":
            opened.append(token.start())
        elif token[0] == ")":
            if not opened and closing:
                return token.start()
            opened = opened[:-1]
    return opened[-1] if opened else None
