"""Which DNS records of a domain are right: what DNS answers, held against what has to be there.

Whoever checks domains, for the stamps of the addy.io API, for approvals, or for an operator who asks, checks here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Literal

from mailrelay.core.dmarc import read_records
from mailrelay.core.dnsrecords import MAIN_SELECTOR, DnsRecord, dkim_record, dmarc_record, mx_record, spf_record
from mailrelay.core.errors import Malformed
from mailrelay.core.lookup import Answer, Kind, Mx, Question
from mailrelay.core.naming import ServiceNames
from mailrelay.core.publickey import PublicKey, read_key

# Mail comes here; mail may leave under the domain's name; it shows the web interface.
Purpose = Literal["EMAIL", "SENDING", "UI"]
Key = Literal["MX", "SPF", "DMARC", "DKIM", "CNAME"]
State = Literal["right", "missing", "wrong", "unknown"]  # unknown: DNS gave no answer

PURPOSES: tuple[Purpose, ...] = ("EMAIL", "SENDING", "UI")
_ORDER: tuple[State, ...] = ("right", "wrong", "missing", "unknown")
MAX_FOUND = 20  # records that are shown of one name; one more tells that there are more, and so with characters
MAX_CHARACTERS = 512

# By name and kind, None for a question that got no answer.
Answers = Mapping[Question, Answer | None]


@dataclass(frozen=True, slots=True)
class Expected:
    """What has to be published for a domain. keys: selector and DNS text of its signing keys, the main one first."""

    name: str
    service: ServiceNames
    keys: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one record. publish: what would be right; found: what is there, as far as it is of that sort.

    sentence: plain, for whoever runs the domain's DNS. needed: mail does not do without. extras: what else the Haltman
    API shows of it.
    """

    key: Key
    purpose: Purpose
    publish: DnsRecord
    state: State
    sentence: str
    found: tuple[str, ...] = ()
    needed: bool = True
    extras: Mapping[str, object] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """What is wrong, as notices name it."""
        return f"dns_{self.key.lower()}_{self.state}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found about a domain, the records in the order in which people read them."""

    name: str
    findings: tuple[Finding, ...] = field(default_factory=tuple)

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        """What it tells of."""
        return tuple(purpose for purpose in PURPOSES if self.of(purpose))

    def only(self, *purposes: Purpose) -> "Report":
        """What it says of these."""
        return Report(self.name, tuple(found for found in self.findings if found.purpose in purposes))

    def of(self, purpose: Purpose) -> tuple[Finding, ...]:
        """The records that matter for a purpose."""
        return tuple(found for found in self.findings if found.purpose == purpose and found.needed)

    def verdict(self, purpose: Purpose) -> bool | None:
        """True: all is right; False: something is not; None: DNS gave too few answers to say either."""
        return _verdict(self.of(purpose))

    @property
    def complete(self) -> bool | None:
        """The same of all its purposes together."""
        return _verdict([found for found in self.findings if found.needed])

    def faults(self, purpose: Purpose) -> tuple[Finding, ...]:
        """What is not right, as far as DNS answered."""
        return tuple(found for found in self.of(purpose) if found.state in ("wrong", "missing"))


def _verdict(findings: Sequence[Finding]) -> bool | None:
    states = {found.state for found in findings}
    if states <= {"right"}:
        return True if states else None
    return False if states & {"wrong", "missing"} else None


def questions(expected: Expected) -> tuple[Question, ...]:
    """What DNS is to be asked."""
    name, host = expected.name, expected.service.hostname
    texts = (name, f"_dmarc.{name}", *(f"{selector}._domainkey.{name}" for selector, _ in expected.keys))
    return ((name, "MX"), (host, "A"), (host, "AAAA"), *((text, "TXT") for text in texts))


def examine(expected: Expected, answers: Answers) -> Report:
    """The report on a domain, from the answers of one resolver to those questions."""
    mx = _mx(expected, answers.get((expected.name, "MX")))
    return Report(
        expected.name,
        (
            mx,
            _spf(expected, answers, mx),
            _dmarc(expected, answers.get((f"_dmarc.{expected.name}", "TXT"))),
            *_dkim(expected, answers),
        ),
    )


def best(reports: Sequence[Report]) -> Report:
    """One report from those of several resolvers, of the same domain: of each record what speaks most for it.

    A resolver that remembers what was before, or makes something up, is no reason to take anything from anybody.
    """
    columns = zip(*(report.findings for report in reports), strict=True)
    return Report(reports[0].name, tuple(min(column, key=lambda one: _ORDER.index(one.state)) for column in columns))


# --- MX ------------------------------------------------------------------------------------------------------------


def _mx(expected: Expected, answer: Answer | None) -> Finding:
    """Of those with the lowest preference all must be ours: senders choose among them."""
    name, host = expected.name, expected.service.hostname
    publish = mx_record(name, expected.service)
    if answer is None:
        return Finding("MX", "EMAIL", publish, "unknown", silence(name, "MX"))
    found = sorted((record for record in answer.records if isinstance(record, Mx)), key=lambda one: one.preference)
    shown = limited(f"{record.preference} {record.host or '.'}" for record in found)
    if not found:
        return Finding("MX", "EMAIL", publish, "missing", f"{name} has no MX record, so no mail comes here.")
    first = {record.host for record in found if record.preference == found[0].preference}
    if first == {host}:
        rest = sorted({record.host for record in found} - first)
        more = f" When this host is away, mail goes to {', '.join(rest[:3])}." if rest else ""
        return Finding("MX", "EMAIL", publish, "right", f"Mail to {name} comes to {host}.{more}", shown)
    others = ", ".join(sorted(one or "nowhere" for one in first - {host})[:3])
    if host in first:
        sentence = f"{others} has the same preference as {host}, so some of the mail goes there."
    elif any(record.host == host for record in found):
        sentence = f"Mail to {name} goes to {others} first, which has a lower preference than {host}."
    else:
        sentence = f"Mail to {name} goes to {others}, not to {host}."
    return Finding("MX", "EMAIL", publish, "wrong", sentence, shown)


# --- SPF -----------------------------------------------------------------------------------------------------------


def _spf(expected: Expected, answers: Answers, mx: Finding) -> Finding:
    name, host = expected.name, expected.service.hostname
    publish = spf_record(name, expected.service)
    answer = answers.get((name, "TXT"))
    if answer is None:
        return Finding("SPF", "SENDING", publish, "unknown", silence(name, "TXT"))
    texts = [text for text in answer.texts if text.lower() == b"v=spf1" or text.lower().startswith(b"v=spf1 ")]
    shown = limited(readable(text) for text in texts)
    if not texts:
        return Finding("SPF", "SENDING", publish, "missing", f"{name} has no SPF record.")
    if len(texts) > 1:
        sentence = f"{name} has {len(texts)} SPF records, and receivers then use none of them."
        return Finding("SPF", "SENDING", publish, "wrong", sentence, shown)
    words = readable(texts[0]).lower().split()[1:]
    if _permits(words, expected, mx.state == "right", _addresses(expected, answers)):
        return Finding("SPF", "SENDING", publish, "right", f"{host} may send for {name}.", shown)
    question = next(_left_open(words, expected, answers), None)
    if question is not None:
        return Finding("SPF", "SENDING", publish, "unknown", silence(*question), shown)
    sentence = f"The SPF record of {name} does not let {host} send for it: add a:{host} to it, before its end."
    return Finding("SPF", "SENDING", publish, "wrong", sentence, shown)


def _permits(words: Sequence[str], expected: Expected, mx_is_ours: bool, addresses: frozenset[str]) -> bool:
    """Whether one of the terms passes our host, as far as the record itself says so (RFC 7208 section 5)."""
    service, name = expected.service, expected.name
    ours = {f"a:{service.hostname}", *(f"include:{one}" for one in service.domains)}
    ours |= {f"mx:{one}" for one in service.domains}
    if mx_is_ours:
        ours |= {"mx", f"mx:{name}"}
    if service.hostname == name:
        ours |= {"a"}
    for word in words:
        term = word.removeprefix("+")
        if term in ours or _covers(term, addresses):
            return True
        if term[-3:] == "all" and term in ("all", "-all", "~all", "?all"):
            return term == "all"  # what follows is not read
    return any(word == f"redirect={one}" for word in words for one in service.domains)


def _left_open(words: Sequence[str], expected: Expected, answers: Answers) -> Iterator[Question]:
    """What got no answer, and may be why the record seems not to pass our host."""
    host, kinds = expected.service.hostname, {word.lstrip("+").partition(":")[0] for word in words}
    open_ones: list[tuple[str, Question]] = [
        ("mx", (expected.name, "MX")),
        ("ip4", (host, "A")),
        ("ip6", (host, "AAAA")),
    ]
    for kind, question in open_ones:
        if kind in kinds and answers.get(question) is None:
            yield question


def _covers(term: str, addresses: frozenset[str]) -> bool:
    kind, _, network = term.partition(":")
    if kind not in ("ip4", "ip6"):
        return False
    try:
        inside = ip_network(network, strict=False)
        return any(ip_address(one) in inside for one in addresses)
    except ValueError:
        return False


def _addresses(expected: Expected, answers: Answers) -> frozenset[str]:
    """Of our host."""
    kinds: tuple[Kind, ...] = ("A", "AAAA")
    found = (answers.get((expected.service.hostname, kind)) for kind in kinds)
    return frozenset(one for answer in found if answer is not None for one in answer.names)


# --- DMARC and DKIM ------------------------------------------------------------------------------------------------


def _dmarc(expected: Expected, answer: Answer | None) -> Finding:
    publish = dmarc_record(expected.name)
    if answer is None:
        return Finding("DMARC", "SENDING", publish, "unknown", silence(publish.name, "TXT"))
    texts = [text for text in answer.texts if text.strip().lower().startswith(b"v=dmarc1")]
    shown = limited(readable(text) for text in texts)
    if not texts:
        return Finding("DMARC", "SENDING", publish, "missing", f"{expected.name} has no DMARC record.")
    record = read_records(answer.texts)
    if record is None:
        sentence = f"The DMARC record of {expected.name} cannot be read, or there are several."
        return Finding("DMARC", "SENDING", publish, "wrong", sentence, shown)
    sentence = f"{expected.name} has a DMARC record, with the policy {record.policy}."
    return Finding("DMARC", "SENDING", publish, "right", sentence, shown)


def _dkim(expected: Expected, answers: Answers) -> tuple[Finding, ...]:
    """One for each key. Receivers need only one that they understand, which the first is to all of them."""
    if not expected.keys:
        publish = dkim_record(expected.name, MAIN_SELECTOR, "")
        sentence = f"The signing keys of {expected.name} are not made yet, so there is nothing to publish."
        return (Finding("DKIM", "SENDING", publish, "missing", sentence),)
    return tuple(_dkim_key(expected, at, answers) for at in range(len(expected.keys)))


def _dkim_key(expected: Expected, at: int, answers: Answers) -> Finding:
    selector, text = expected.keys[at]
    publish = dkim_record(expected.name, selector, text)
    answer = answers.get((publish.name, "TXT"))

    def found(state: State, sentence: str, shown: tuple[str, ...] = ()) -> Finding:
        return Finding("DKIM", "SENDING", publish, state, sentence, shown, needed=at == 0)

    if answer is None:
        return found("unknown", silence(publish.name, "TXT"))
    if not answer.texts:
        return found("missing", f"The signing key {selector} is not published.")
    shown = limited(readable(one) for one in answer.texts)
    ours = read_key([text.encode("ascii")])
    keys = [key.key for key in map(public_key, answer.texts) if key is not None]
    if keys and all(key == ours.key for key in keys):
        return found("right", f"The signing key {selector} is published.", shown)
    if keys:
        return found("wrong", f"Another key is published under {publish.name}: signatures do not verify.", shown)
    return found("wrong", f"What is published under {publish.name} is no usable key.", shown)


def public_key(text: bytes) -> PublicKey | None:
    """Of a TXT record, None if it is none."""
    try:
        return read_key([text])
    except Malformed:
        return None


# --- words ---------------------------------------------------------------------------------------------------------


def silence(name: str, kind: Kind) -> str:
    """The sentence about a question without an answer."""
    return f"DNS gave no answer about {kind} records of {name}; this says nothing about the domain."


def readable(text: bytes) -> str:
    """Text of others on one line, without anything that a terminal or a database minds."""
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else "\ufffd" for octet in text)


def limited(lines: Iterable[str]) -> tuple[str, ...]:
    """What is kept of the records that were found."""
    return tuple(line[: MAX_CHARACTERS + 1] for line in islice(lines, MAX_FOUND + 1))
