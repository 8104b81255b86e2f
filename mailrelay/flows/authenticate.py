"""Who sent this message? All checks of spec section 11.1, with the DNS look-ups that they need."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from mailrelay.core import arcverify, dkimverify, dmarc
from mailrelay.core.errors import Unavailable
from mailrelay.core.findings import Arc, Dkim, Dmarc, Findings, Iprev, Spf
from mailrelay.core.header import Message
from mailrelay.core.inquiry import OrganisationalDomain
from mailrelay.core.lookup import Answer, Kind

BUDGET_SECONDS = 20.0  # spec section 9.6: DNS time per message

_IPREV_NAMES = 3
_LARGE_OCTETS = 256 * 1024  # bodies above this are verified in a thread


class Resolver(Protocol):
    """Whom we ask; remembers answers for their TTL."""

    async def lookup(self, name: str, kind: Kind) -> Answer:
        """The answer for a name (any case, with or without the trailing dot). Raises Unavailable."""
        ...


# ip, HELO, MAIL FROM ("" if null), whom to ask. Gives temperror in trouble, never raises but when cancelled.
SpfCheck = Callable[[str, str, str, Callable[[str, Kind], Awaitable[Answer]]], Awaitable[Spf]]


@dataclass(frozen=True, slots=True)
class Client:
    """What Postfix says of the SMTP client, by milter macros and commands; never from Received fields."""

    ip: IPv4Address | IPv6Address | None  # None: unknown; as core.address.client_ip reads it
    helo: str
    mail_from: str  # without angle brackets; "" is the null sender; odd octets as surrogates
    is_trusted: bool = False  # own networks, logins, local submission: no SPF, no iprev


@dataclass(frozen=True, slots=True)
class Authenticator:
    """The checks with whom they ask."""

    resolver: Resolver
    spf: SpfCheck
    organisation: OrganisationalDomain

    async def authenticate(self, message: Message, client: Client, author_domain: str, now: int) -> Findings:
        """What SPF, DKIM, DMARC, ARC and iprev say, within 20 seconds. Foreign input and DNS trouble never raise.

        author_domain: of the only From mailbox, folded; "" if there is none. It must be the one that everything else
        is decided on. now: seconds since 1970.
        """
        asking = _Asking(self.resolver, asyncio.get_running_loop().time() + BUDGET_SECONDS)
        signatures = dkimverify.signatures(message)
        chain = arcverify.received(message.fields)
        policy_names = dmarc.record_names(author_domain, self.organisation) if author_domain else ()
        spf, iprev, keys, policies = await asyncio.gather(
            self._spf(client, asking),
            _iprev(client, asking),
            asking.texts(dict.fromkeys([*filter(None, (one.key_name for one in signatures)), *chain.key_names])),
            asking.texts(policy_names[:-1] or policy_names),  # not yet of the public suffix
        )
        dkim, arc = await _verify(message, signatures, chain, keys, now)
        dkim = dmarc.align(dkim, author_domain, self.organisation)
        verdict = await self._dmarc(author_domain, policy_names, [*policies.values()], spf, dkim, asking)
        return Findings(iprev, spf, dkim, verdict, arc)

    async def _spf(self, client: Client, asking: "_Asking") -> Spf:
        if client.is_trusted or client.ip is None:
            return Spf()
        return await self.spf(str(client.ip), client.helo, client.mail_from, asking.answer)

    async def _dmarc(
        self,
        author_domain: str,
        names: Sequence[str],
        answers: list[Answer | None],
        spf: Spf,
        dkim: Sequence[Dkim],
        asking: "_Asking",
    ) -> Dmarc:
        verdict = dmarc.evaluate(author_domain, answers, spf, dkim, self.organisation)
        if verdict.result == "none" and len(names) > len(answers):
            more = await asking.texts(names[len(answers) :])
            answers = [*answers, *more.values()]
            verdict = dmarc.evaluate(author_domain, answers, spf, dkim, self.organisation)
        if verdict.result == "fail" and dmarc.asks_existence(author_domain, answers, self.organisation):
            exists = await asking.exists(author_domain)
            verdict = dmarc.evaluate(author_domain, answers, spf, dkim, self.organisation, exists)
        return verdict


class _Asking:
    """DNS for one message: what is not there at the deadline counts as unavailable."""

    def __init__(self, resolver: Resolver, deadline: float) -> None:
        self._resolver = resolver
        self._deadline = deadline  # of the event loop's clock

    async def answer(self, name: str, kind: Kind) -> Answer:
        """Raises Unavailable."""
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._resolver.lookup(name, kind)
        except TimeoutError as error:
            raise Unavailable("no time left for DNS") from error

    async def try_answer(self, name: str, kind: Kind) -> Answer | None:
        """None: DNS did not answer."""
        try:
            return await self.answer(name, kind)
        except Unavailable:
            return None

    async def texts(self, names: Iterable[str]) -> dict[str, Answer | None]:
        """The TXT records of each name."""
        wanted = [*names]
        answers = await asyncio.gather(*(self.try_answer(name, "TXT") for name in wanted))
        return dict(zip(wanted, answers, strict=True))

    async def exists(self, domain: str) -> bool:
        """False if the domain certainly has no A, AAAA or MX record (RFC 9091 section 2.6)."""
        kinds: tuple[Kind, ...] = ("A", "AAAA", "MX")
        answers = await asyncio.gather(*(self.try_answer(domain, kind) for kind in kinds))
        return any(answer is None or answer.records for answer in answers)


async def _verify(
    message: Message,
    signatures: Sequence[dkimverify.Signature],
    chain: arcverify.Received,
    keys: dkimverify.KeyAnswers,
    now: int,
) -> tuple[tuple[Dkim, ...], Arc]:
    def work() -> tuple[tuple[Dkim, ...], Arc]:
        content = dkimverify.Content(message)
        dkim = tuple(dkimverify.verify(one, keys, content, now) for one in signatures)
        return dkim, arcverify.check(chain, keys, content, now)

    if len(message.content) > _LARGE_OCTETS and (signatures or chain.sets):
        return await asyncio.to_thread(work)
    return work()


async def _iprev(client: Client, asking: _Asking) -> Iprev:
    """RFC 8601 section 2.7.3; of many names the first three are looked at."""
    if client.is_trusted or client.ip is None:
        return Iprev()
    names = await asking.try_answer(client.ip.reverse_pointer, "PTR")
    if names is None:
        return Iprev("temperror")
    if not names.names:
        return Iprev("permerror")
    kind: Kind = "A" if client.ip.version == 4 else "AAAA"
    answers = await asyncio.gather(*(asking.try_answer(name, kind) for name in names.names[:_IPREV_NAMES]))
    for name, answer in zip(names.names, answers, strict=False):
        if answer is not None and any(ip_address(one) == client.ip for one in answer.names):
            return Iprev("pass", name)
    return Iprev("temperror" if None in answers else "fail")
