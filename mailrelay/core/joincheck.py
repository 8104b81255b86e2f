"""What speaks against joining a Postfix: it would be an open relay, or mail would get lost."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from mailrelay.core import joining, joinmilter, maincf
from mailrelay.core.joining import GUARDS, RECIPIENT_RESTRICTIONS, Facts, Joining, Service

_DOMAIN_LISTS = ("mydestination", "relay_domains", "virtual_alias_domains")
_RESTRICTIONS = (
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",
    RECIPIENT_RESTRICTIONS,
)
EXPANDED = (
    *_DOMAIN_LISTS,
    *_RESTRICTIONS,
    "smtpd_restriction_classes",
    "virtual_mailbox_domains",
    "virtual_mailbox_maps",
    "transport_maps",
    "mynetworks",
    "inet_protocols",
    "mail_version",
    "message_size_limit",
    "smtpd_discard_ehlo_keywords",
    "default_destination_rate_delay",
    "default_transport_rate_delay",
    "queue_directory",
    "smtpd_milter_maps",
)
_OLDEST = (3, 4)
_PORTS = {"smtp": 25, "lmtp": 24, "smtps": 465, "submissions": 465, "submission": 587, "qmqp": 628, "qmqpd": 628}
_PRIVATE = (IPv6Network("fc00::/7"), IPv6Network("fe80::/10"))
# Nobody's own addresses (RFC 5737, RFC 3849): a table of trusted networks that holds them all trusts the world.
_STRANGERS = (("192.0.2.1", "198.51.100.1", "203.0.113.1"), ("2001:db8::1", "2001:db8:ffff::1"))


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason not to join. parameter: of main.cf, of master.cf, or a key of our own configuration."""

    parameter: str
    value: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.parameter} = {self.value}: {self.reason}; {self.remedy}"


def questions(expanded: Mapping[str, str], domains: Sequence[str]) -> list[tuple[str, str]]:
    """The (table, key) pairs whose answers the checks need."""
    asked = [(table, name) for table in _tables(expanded["mynetworks"]) for group in _STRANGERS for name in group]
    for parameter in (*_DOMAIN_LISTS, "virtual_mailbox_domains"):
        asked += [(table, domain) for table in _tables(expanded[parameter]) for domain in domains]
    for table in _tables(expanded["transport_maps"]):
        asked += [(table, key) for domain in domains for key in (domain, _probe(domain))]
    return list(dict.fromkeys(asked))


def files(expanded: Mapping[str, str]) -> list[str]:
    """The files that stand for parts of lists."""
    parameters = (*_DOMAIN_LISTS, "virtual_mailbox_domains", "mynetworks")
    return [text for parameter in parameters for text in maincf.texts(expanded[parameter]) if text.startswith("/")]


def problems(wanted: Joining, facts: Facts) -> tuple[Problem, ...]:
    """Every reason at once; none means that joining is safe."""
    found: list[Problem] = []
    for check in (
        _old,
        _not_loopback,
        _protocol,
        _open_relay,
        _networks,
        _taken,
        _port,
        domain_problems,
        _hidden,
    ):
        found += check(wanted, facts)
    return tuple(dict.fromkeys(found))


def domain_problems(wanted: Joining, facts: Facts) -> tuple[Problem, ...]:
    """The reasons that concern the domains: somebody else on the host has one already."""
    return (*_elsewhere(wanted, facts), *_below(wanted, facts), *_routed(wanted, facts))


def remarks(wanted: Joining, facts: Facts) -> tuple[str, ...]:
    """What the admin should know, though it is no reason to stop."""
    found: list[str] = []
    for look in (_takes_over, _own_list, joinmilter.remarks, _trusted_first, _reports, _limit, _slow):
        found += look(wanted, facts)
    for parameter, text in joining.stale(facts):
        found.append(f"{parameter} holds {text}, which looks like an earlier adoption: take it out if so")
    return tuple(dict.fromkeys(found))


def _takes_over(wanted: Joining, facts: Facts) -> Iterator[str]:
    for domain in wanted.domains:
        if _lists("virtual_mailbox_domains", domain, facts):
            yield f"virtual_mailbox_domains already holds {domain}: from now on mailrelay gets its mail"
    for table in _tables(facts.expanded["transport_maps"]):
        for domain in wanted.domains:
            if (table, domain) in facts.answers and (table, _probe(domain)) not in facts.answers:
                yield f"{table} of transport_maps has {domain}: from now on mailrelay gets its mail"


def _own_list(wanted: Joining, facts: Facts) -> Iterator[str]:
    for service in _doors(facts):
        if service.options.get(RECIPIENT_RESTRICTIONS):
            yield (
                f"master.cf: {service.key} has its own {RECIPIENT_RESTRICTIONS}: put `{_check(wanted)}` there as well, "
                "else unknown addresses are noticed only after the mail was accepted"
            )


def _trusted_first(wanted: Joining, facts: Facts) -> Iterator[str]:
    unit = joining.units(wanted)[RECIPIENT_RESTRICTIONS]
    value = joining.restricted(facts.raw[RECIPIENT_RESTRICTIONS], unit, facts)
    inner = joining.spread(maincf.texts(value), facts.references)
    before = [text for text in inner[: inner.index(unit[1])] if text.startswith("permit_")]
    if before:
        yield (
            f"{RECIPIENT_RESTRICTIONS} has {', '.join(dict.fromkeys(before))} before our check: mail of such clients "
            "to addresses that do not exist is accepted, and dropped at delivery; to have it refused, move "
            f"`{_check(wanted)}` before them"
        )


def _reports(wanted: Joining, facts: Facts) -> Iterator[str]:
    """A sender may ask to hear of success: that reaches victims of forged senders, and tells which addresses exist."""
    parameter = "smtpd_discard_ehlo_keywords"
    for service in _doors(facts):
        value = _effective(service, parameter, facts)
        if "dsn" not in (text.lower() for text in maincf.texts(value)):
            yield (
                f"{_where(parameter, service)} = {value or '(empty)'}: Postfix sends reports of success to whoever is "
                "named as the sender, if asked to; to have it send none, add dsn to this list"
            )


def _limit(wanted: Joining, facts: Facts) -> Iterator[str]:
    limit = facts.expanded["message_size_limit"]
    if limit.isdigit() and not 0 < int(limit) <= wanted.message_octets:
        yield (
            f"message_size_limit = {limit} allows more than limits.message_octets = {wanted.message_octets}: "
            "mail between the two comes as far as the LMTP role, which refuses it"
        )


def _slow(wanted: Joining, facts: Facts) -> Iterator[str]:
    for parameter in ("default_destination_rate_delay", "default_transport_rate_delay"):
        if facts.expanded[parameter].rstrip("smhdw") not in ("", "0"):
            own = parameter.replace("default", "mailrelay")
            yield f"{parameter} = {facts.expanded[parameter]} slows our transport down: set {own} = 0s"


def _old(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    match = re.match(r"(\d+)\.(\d+)", facts.version)
    if match and (int(match[1]), int(match[2])) < _OLDEST:
        yield Problem("mail_version", facts.version, "this Postfix is older than 3.4", "upgrade Postfix")
    if "socketmap" not in facts.table_types:
        yield Problem(
            "transport_maps",
            facts.expanded["transport_maps"],
            "this Postfix has no socketmap tables (postconf -m)",
            "install a Postfix that was built with them",
        )


def _not_loopback(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    for key, value in _addresses(wanted).items():
        if not _is_loopback(value):
            reason = "anybody who reaches this address could use it, and nothing protects the connection"
            yield Problem(key, value, reason, "use a loopback address such as 127.0.0.1")
        if key == "milter.listen" and value.startswith("unix:/"):
            reason = "Postfix processes in their chroot do not reach this socket"
            yield Problem(key, value, reason, f"put it below {facts.expanded['queue_directory']}")
        elif value.startswith("unix:") and key not in ("lmtp.listen", "milter.listen"):
            reason = "Postfix processes in their chroot do not reach this socket"
            yield Problem(key, value, reason, "use a loopback address such as 127.0.0.1")


def _protocol(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    spoken = maincf.texts(facts.expanded["inet_protocols"])
    for key, value in _addresses(wanted).items():
        needed = "ipv6" if value.startswith("[") else "ipv4"
        if value.startswith("unix:") or not spoken or "all" in spoken or needed in spoken:
            continue
        reason = f"Postfix would not use {key} {value}"
        yield Problem("inet_protocols", " ".join(spoken), reason, f"add {needed} or change {key}")


def _open_relay(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    classes = {name: facts.references.get(name, "") for name in _class_names(facts)}
    for service in (None, *_listeners(facts)):
        values = [_effective(service, parameter, facts) for parameter in _RESTRICTIONS]
        if any(_guarded(joining.spread(maincf.texts(value), classes)) for value in values):
            continue
        yield Problem(
            _where("smtpd_relay_restrictions", service),
            _effective(service, "smtpd_relay_restrictions", facts) or "(empty)",
            f"neither this nor {RECIPIENT_RESTRICTIONS} refuses foreign recipients: the host would be an open relay",
            "put reject_unauth_destination before any permit",
        )


def _networks(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    for service in (None, *_listeners(facts)):
        value = _effective(service, "mynetworks", facts)
        for text in _members(value, facts):
            if _is_wide(text):
                reason = f"{text} trusts strangers, who could relay mail through the host"
                yield Problem(_where("mynetworks", service), value, reason, "list only networks of your own")
        for table in _tables(value):
            if any(all(facts.answers.get((table, name)) for name in group) for group in _STRANGERS):
                reason = f"{table} trusts every address, so that anybody could relay mail through the host"
                yield Problem(_where("mynetworks", service), value, reason, "list only networks of your own")


def _taken(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    ours = joining.services(wanted)
    for service in facts.services:
        if service.key in ours and service.type == "unix":
            reason = "another service has the name that mailrelay needs"
            yield Problem(f"master.cf: {service.key}", service.command, reason, "rename that service")


def _port(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    for key, value in _addresses(wanted).items():
        if value == wanted.submit and key != "submit.address":
            yield Problem("submit.address", value, f"is also {key}", "give each a port of its own")
    host, _, port = wanted.submit.rpartition(":")
    for service in facts.services:
        its_host, _, its_port = service.name.rpartition(":")
        if service.type != "inet" or str(_PORTS.get(its_port, its_port)) != port:
            continue
        if its_host in ("", host, "localhost", "0.0.0.0", "[::]"):  # noqa: S104
            reason = f"{service.command} of Postfix listens at submit.address {wanted.submit} already"
            yield Problem(f"master.cf: {service.key}", service.command, reason, "change the port of submit.address")


def _elsewhere(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    for parameter in _DOMAIN_LISTS:
        for domain in wanted.domains:
            if _lists(parameter, domain, facts):
                value = facts.expanded[parameter]
                reason = f"Postfix itself would take the mail for {domain} and not know its addresses"
                yield Problem(parameter, value, reason, f"take {domain} out of {parameter}")


def _below(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    """Subdomains of shared domains are ours, because usernames give them; the host may have some of its own."""
    for parameter in _DOMAIN_LISTS:
        for member in _members(facts.expanded[parameter], facts):
            domain = member.lower()
            shared = next((name for name in wanted.shared if domain.endswith(f".{name}")), None)
            ours = shared is not None and not any(f".{domain}".endswith(f".{name}") for name in wanted.foreign)
            if ours and domain not in wanted.domains:
                reason = f"mail for {domain} would come to us, as subdomains of {shared} belong to usernames"
                yield Problem(
                    parameter, member, reason, f"list {domain} under service.foreign_domains in mailrelay.yaml"
                )


def _routed(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    value = facts.expanded["transport_maps"]
    for table in _tables(value):
        for domain in wanted.domains:
            answer = facts.answers.get((table, _probe(domain)))
            if answer is not None:
                reason = f"{table} comes first and sends every address of {domain} to {answer}"
                yield Problem("transport_maps", value, reason, f"take {domain} out of it")


def _hidden(wanted: Joining, facts: Facts) -> Iterator[Problem]:
    unit = joining.units(wanted)[RECIPIENT_RESTRICTIONS]
    value = joining.restricted(facts.raw[RECIPIENT_RESTRICTIONS], unit, facts)
    if not joining.reachable(value, unit, facts):
        reason = "the list ends before a place where our check could stand"
        remedy = f"write `{' '.join(unit)}` into it yourself, behind reject_unauth_destination and before any permit"
        yield Problem(RECIPIENT_RESTRICTIONS, facts.raw[RECIPIENT_RESTRICTIONS], reason, remedy)


def _addresses(wanted: Joining) -> dict[str, str]:
    return {
        "policy.listen": wanted.policy,
        "policy.socketmap": wanted.socketmap,
        "lmtp.listen": wanted.lmtp,
        "submit.address": wanted.submit,
        **({"milter.listen": wanted.milter} if wanted.milter else {}),
    }


def _listeners(facts: Facts) -> list[Service]:
    """The smtpd services that other hosts can reach."""
    return [
        service
        for service in facts.services
        if service.command == "smtpd" and not (service.type == "inet" and _is_loopback(service.name))
    ]


def _doors(facts: Facts) -> list[Service]:
    """Those of them that take mail from the world, also behind postscreen."""
    return [service for service in _listeners(facts) if service.name.rpartition(":")[2] in ("smtp", "smtpd", "25")]


def _check(wanted: Joining) -> str:
    return " ".join(joining.units(wanted)[RECIPIENT_RESTRICTIONS])


def _effective(service: Service | None, parameter: str, facts: Facts) -> str:
    value = facts.expanded[parameter]
    return value if service is None else service.options.get(parameter, value)


def _where(parameter: str, service: Service | None) -> str:
    return (
        parameter if service is None or parameter not in service.options else f"master.cf: {service.key}: {parameter}"
    )


def _class_names(facts: Facts) -> list[str]:
    return maincf.texts(facts.expanded["smtpd_restriction_classes"])


def _guarded(found: Sequence[str]) -> bool:
    """Whether a list refuses foreign recipients before it permits everything."""
    for at, text in enumerate(found):
        if at and found[at - 1] == "warn_if_reject":
            continue
        if text in GUARDS or text in ("reject", "defer"):
            return True
        if text == "permit":
            return False
    return False


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith("unix:") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_wide(text: str) -> bool:
    """Whether a network is too large to be somebody's own: over /8, with IPv6 over /16, unless it is private."""
    try:
        network = ip_network(text.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False
    if isinstance(network, IPv4Network):
        return network.prefixlen < 8
    if network.prefixlen >= 96 and network.network_address.ipv4_mapped is not None:
        return network.prefixlen < 96 + 8
    return network.prefixlen < 16 and not any(network.subnet_of(private) for private in _PRIVATE)


def _members(value: str, facts: Facts) -> Iterator[str]:
    """The literal elements of a list, those of the files it names included."""
    for text in maincf.texts(value):
        if text.startswith("/"):
            yield from _members(_uncommented(facts.files.get(text, "")), facts)
        elif not text.startswith("!"):
            yield text


def _uncommented(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _tables(value: str) -> list[str]:
    """The `type:name` elements of a list; proxy: only says who opens the table."""
    found = (text.removeprefix("proxy:") for text in maincf.texts(value))
    return [text for text in found if re.match(r"[a-z][a-z0-9_]*:", text)]


def _lists(parameter: str, domain: str, facts: Facts) -> bool:
    value = facts.expanded[parameter]
    named = any(text.lower() == domain.lower() for text in _members(value, facts))
    return named or any((table, domain) in facts.answers for table in _tables(value))


def _probe(domain: str) -> str:
    """An address that no table names, so that only a pattern can match it.

    Tables are asked for the whole address, one after the other, before any is asked for the domain (transport(5)).
    Ours answers for the whole address, therefore a table that has the domain does not matter.
    """
    return f"mailrelay-probe@{domain}"
