"""Expressions that let unknown names become aliases: which ones are taken from owners (addy.io API, section 3.9).

RE2 matches them in linear time whatever they are. What makes other engines slow is refused all the same, since clients
know these refusals.
"""

import re

from mailrelay.core.errors import Malformed
from mailrelay.core.rules.pattern import compiled

MAX_CHARACTERS = 100

_REPEATED = (".*", ".+", r"\w+", r"\w*", r"\s+", r"\s*", r"\d+", r"\d*")
_HEAVY = tuple(f"({inner}){outer}" for inner in _REPEATED for outer in "*+")
# One character, with the backslash before it if there is one.
_SIGN = re.compile(r"\\.|.", re.DOTALL)


def is_valid(pattern: str) -> bool:
    """True if it can stand between slashes, so that none of its own is bare, and RE2 understands it."""
    try:
        compiled(pattern, ignores_case=True)
    except Malformed:
        return False
    return "/" not in _SIGN.findall(pattern)


def is_heavy(pattern: str) -> bool:
    """True if it holds one of sixteen texts such as `(.*)+`."""
    return any(text in pattern for text in _HEAVY)


def nests(pattern: str) -> bool:
    """True if a group that repeats something is repeated itself, such as `(a+)+`. Counts like {2,} do not matter."""
    signs = _SIGN.findall(pattern)
    repeats: list[bool] = []  # of each group that is open, whether a quantifier stands in it
    for number, sign in enumerate(signs):
        if sign == "(":
            repeats.append(False)
        elif sign in ("*", "+"):
            repeats = [True] * len(repeats)
        elif sign == ")" and repeats:
            following = next((one for one in signs[number + 1 :] if not one.isspace()), "")
            if repeats.pop() and following in ("*", "+"):
                return True
    return False
