"""Receivers that refuse untouched forwards for their authentication (spec section 3.2, receiver memory)."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

REFUSALS = 3
WITHIN = timedelta(days=7)
REWRITES_FOR = timedelta(days=30)
# Older refusals matter no more, but a few are worth a look by the operator.
_REMEMBERED = 10

_CODES = frozenset({"5.7.26", "5.7.27", "5.7.30", "5.7.509", "5.7.515"})
# 5.7.1 may mean anything; these words say what.
_WORDS = re.compile(r"\b(dmarc|unauthenticated)\b", re.IGNORECASE)
_TEXT_LIMIT = 1000  # of a diagnostic text, whose end a stranger chooses
_ENHANCED = re.compile(r"(?<![0-9.])5\.7\.[0-9]{1,3}(?![0-9.])")


@dataclass(frozen=True, slots=True)
class Receiver:
    """What is remembered about one. refused_at: when refused copies were made, in order; None: no rewriting is due."""

    refused_at: tuple[datetime, ...] = ()
    rewrite_only_until: datetime | None = None


def is_authentication_refusal(status: str, text: str) -> bool:
    """True for a refusal because the copy could not be authenticated.

    status: enhanced code of the report, '' if it had none. The words may be more exact: hosts on the way put a code of
    their own before the receiver's.
    """
    if status.startswith("4."):
        return False
    codes = {status, *_ENHANCED.findall(text[:_TEXT_LIMIT])}
    return bool(codes & _CODES) or ("5.7.1" in codes and _WORDS.search(text[:_TEXT_LIMIT]) is not None)


def refuse(receiver: Receiver, refused_at: datetime, now: datetime) -> Receiver:
    """What is remembered after one more refusal: three within 7 days bring 30 days of rewriting.

    refused_at: when the refused copy was made, which tells copies apart; the same one twice counts once.
    """
    if refused_at in receiver.refused_at:
        return receiver
    times = tuple(sorted((*receiver.refused_at, refused_at))[-_REMEMBERED:])
    # Reports do not come in the order of the copies that they are about.
    windows = zip(times, times[REFUSALS - 1 :], strict=False)
    if not any(first <= refused_at <= last and last - first <= WITHIN for first, last in windows):
        return Receiver(times, receiver.rewrite_only_until)
    until = now + REWRITES_FOR
    if receiver.rewrite_only_until is not None:
        until = max(until, receiver.rewrite_only_until)
    return Receiver(times, until)


def rewrites_only(receiver: Receiver, now: datetime) -> bool:
    """True while its copies are to be rewritten."""
    return receiver.rewrite_only_until is not None and now < receiver.rewrite_only_until
