"""Whether a domain leads to our web interface: by its CNAME, or by the addresses that it leads to in the end.

One resolver is asked step by step, as each answer tells what to ask next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from mailrelay.core.dnsrecords import DnsRecord
from mailrelay.core.domaincheck import Answers, Finding, State, limited, silence
from mailrelay.core.lookup import Question

MAX_DEPTH = 10
Reason = Literal[
    "authorized_ip_match",
    "direct_ip_match",
    "authorized_ip_not_found",
    "max_chain_depth_reached",
    "cname_loop_detected",
]


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where the web interface is. host: what a CNAME has to say; addresses: that will do as well."""

    host: str
    addresses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Trail:
    """How far the names lead, as far as DNS was asked. ask: what has to be known to go on; () at the end."""

    aliases: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    reason: Reason | None = None
    state: State = "missing"
    ask: tuple[Question, ...] = ()


def follow(name: str, hosting: Hosting, answers: Answers) -> Trail:
    """Where a domain leads. answers: of one resolver so far; it is called again with those to `ask`."""
    aliases: tuple[str, ...] = ()
    at = name
    while (at, "CNAME") in answers:
        answer = answers[at, "CNAME"]
        if answer is None:
            return Trail(aliases, state="unknown")
        if not answer.names:
            return _ending(at, aliases, hosting, answers)
        if not aliases and hosting.host in answer.names:
            return Trail(answer.names, state="right")
        aliases += answer.names
        if not hosting.addresses:
            return Trail(aliases, state="wrong")
        at = answer.names[0]
        if at == name or at in aliases[:-1]:
            return Trail(aliases, reason="cname_loop_detected", state="wrong")
        if len(aliases) >= MAX_DEPTH:
            return Trail(aliases, reason="max_chain_depth_reached", state="wrong")
    return Trail(aliases, ask=((at, "CNAME"),))


def _ending(at: str, aliases: tuple[str, ...], hosting: Hosting, answers: Answers) -> Trail:
    """No further alias: the addresses decide, if any will do."""
    if not hosting.addresses:
        return Trail(aliases)
    wanted: tuple[Question, ...] = ((at, "A"), (at, "AAAA"))
    if any(question not in answers for question in wanted):
        return Trail(aliases, ask=wanted)
    given = [answers[question] for question in wanted]
    found = tuple(address for answer in given if answer is not None for address in answer.names)
    if {str(ip_address(one)) for one in found} & hosting.addresses:
        return Trail(aliases, found, "authorized_ip_match" if aliases else "direct_ip_match", "right")
    if None in given:
        return Trail(aliases, found, state="unknown")
    return Trail(aliases, found, "authorized_ip_not_found", "wrong" if found or aliases else "missing")


def finding(name: str, hosting: Hosting, trail: Trail) -> Finding:
    """What becomes of a domain's record."""
    publish = DnsRecord(name, "CNAME", hosting.host)
    extras: Mapping[str, object] = {}
    if hosting.addresses:
        extras = {
            "expected_ips": sorted(hosting.addresses),
            "found_ips": list(limited(trail.addresses)),
            "chain_reason": trail.reason,
        }
    return Finding(
        "CNAME", "UI", publish, trail.state, _sentence(name, hosting, trail), limited(trail.aliases), True, extras
    )


def _sentence(name: str, hosting: Hosting, trail: Trail) -> str:
    match trail.state:
        case "right":
            return f"{name} leads to the web interface."
        case "unknown":
            return silence(name, "CNAME")
        case "missing":
            return f"{name} has no CNAME record."
    if trail.reason == "cname_loop_detected":
        return f"The CNAME records of {name} lead in a circle."
    if trail.reason == "max_chain_depth_reached":
        return f"There are more than {MAX_DEPTH - 1} CNAME records between {name} and an address."
    return f"{name} leads to {', '.join((trail.aliases[-1:] or trail.addresses)[:3])}, not to {hosting.host}."
