"""DNS: answers remembered for their TTL, and one question asked once however many want to know."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import Context

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdataclass
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from mailrelay import metrics
from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import ABSENT, Answer, Kind, Mx, Question
from mailrelay.endpoint import Endpoint

_POSITIVE_SECONDS = 3600.0  # longer TTLs are cut, so that a mistake of others is not ours for a day
_NEGATIVE_SECONDS = 900.0
_FAILURE_SECONDS = 5.0  # RFC 2308 section 7 allows 300
_CACHED_OCTETS = 4096  # longer answers are not remembered
_EDNS_OCTETS = 1232
_IN_FLIGHT = 200  # each needs a socket


class Resolver:
    """Asks the name servers of the host, or given ones. Belongs to one event loop.

    servers: instead of those of /etc/resolv.conf. timeout_seconds: for one question, all retries together.
    entries: how many answers are remembered, the least recently used go first.
    Raises dns.resolver.NoResolverConfiguration if servers is empty and the host names none.
    """

    def __init__(
        self,
        servers: Sequence[Endpoint] = (),
        timeout_seconds: float = 5.0,
        entries: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        if servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(one.host, one.port) for one in servers]
        self._resolver.use_edns(0, 0, _EDNS_OCTETS)
        self._resolver.timeout = min(2.0, timeout_seconds)
        self._timeout_seconds = timeout_seconds
        self._entries = entries
        self._clock = clock
        self._known: OrderedDict[Question, tuple[float, Answer | None]] = OrderedDict()
        self._asking: dict[Question, asyncio.Task[Answer | None]] = {}
        self._slots = asyncio.Semaphore(_IN_FLIGHT)

    async def lookup(self, name: str, kind: Kind) -> Answer:
        """The answer for a name (any case, with or without the trailing dot). Raises Unavailable.

        What can be no name in DNS is answered as NXDOMAIN without asking. A caller that is cancelled does not
        disturb others that ask the same.
        """
        question = (name.lower().removesuffix("."), kind)
        known = self._known.get(question)
        if known is not None and known[0] > self._clock():
            metrics.DNS_LOOKUPS.labels("hit").inc()
            self._known.move_to_end(question)
            return _given(known[1])
        task = self._asking.get(question)
        if task is None:
            owner = _owner(question[0])
            if owner is None:
                return ABSENT
            # It outlives the caller, so it must not inherit that caller's context variables.
            task = asyncio.create_task(self._ask(question, owner), context=Context())
            self._asking[question] = task
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        else:
            metrics.DNS_LOOKUPS.labels("shared").inc()
        return _given(await asyncio.shield(task))

    def known(self, name: str, kind: Kind) -> Answer | None:
        """What is remembered of a folded name, None if it has to be asked for. Never waits."""
        found = self._known.get((name, kind))
        return found[1] if found is not None and found[0] > self._clock() else None

    async def close(self) -> None:
        """Give up what is under way; nothing may be asked afterwards."""
        tasks = [*self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, question: Question, owner: dns.name.Name) -> Answer | None:
        """The answer, None if there was none; remembered either way."""
        async with self._slots:
            with metrics.DNS_SECONDS.time():
                answer, seconds = await self._query(owner, question[1])
        metrics.DNS_LOOKUPS.labels("error" if answer is None else "miss").inc()
        if seconds > 0 and (answer is None or _octets(answer) <= _CACHED_OCTETS):
            self._known[question] = (self._clock() + seconds, answer)
            self._known.move_to_end(question)
            while len(self._known) > self._entries:
                self._known.popitem(last=False)
        return answer

    async def _query(self, owner: dns.name.Name, kind: Kind) -> tuple[Answer | None, float]:
        """The answer and for how many seconds it holds."""
        try:
            found = await self._resolver.resolve(
                owner, kind, lifetime=self._timeout_seconds, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN as error:
            return ABSENT, _negative_seconds(error, owner)
        except (dns.exception.DNSException, OSError):
            return None, _FAILURE_SECONDS
        ttl = float(found.chaining_result.minimum_ttl)
        if found.rrset is None:
            return Answer(), min(ttl, _NEGATIVE_SECONDS)
        return Answer(tuple(_record(one) for one in found.rrset)), min(ttl, _POSITIVE_SECONDS)


def _given(answer: Answer | None) -> Answer:
    if answer is None:
        raise Unavailable("DNS gave no answer")
    return answer


def _owner(name: str) -> dns.name.Name | None:
    """The name as it is, without escapes: what senders write must not mean something else."""
    try:
        return dns.name.Name([*(label.encode("ascii") for label in name.split(".")), b""])
    except (UnicodeEncodeError, dns.exception.DNSException):
        return None


def _negative_seconds(error: dns.resolver.NXDOMAIN, owner: dns.name.Name) -> float:
    """RFC 2308 section 5: the lesser of the SOA's TTL and its minimum field; a short while without a SOA."""
    try:
        ttl = error.response(owner).resolve_chaining().minimum_ttl  # type: ignore[no-untyped-call]
    except (KeyError, dns.exception.DNSException):
        return 0.0
    return min(float(ttl), _NEGATIVE_SECONDS)


def _record(rdata: object) -> str | bytes | Mx:
    match rdata:
        case A(address=address) | AAAA(address=address):
            return str(address)
        case MX(preference=preference, exchange=exchange):
            return Mx(preference, _text(exchange))
        case PTR(target=target) | CNAME(target=target):
            return _text(target)
        case TXT(strings=strings):
            return b"".join(strings)
        case _:
            raise TypeError(f"not asked for: {rdata!r}")


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _octets(answer: Answer) -> int:
    return sum(len(record.host) if isinstance(record, Mx) else len(record) for record in answer.records)
