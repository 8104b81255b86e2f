"""What the milter found out about a message, as the decisions at delivery want it."""

from mailrelay.core.address import Address, classify, client_ip, split_extension
from mailrelay.core.address import Reverse as ReverseExtension
from mailrelay.core.eom import Content
from mailrelay.core.ingress import Ingress
from mailrelay.flows.letter import Letter
from mailrelay.flows.rules import Rules


def content_of(letter: Letter, checked: Ingress, rules: Rules) -> Content:
    """What accounts may want judged differently. Structure and loops are judged elsewhere, so they are left out."""
    ip = client_ip(checked.ip)
    own_network = ip is not None and any(ip in network for network in rules.around.trusted)
    return Content(
        hops=0,
        size_octets=len(letter.mail.content),
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
