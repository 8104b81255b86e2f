"""What joining a Postfix adds to it: five lists grow by one element (six if it has virtual mailboxes), and
master.cf gets four services of our own. Everything here is computed from what postconf says about the host."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mailrelay.core import maincf
from mailrelay.core.maincf import Unit

RECIPIENT_RESTRICTIONS = "smtpd_recipient_restrictions"
MILTERS = ("smtpd_milters", "non_smtpd_milters")
LISTS = ("virtual_mailbox_domains", "virtual_mailbox_maps", "transport_maps", RECIPIENT_RESTRICTIONS, *MILTERS)
GUARDS = ("reject_unauth_destination", "defer_unauth_destination")
TERMINALS = frozenset({"permit", "reject", "defer"})

# The mark by which our own services are known, also in the log.
_SYSLOG_NAME = "${multi_instance_name?{$multi_instance_name}:{postfix}}/mailrelay"
_MARK = re.compile(rb"syslog_name=\S*/mailrelay(?!\S)")
_LOOPBACK = "127.0.0.0/8,[::1]/128"
_REFERENCE = re.compile(r"\$(?:\{(\w+)\}|\((\w+)\)|(\w+))")
_STALE = re.compile(r"socketmap:(?:inet:(?:127\.[\d.]+|\[::1\]|localhost):\d+|unix:[^:]+):(domain|recipient|transport)")

Options = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Joining:
    """What this installation wants of Postfix.

    policy, socketmap, lmtp, submit, milter: `ADDRESS:PORT` (IPv6 in brackets) or `unix:/PATH`, as in the
    configuration; a milter may have `unix:PATH` below queue_directory, and '' where there is none.
    message_octets: largest message we forward. domains: names of the domains we serve already;
    shared: those of them below which all subdomains are ours, too; foreign: the subdomains that are not.
    """

    policy: str
    socketmap: str
    lmtp: str
    submit: str
    message_octets: int
    domains: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    milter: str = ""

    def beside(self, queue_directory: str) -> "Joining":
        """The same for a Postfix whose processes reach a socket below this folder only.

        They work in it, and most in their chroot see it as their root: from there the way is the same for all.
        """
        below = f"unix:{queue_directory.rstrip('/')}/"
        if not self.milter.startswith(below):
            return self
        return replace(self, milter=f"unix:{self.milter.removeprefix(below)}")


@dataclass(frozen=True, slots=True)
class Service:
    """One entry of master.cf, its options expanded."""

    name: str
    type: str
    command: str
    options: Mapping[str, str]

    @property
    def key(self) -> str:
        return f"{self.name}/{self.type}"


@dataclass(frozen=True, slots=True)
class Facts:
    """A Postfix without our additions, as its own tools describe it."""

    version: str  # `3.7.11`, `3.9-20230912`
    table_types: frozenset[str]
    parameters: frozenset[str]  # the names this version knows
    raw: Mapping[str, str]  # LISTS as written, or their defaults
    expanded: Mapping[str, str]  # what joincheck.EXPANDED names, every $name replaced
    references: Mapping[str, str]  # $name or restriction class used by RECIPIENT_RESTRICTIONS -> expanded value
    services: tuple[Service, ...]
    files: Mapping[str, str]  # /path used as a list -> its text
    answers: Mapping[tuple[str, str], str]  # (table, key) -> what the table says


@dataclass(frozen=True, slots=True)
class Additions:
    """values: new main.cf values. services: new master.cf entries, `name/type` -> the line for `postconf -M`."""

    values: Mapping[str, str]
    services: Mapping[str, str]


def service_address(text: str) -> str:
    """`127.0.0.1:10031` as Postfix wants it where it connects: `inet:127.0.0.1:10031`."""
    return text if text.startswith("unix:") else f"inet:{text}"


def units(wanted: Joining) -> Mapping[str, Unit]:
    """The one element that each of LISTS gets."""
    table = f"socketmap:{service_address(wanted.socketmap)}"
    # While the milter is down mail waits, whatever the host does about its other milters; it speaks protocol 6 only.
    milter = (f"{{ {service_address(wanted.milter)}, protocol=6, default_action=tempfail }}",)
    return {
        **(dict.fromkeys(MILTERS, milter) if wanted.milter else {}),
        "virtual_mailbox_domains": (f"{table}:domain",),
        "virtual_mailbox_maps": (f"{table}:recipient",),
        "transport_maps": (f"{table}:transport",),
        RECIPIENT_RESTRICTIONS: ("check_policy_service", service_address(wanted.policy)),
    }


def additions(wanted: Joining, facts: Facts) -> Additions:
    """Everything to add to a Postfix that joincheck has no objection to."""
    ours = units(wanted)
    values = {
        name: appended(facts.raw[name], ours[name])
        for name in ("virtual_mailbox_domains", "virtual_mailbox_maps", "transport_maps")
        # Without virtual_mailbox_maps Postfix takes any recipient of our domains and leaves the verdict to the
        # policy service; with them it asks the maps, so that ours must be among them.
        if name != "virtual_mailbox_maps" or maincf.texts(facts.expanded[name])
    }
    values.update(
        (name, appended(facts.raw[name], ours[name])) for name in MILTERS if name in ours and _by_itself(name, facts)
    )
    values[RECIPIENT_RESTRICTIONS] = restricted(facts.raw[RECIPIENT_RESTRICTIONS], ours[RECIPIENT_RESTRICTIONS], facts)
    return Additions(values, services(wanted, facts.parameters))


def _by_itself(name: str, facts: Facts) -> bool:
    """False for a list of milters that has those of the other one in it: each milter is asked once."""
    return not any(other in references(facts.raw[name]) for other in MILTERS if other != name)


def appended(value: str, unit: Unit) -> str:
    """The list with one more element at its end, separated as its author does it."""
    return _inserted(value, unit, len(maincf.words(value)))


def restricted(value: str, unit: Unit, facts: Facts) -> str:
    """The restriction list with our check where it decides about our recipients only.

    Behind the last reject_unauth_destination, else before what ends the list, else at the end.
    """
    found = [spread([word.text], facts.references) for word in maincf.words(value)]
    guards = [at for at, inner in enumerate(found) if any(text in GUARDS for text in inner)]
    ends = [at for at, inner in enumerate(found) if _ends(inner) and found[max(at - 1, 0)] != ["warn_if_reject"]]
    return _inserted(value, unit, guards[-1] + 1 if guards else (ends or [len(found)])[0])


def reachable(value: str, unit: Unit, facts: Facts) -> bool:
    """False if the list always ends before it comes to our check."""
    inner = spread(maincf.texts(value), facts.references)
    return not _ends(inner[: inner.index(unit[1])])


def spread(found: Sequence[str], references: Mapping[str, str]) -> list[str]:
    """The elements with `$name` and restriction classes replaced by what they hold."""
    result: list[str] = []
    for text in found:
        match = _REFERENCE.fullmatch(text)
        name = next(filter(None, match.groups())) if match else text
        result += maincf.texts(references[name]) if name in references else [text]
    return result


def references(value: str) -> list[str]:
    """The parameters that a value mentions as `$name` in an element of its own."""
    matches = [_REFERENCE.fullmatch(text) for text in maincf.texts(value)]
    return [next(filter(None, match.groups())) for match in matches if match]


def stale(facts: Facts) -> list[tuple[str, str]]:
    """(parameter, element) of what looks like ours under other addresses: somebody lost the state file."""
    return [(name, text) for name in LISTS for text in maincf.texts(facts.raw[name]) if _STALE.fullmatch(text)]


def _inserted(value: str, unit: Unit, at: int) -> str:
    found = maincf.words(value)
    text, comma = " ".join(unit), ", " if "," in value or len(found) < 2 else " "
    if not found:
        return text
    if at == 0:
        return f"{value[: found[0].start]}{text}{comma}{value[found[0].start :]}"
    end = found[at - 1].end
    return f"{value[:end]}{comma}{text}{value[end:]}"


def _ends(inner: Sequence[str]) -> bool:
    return any(text in TERMINALS and (at == 0 or inner[at - 1] != "warn_if_reject") for at, text in enumerate(inner))


def services(wanted: Joining, known: frozenset[str] | None = None) -> Mapping[str, str]:
    """Our entries of master.cf. known: leave out options that this Postfix does not have; None: keep all."""
    octets = wanted.message_octets * 14 // 10  # spec 3.11: encryption may make mail grow by 40 %
    entries: tuple[tuple[str, str, Options], ...] = (
        ("mailrelay/unix", "mailrelay unix - - n - - lmtp", _LMTP),
        (f"{wanted.submit}/inet", f"{wanted.submit} inet n - n - - smtpd", _submission(octets)),
        ("mailrelay-cleanup/unix", "mailrelay-cleanup unix n - n - 0 cleanup", _cleanup(octets)),
        ("mailrelay-rewrite/unix", "mailrelay-rewrite unix - - n - - trivial-rewrite", _REWRITE),
    )
    return {
        key: " ".join([line, *(f"-o {name}={value}" for name, value in options if known is None or name in known)])
        for key, line, options in entries
    }


def is_ours(key: str, text: bytes) -> bool:
    """Whether a master.cf entry is one that some adoption made."""
    return _MARK.search(text) is not None and (
        key in ("mailrelay/unix", "mailrelay-cleanup/unix", "mailrelay-rewrite/unix")
        or (key.endswith("/inet") and b"cleanup_service_name=mailrelay-cleanup" in text)
    )


_LMTP: Options = (
    ("syslog_name", _SYSLOG_NAME),
    ("lmtp_send_xforward_command", "yes"),  # the LMTP role learns the queue id, client and HELO name
    # Keep connections: a new one for each message costs more than the message.
    ("lmtp_connection_cache_destinations", "static:all"),
    ("lmtp_connection_cache_time_limit", "30s"),
    ("lmtp_data_done_timeout", "600s"),  # the reply comes when every copy is queued again
    ("lmtp_line_length_limit", "0"),  # folding a line breaks the signature over it
    ("disable_mime_output_conversion", "yes"),
    # What the host does to the mail of its own LMTP servers is not for ours.
    ("lmtp_generic_maps", ""),
    ("lmtp_header_checks", ""),
    ("lmtp_mime_header_checks", ""),
    ("lmtp_nested_header_checks", ""),
    ("lmtp_body_checks", ""),
    ("lmtp_discard_lhlo_keywords", ""),
    ("lmtp_discard_lhlo_keyword_address_maps", ""),
    ("lmtp_tls_security_level", "none"),  # loopback
    ("lmtp_tls_policy_maps", ""),
    ("lmtp_sasl_auth_enable", "no"),
    ("lmtp_dns_support_level", "disabled"),  # the transport map names an address
)


def _submission(octets: int) -> Options:
    """The listener for our copies: takes everything from this host, alters and asks nothing."""
    return (
        ("syslog_name", _SYSLOG_NAME),
        ("cleanup_service_name", "mailrelay-cleanup"),
        ("rewrite_service_name", "mailrelay-rewrite"),
        ("mynetworks", _LOOPBACK),
        ("smtpd_client_restrictions", "permit_mynetworks,reject"),
        ("smtpd_helo_restrictions", ""),
        ("smtpd_sender_restrictions", ""),
        ("smtpd_relay_restrictions", "permit_mynetworks,reject"),
        ("smtpd_recipient_restrictions", "permit_mynetworks,reject"),
        ("smtpd_data_restrictions", ""),
        ("smtpd_end_of_data_restrictions", ""),
        ("smtpd_etrn_restrictions", "reject"),
        ("smtpd_helo_required", "no"),
        ("smtpd_reject_unlisted_recipient", "no"),
        ("smtpd_reject_unlisted_sender", "no"),
        ("smtpd_milters", ""),
        ("smtpd_milter_maps", ""),  # would win over smtpd_milters
        ("content_filter", ""),
        ("smtpd_proxy_filter", ""),
        ("smtpd_command_filter", ""),
        ("smtpd_upstream_proxy_protocol", ""),
        ("smtpd_discard_ehlo_keywords", ""),  # we want PIPELINING, SIZE, 8BITMIME, SMTPUTF8 and DSN
        ("smtpd_discard_ehlo_keyword_address_maps", ""),
        # Not no_address_mappings: a recipient may be an alias of the host, and virtual_alias_maps resolves it.
        ("receive_override_options", "no_unknown_recipient_checks,no_header_body_checks,no_milters"),
        ("local_header_rewrite_clients", ""),  # headers are neither completed nor rewritten
        ("smtpd_tls_security_level", "none"),
        ("smtpd_tls_wrappermode", "no"),
        ("smtpd_sasl_auth_enable", "no"),
        ("smtpd_peername_lookup", "no"),
        # One connection carries thousands of messages, and a refused copy is no attack.
        ("smtpd_error_sleep_time", "0"),
        ("smtpd_soft_error_limit", "1000000"),
        ("smtpd_hard_error_limit", "1000000"),
        ("smtpd_junk_command_limit", "1000000"),
        ("smtpd_timeout", "300s"),  # also under stress
        ("smtpd_recipient_limit", "1000"),
        ("smtpd_client_connection_count_limit", "0"),
        ("smtpd_client_connection_rate_limit", "0"),
        ("smtpd_client_message_rate_limit", "0"),
        ("smtpd_client_recipient_rate_limit", "0"),
        ("notify_classes", ""),  # what we hand over we try again and log: no transcript of each try to postmaster
        ("message_size_limit", str(octets)),
    )


def _cleanup(octets: int) -> Options:
    """Queues our copies as they are. cleanup_replace_stray_cr_lf stays as the host has it: the same was done to
    the message when it came in, and it protects the world from smuggled SMTP."""
    return (
        ("syslog_name", _SYSLOG_NAME),
        ("rewrite_service_name", "mailrelay-rewrite"),
        ("canonical_maps", ""),
        ("sender_canonical_maps", ""),  # above all those of an SRS daemon: our return paths are ours
        ("recipient_canonical_maps", ""),
        ("masquerade_domains", ""),
        ("remote_header_rewrite_domain", ""),
        ("header_checks", ""),
        ("mime_header_checks", ""),
        ("nested_header_checks", ""),
        ("body_checks", ""),
        ("milter_header_checks", ""),
        ("non_smtpd_milters", ""),
        ("always_bcc", ""),
        ("sender_bcc_maps", ""),
        ("recipient_bcc_maps", ""),
        ("undisclosed_recipients_header", ""),
        ("always_add_missing_headers", "no"),
        ("message_drop_headers", ""),  # else Bcc, Content-Length, Return-Path go, which may be signed
        ("message_strip_characters", ""),
        ("message_reject_characters", ""),
        ("disable_mime_input_processing", "yes"),  # broken MIME and 8-bit headers are not for us to judge
        ("message_size_limit", str(octets)),
    )


# Our listener takes every recipient: where it goes is the queue manager's question. With the host's maps this one would
# ask the policy role six times for each copy.
_REWRITE: Options = (
    ("syslog_name", _SYSLOG_NAME),
    ("transport_maps", ""),
    ("relay_domains", ""),
    ("virtual_alias_domains", ""),
    ("virtual_mailbox_domains", ""),
    ("sender_dependent_relayhost_maps", ""),
    ("sender_dependent_default_transport_maps", ""),
)
