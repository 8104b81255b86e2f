"""What the milter found out about a message, as the decisions at delivery want it."""

from datetime import datetime
from uuid import UUID

from mailrelay.core import eom, ingress
from mailrelay.core.address import Address, classify, client_ip, split_extension
from mailrelay.core.address import Reverse as ReverseExtension
from mailrelay.core.author import author
from mailrelay.core.background import Background
from mailrelay.core.banner import Danger
from mailrelay.core.eom import Content, Preferences
from mailrelay.core.facts import Alias, Reason
from mailrelay.core.header import Message
from mailrelay.core.ingress import Ingress, Invalid
from mailrelay.core.receive import dead_end
from mailrelay.flows.letter import Letter
from mailrelay.flows.rules import Rules

_NO_ALIAS = UUID(int=0)


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


def danger(letter: Letter, rules: Rules, preferences: Preferences) -> Danger | None:
    """About what the reader of a message is warned that was kept first; as at its delivery."""
    checked = letter.checked
    if checked is None:
        return None
    content = content_of(letter, checked, rules)
    if eom.act(content, preferences) == "none":
        return None
    return "dmarc" if content.dmarc_fails else "spam"


def is_bare(rcpt: Address) -> bool:
    """True if the alias itself is addressed, not a correspondent through it."""
    extension = split_extension(rcpt.local)[1]
    return extension is None or not isinstance(classify(extension), ReverseExtension)


def stopped(letter: Letter, alias: Alias | None, rules: Rules, background: Background | None = None) -> Reason | None:
    """Why a message must not be sent on: loops and backscatter (spec sections 9.1 to 9.3)."""
    loop_name = f"{rules.identity.header_prefix}loop".lower().encode("ascii")
    return dead_end(
        letter.message,
        letter.mail.sender,
        alias.uuid if alias is not None else _NO_ALIAS,
        rules.around.keys.loop,
        loop_name,
        # A receipt for something that the owner wrote looks like a bounce, and is none of forged mail.
        accept_foreign_dsn=letter.answers or (background is not None and background.accepts_foreign_dsn),
        arrivals=background.arrivals if background is not None else 0,
        returned=letter.returned,
    )
