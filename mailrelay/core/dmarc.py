"""DMARC: which policy a From domain publishes, and whether SPF or DKIM prove it (RFC 7489, RFC 9091).

Organisational domains come from the public suffix list. The tree walk of the successor RFC is not here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mailrelay.core.findings import Dkim, Dmarc, Policy, Spf
from mailrelay.core.inquiry import OrganisationalDomain
from mailrelay.core.lookup import Answer

Mode = Literal["r", "s"]

_VERSION = re.compile(rb"[ \t]*+v[ \t]*+=[ \t]*+DMARC1[ \t]*+(?:;|\Z)")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[^\s,!]+", re.IGNORECASE)
_RECORD_LIMIT = 8192
_WEAKER: dict[Policy, Policy] = {"reject": "quarantine", "quarantine": "none", "none": "none"}


@dataclass(frozen=True, slots=True)
class Record:
    """What we use of a DMARC record. Policies that it does not give fall back on the one before."""

    policy: Policy
    subdomains: Policy  # sp=
    nonexistent: Policy  # np=, RFC 9091 section 3.2
    dkim: Mode = "r"
    spf: Mode = "r"
    percent: int = 100


def record_names(author_domain: str, organisation: OrganisationalDomain) -> tuple[str, ...]:
    """Where to look for the policy of a From domain, in this order; the first that has a record decides.

    The last is that of a public suffix (RFC 9091 section 3.4): it is needed only if the others have nothing.
    """
    top = organisation(author_domain)
    names = dict.fromkeys((author_domain, top, *filter(None, [top.partition(".")[2]])))
    return tuple(f"_dmarc.{name}" for name in names)


def read_records(texts: Sequence[bytes]) -> Record | None:
    """The record among the TXT records of one name; None: there is none, several, or one without any policy."""
    records = [text for text in texts if len(text) <= _RECORD_LIMIT and _VERSION.match(text)]
    return _read(records[0]) if len(records) == 1 else None


def evaluate(
    author_domain: str,
    answers: Sequence[Answer | None],
    spf: Spf,
    dkim: Sequence[Dkim],
    organisation: OrganisationalDomain,
    exists: bool = True,
) -> Dmarc:
    """The verdict on a From domain ('' if there is none).

    answers: TXT for record_names in that order, as many as were asked for; None: DNS did not answer. dkim: with
    `aligned` set, see align. exists: False if the From domain has no A, AAAA or MX record.
    """
    if not author_domain:
        return Dmarc()
    passed = [one.domain for one in dkim if one.result == "pass" and one.aligned]
    for name, answer in zip(record_names(author_domain, organisation), answers, strict=False):
        if answer is None:
            return Dmarc("temperror", author_domain)
        record = read_records(answer.texts)
        if record is not None:
            return _apply(record, name.removeprefix("_dmarc."), author_domain, spf, dkim, organisation, exists)
    by_spf = spf.result == "pass" and _aligned(spf.domain, author_domain, "r", organisation)
    return Dmarc("none", author_domain, dkim_aligned=bool(passed), spf_aligned=by_spf)


def asks_existence(author_domain: str, answers: Sequence[Answer | None], organisation: OrganisationalDomain) -> bool:
    """True if the policy depends on whether the From domain exists: an np= that differs from sp= above it."""
    for name, answer in zip(record_names(author_domain, organisation), answers, strict=False):
        record = read_records(answer.texts) if answer is not None else None
        if record is not None:
            return name != f"_dmarc.{author_domain}" and record.nonexistent != record.subdomains
    return False


def align(dkim: Sequence[Dkim], author_domain: str, organisation: OrganisationalDomain) -> tuple[Dkim, ...]:
    """The signatures, told whether they are aligned (relaxed) with the From domain."""
    return tuple(replace(one, aligned=_aligned(one.domain, author_domain, "r", organisation)) for one in dkim)


def _apply(
    record: Record,
    found_at: str,
    author_domain: str,
    spf: Spf,
    dkim: Sequence[Dkim],
    organisation: OrganisationalDomain,
    exists: bool,
) -> Dmarc:
    published = record.policy
    if found_at != author_domain:
        published = record.subdomains if exists else record.nonexistent
    aligned = [one for one in dkim if _aligned(one.domain, author_domain, record.dkim, organisation)]
    spf_is_aligned = _aligned(spf.domain, author_domain, record.spf, organisation)
    by_dkim = any(one.result == "pass" for one in aligned)
    by_spf = spf.result == "pass" and spf_is_aligned
    in_doubt = any(one.result == "temperror" for one in aligned) or (spf.result == "temperror" and spf_is_aligned)
    return Dmarc(
        result="pass" if by_dkim or by_spf else "temperror" if in_doubt else "fail",
        domain=author_domain,
        has_record=True,
        published=published,
        policy=published if record.percent else _WEAKER[published],
        dkim_aligned=by_dkim,
        spf_aligned=by_spf,
    )


def _aligned(domain: str, author_domain: str, mode: Mode, organisation: OrganisationalDomain) -> bool:
    if not domain or not author_domain:
        return False
    if mode == "s" or domain == author_domain:
        return domain == author_domain
    return organisation(domain) == organisation(author_domain)


def _read(text: bytes) -> Record | None:
    """A record whose version is right. What cannot be read counts as absent (RFC 7489 section 6.3)."""
    values = dict(reversed([*_pairs(text)]))  # of two equal tags the first
    policy = _policy(values.get("p", ""))
    subdomains = _policy(values.get("sp", "")) if "sp" in values else policy
    if policy is None or subdomains is None:
        # RFC 7489 section 6.6.3: somebody who wants reports at least is heard.
        return Record("none", "none", "none") if _URI.match(values.get("rua", "")) else None
    return Record(
        policy=policy,
        subdomains=subdomains,
        nonexistent=_policy(values.get("np", "")) or subdomains,
        dkim="s" if values.get("adkim", "").lower() == "s" else "r",
        spf="s" if values.get("aspf", "").lower() == "s" else "r",
        percent=_percent(values.get("pct", "")),
    )


def _pairs(text: bytes) -> Iterator[tuple[str, str]]:
    for piece in text.decode("ascii", "replace").split(";"):
        name, equals, value = piece.partition("=")
        if equals:
            yield name.strip().lower(), value.strip()


def _policy(text: str) -> Policy | None:
    return next((policy for policy in get_args(Policy) if policy == text.lower()), None)


def _percent(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,3}", text) and int(text) <= 100 else 100
