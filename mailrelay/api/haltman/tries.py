"""Codes that are typed in: how requests bring them, and what a client hears that has tried too many (section 4.3)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Literal

from mailrelay.api.haltman.call import Call, Value
from mailrelay.api.haltman.checks import Field, checked, text
from mailrelay.api.haltman.names import code, trimmed
from mailrelay.api.haltman.problems import Problem, invalid, rate_limited
from mailrelay.core.codes import Family
from mailrelay.flows.codes import Codes, TooManyTries

TOKEN: Final = Field("token", text(1), required=True)
_REASONS: Final[Mapping[str, str]] = {
    "ip": "too_many_failed_attempts_ip",
    "network": "too_many_failed_attempts_network",
    "all": "too_many_failed_attempts",
}


def typed_code(given: Mapping[str, Value], ok: Literal[False] | None = None) -> str:
    """The six digits among members of a request. ok: as Problem has it. Raises Problem."""
    sent = given.get("token")
    if not trimmed(sent):
        raise invalid("token", ok=ok)
    found = code(sent)
    if found is None:
        raise Problem(400, "invalid_token", ok=ok)
    return found


def posted_code(given: Mapping[str, Value], ok: Literal[False] | None = None) -> str:
    """The same of a body, of which one is told in detail what is wrong (section 2.9)."""
    try:
        checked((TOKEN,), given)
    except Problem as problem:
        problem.ok = ok
        raise
    return typed_code(given, ok)


def too_many_tries(tries: TooManyTries, where: str, now: datetime) -> Problem:
    """where: of the endpoint's limits."""
    return rate_limited(where, _REASONS[tries.whose], tries.window.ends_at, now)


def by_code(codes: Codes, family: Family) -> Callable[[Call], str]:
    """For limits: the code of a request, as it is stored. In clear it would lie in the table of limits."""

    def subject(call: Call) -> str:
        typed = code(call.member("token"))
        return "" if typed is None else codes.macs(typed, family)[0].hex()

    return subject
