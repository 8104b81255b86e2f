"""What the milter found out about a message, as the decisions at delivery want it."""

from datetime import datetime

from mailrelay.core import ingress
from mailrelay.core.address import Address, classify, client_ip, split_extension
from mailrelay.core.address import Reverse as ReverseExtension
from mailrelay.core.author import author
from mailrelay.core.eom import Content
from mailrelay.core.header import Message
from mailrelay.core.ingress import Ingress, Invalid
from mailrelay.flows.letter import Letter
from mailrelay.flows.rules import Rules


def read_ingress(message: Message, rules: Rules, at: datetime) -> Ingress | Invalid:
    """What the milter found out, if it is about the author that a copy would name. at: when the message came."""
    identity = rules.identity
    name = f"{identity.header_prefix}Ingress"
    found = ingress.read(message, rules.checks.keys, int(at.timestamp()), identity.hostname, name)
    if isinstance(found, Invalid) or found.route == "internal":
        return found
    named = author(message)
    if found.findings.dmarc.domain != (named.domain if named is not None else ""):
        return Invalid("an ingress header about another author")
    return found


def content_of(letter: Letter, checked: Ingress, rules: Rules) -> Content:
    """What accounts may want judged differently. Structure and loops are judged elsewhere, so they are left out."""
    ip = client_ip(checked.ip)
    own_network = ip is not None and any(ip in network for network in rules.around.trusted)
    return Content(
        hops=0,
        size_octets=0,
        has_stray_newline=False,
        from_problem=False,
        loop_marks=(),
        findings=checked.findings,
        exempt=checked.route != "smtp" or own_network,
        arc_override=checked.note == "arc-override",
        spam=rules.checks.thresholds.verdict(checked.spam),
    )


def is_bare(rcpt: Address) -> bool:
    """True if the alias itself is addressed, not a correspondent through it."""
    extension = split_extension(rcpt.local)[1]
    return extension is None or not isinstance(classify(extension), ReverseExtension)
