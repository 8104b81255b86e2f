"""The ten match types: the values of a condition made into one test of a text (spec section 5.4)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase
from types import MappingProxyType

from mailrelay.core.rules.model import Text
from mailrelay.core.rules.pattern import Pattern, compiled

# No text is searched beyond this, so that no subject makes searching expensive.
MAX_TEXT_CHARACTERS = 4096

Test = Callable[[Text], bool]

DEFAULT_MATCH = "is exactly"
_SYNONYMS = {"is": DEFAULT_MATCH}
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def text(whole: str) -> Text:
    """A text made ready for any number of tests."""
    head = whole[:MAX_TEXT_CHARACTERS]
    return Text(whole, head, head.encode("utf-8", "replace"))


def ascii_lower(text: str) -> str:
    """Lower case, of ASCII letters only."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def spelled_out(match: object) -> object:
    """A match type as it is stored: the default for None, synonyms resolved, all else as it is."""
    if match is None:
        return DEFAULT_MATCH
    return _SYNONYMS.get(match, match) if isinstance(match, str) else match


def test(match: str, values: Sequence[str], *, ignores_case: bool) -> tuple[Test, int]:
    """Whether a text passes; with the size of the patterns, in RE2 instructions.

    match: one of MATCHES. values: comparable with the text; patterns without case if that is ignored.
    Raises BadPattern.
    """
    make, positive = MATCHES[match]
    size = 0
    if make is None:
        patterns = [compiled(value, ignores_case=ignores_case) for value in values]
        hit, size = _found(patterns), sum(pattern.programsize for pattern in patterns)
    else:
        hit = make(values)
    return (hit if positive else lambda text: not hit(text)), size


def _exactly(values: Collection[str]) -> Test:
    wanted = frozenset(values)
    return lambda text: text.whole in wanted


def _containing(values: Collection[str]) -> Test:
    wanted = [value for value in values if value]

    def contains(text: Text) -> bool:
        head = text.head
        for value in wanted:  # noqa: SIM110 - any() with a generator takes three times as long
            if value in head:
                return True
        return False

    return contains


def _starting(values: Collection[str]) -> Test:
    wanted = tuple(value for value in values if value)
    return lambda text: text.whole.startswith(wanted)


def _ending(values: Collection[str]) -> Test:
    wanted = tuple(value for value in values if value)
    return lambda text: text.whole.endswith(wanted)


def _found(patterns: Sequence[Pattern]) -> Test:
    searches = [pattern.search for pattern in patterns]

    def found(text: Text) -> bool:
        octets = text.octets  # RE2 works on octets: a str would be encoded anew for each pattern
        for search in searches:  # noqa: SIM110 - as above
            if search(octets) is not None:
                return True
        return False

    return found


# match type -> (what makes its test, None for patterns; whether a hit is what is wanted)
MATCHES: Mapping[str, tuple[Callable[[Collection[str]], Test] | None, bool]] = MappingProxyType(
    {
        "is exactly": (_exactly, True),
        "is not": (_exactly, False),
        "contains": (_containing, True),
        "does not contain": (_containing, False),
        "starts with": (_starting, True),
        "does not start with": (_starting, False),
        "ends with": (_ending, True),
        "does not end with": (_ending, False),
        "matches regex": (None, True),
        "does not match regex": (None, False),
    }
)
# Only these can hit with the empty text.
EXACT = frozenset(match for match, (make, _) in MATCHES.items() if make is _exactly)
REGEX = frozenset(match for match, (make, _) in MATCHES.items() if make is None)
