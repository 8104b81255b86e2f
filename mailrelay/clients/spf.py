"""SPF by pyspf, which thinks that it may block: it is run again whenever an answer it needed has arrived.

The look-up hook of pyspf is one for the whole process. Ours finds the answers of the check that is running in a
context variable, so checks of several threads and tasks do not meet; nothing in here waits inside pyspf.
"""

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mailrelay.core.address import domain_name
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.findings import RESULTS, Result, Spf
from mailrelay.core.lookup import Answer, Kind, Mx, Question

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its regular expressions, when it is compiled
    import spf

# Spec section 11.1. pyspf counts the 10 look-ups and 2 void ones of RFC 7208 section 4.6.4 itself.
BUDGET_SECONDS = 10.0
# With 10 mechanisms, their addresses fetched together, there are not many more rounds than 30.
_MAX_ROUNDS = 64
# pyspf reads records anew in each round; usual ones have less than 1 KB.
_MAX_RECORD_OCTETS = 4096
_MAX_READ_OCTETS = 256 * 1024
_MAX_HOSTS = 10  # RFC 7208 section 4.6.4


LookUp = Callable[[str, Kind], Awaitable[Answer]]


class _Missing(Exception):
    """pyspf wants an answer that is not there yet."""

    def __init__(self, question: Question) -> None:
        super().__init__(question)
        self.question = question


@dataclass(slots=True)
class _Known:
    """The answers so far, None for those that DNS did not give, and how much of them may still be read."""

    answers: dict[Question, Answer | None]
    octets_left: int = _MAX_READ_OCTETS


_known: ContextVar[_Known] = ContextVar("known")


def _lookup(name: str, kind: str, strict: bool, seconds: float) -> list[tuple[tuple[str, str], object]]:
    """pyspf's hook."""
    known = _known.get()
    question = (name.lower().removesuffix("."), _kind(kind))
    if question not in known.answers:
        raise _Missing(question)
    answer = known.answers[question]
    if answer is None:
        raise spf.TempError("DNS gave no answer")
    found: list[tuple[tuple[str, str], object]] = []
    for record in answer.records:
        value: object = record
        if isinstance(record, bytes):
            known.octets_left -= len(record)
            if known.octets_left < 0 or (record[:7].lower() == b"v=spf1 " and len(record) > _MAX_RECORD_OCTETS):
                raise spf.PermError("records too long")
            value = [record]
        elif isinstance(record, Mx):
            value = (record.preference, record.host)
        found.append(((name, kind), value))
    return found


spf.DNSLookup = _lookup


async def check_spf(ip: str, helo: str, mail_from: str, lookup: LookUp) -> Spf:
    """SPF of MAIL FROM, or of postmaster at HELO where the sender is null or has no domain.

    Gives temperror when DNS does not answer, or not within ten seconds; only being cancelled raises.
    """
    subject, local = _subject(helo, mail_from)
    if "." not in subject.domain:  # RFC 7208 section 4.3
        return subject
    # pyspf takes what follows the first `@` for the domain; quoted local parts may hold some.
    sender = f"{_ascii(local).replace('@', '_')}@{subject.domain}"
    run = _Run(ip, sender, _ascii(helo), lookup)
    try:
        async with asyncio.timeout(BUDGET_SECONDS):
            return replace(subject, result=await run.result())
    except TimeoutError:
        return replace(subject, result="temperror")


def _subject(helo: str, mail_from: str) -> tuple[Spf, str]:
    """What to check, and the local part for macros."""
    local, at, domain = mail_from.rpartition("@")
    identity: Literal["mailfrom", "helo"] = "mailfrom" if at else "helo"
    try:
        folded = domain_name(domain if at else helo)
    except Malformed:
        folded = ""
    return Spf("none", folded, identity), local or "postmaster"


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


class _Run:
    """One check."""

    def __init__(self, ip: str, sender: str, helo: str, lookup: LookUp) -> None:
        self._ip, self._sender, self._helo = ip, sender, helo
        self._lookup = lookup
        self._known = _Known({})

    async def result(self) -> Result:
        await self._fetch((self._sender.rpartition("@")[2], "TXT"))
        for _ in range(_MAX_ROUNDS):
            found = self._evaluate()
            if not isinstance(found, _Missing):
                return found
            await self._fetch(found.question)
        return "permerror"

    def _evaluate(self) -> Result | _Missing:
        """What pyspf says with what is known, or what it has to know."""
        token = _known.set(self._known)
        try:
            query = spf.query(i=self._ip, s=self._sender, h=self._helo, strict=True, querytime=0)
            return next((result for result in RESULTS if result == query.check()[0]), "permerror")
        except _Missing as missing:
            return missing
        except Exception:  # records are foreign input, and pyspf does not foresee everything in them
            return "permerror"
        finally:
            _known.reset(token)

    async def _fetch(self, question: Question) -> None:
        """Ask, also for the addresses of the hosts in the answer: pyspf wants all of them next."""
        answer = await self._ask(question)
        if answer is not None and question[1] in ("MX", "PTR"):
            hosts = [one.host if isinstance(one, Mx) else str(one) for one in answer.records[:_MAX_HOSTS]]
            kind: Kind = "AAAA" if ":" in self._ip else "A"
            await asyncio.gather(*(self._ask((host, kind)) for host in hosts if host))

    async def _ask(self, question: Question) -> Answer | None:
        try:
            answer = await self._lookup(*question)
        except Unavailable:
            answer = None
        self._known.answers[question] = answer
        return answer


def _kind(text: str) -> Kind:
    for kind in get_args(Kind):
        if kind == text:
            return kind  # type: ignore[no-any-return]
    raise spf.PermError("an unknown record type")
