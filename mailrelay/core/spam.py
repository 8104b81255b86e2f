"""The verdict of a spam filter that Postfix asks before us (spec section 2.3, rows 9 and 10)."""

import re
from dataclasses import dataclass
from typing import Literal

# `8.1`, `Yes, score=8.1 required=5`, `default: False [3.20 / 15.00]`. Numbers of a hundred digits are nobody's score.
_NAMED = re.compile(r"(?:score|hits)\s{0,4}=\s{0,4}([+-]?\d{1,6}(?:\.\d{1,6})?)", re.IGNORECASE | re.ASCII)
_BRACKETED = re.compile(r"\[\s{0,4}([+-]?\d{1,6}(?:\.\d{1,6})?)\s{0,4}/", re.ASCII)
_PLAIN = re.compile(r"\s{0,4}([+-]?\d{1,6}(?:\.\d{1,6})?)(?![\w.])", re.ASCII)
_TEXT_CHARACTERS = 1000

SpamVerdict = Literal["none", "tag", "reject"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which score on mail is marked, and from which refused. tag is not above reject."""

    tag: float
    reject: float

    def verdict(self, score: float | None) -> SpamVerdict:
        """What a score means; None: no filter has looked at the message."""
        if score is None or score < self.tag:
            return "none"
        return "reject" if score >= self.reject else "tag"


def read_score(text: str) -> float | None:
    """The score in what a filter wrote, in a macro or a header field; None if there is none to be seen.

    Understood: a number that the text begins with, `score=NUMBER` or `hits=NUMBER`, `[NUMBER / LIMIT]`.
    """
    text = text[:_TEXT_CHARACTERS]
    found = _PLAIN.match(text) or _NAMED.search(text) or _BRACKETED.search(text)
    return float(found[1]) if found else None
