"""ARC chains of what arrives (RFC 8617 section 5.2, spec section 11.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailrelay.core import authres
from mailrelay.core.address import domain_name
from mailrelay.core.arc import MAX_INSTANCE, Chain, chain
from mailrelay.core.dkim import canonical
from mailrelay.core.dkimverify import (
    Content,
    Fault,
    KeyAnswers,
    Signature,
    decode,
    judge_key,
    read_signature,
    verify,
    without_value,
)
from mailrelay.core.errors import Malformed
from mailrelay.core.findings import Arc, Sealer
from mailrelay.core.header import Field
from mailrelay.core.taglist import tags

MAX_KEYS = 50  # names that are asked for; spec section 11.4

_AAR, _AMS, _AS = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"


@dataclass(frozen=True, slots=True)
class Seal:
    """An ARC-Seal field, read."""

    raw: bytes
    algorithm: str
    domain: str
    selector: str
    value: bytes

    @property
    def key_name(self) -> str:
        """Where the key is."""
        return f"{self.selector}._domainkey.{self.domain}"


@dataclass(frozen=True, slots=True)
class ArcSet:
    """One complete set."""

    instance: int
    results: bytes  # the AAR field
    message_signature: Signature
    seal: Seal


@dataclass(frozen=True, slots=True)
class Received:
    """A chain before its signatures are checked. verdict: what it is anyway, None if that depends on them."""

    verdict: Arc | None
    sets: tuple[ArcSet, ...] = ()  # oldest first

    @property
    def key_names(self) -> tuple[str, ...]:
        """Where the keys are, those of the newest sets first; at most 50."""
        names: dict[str, None] = {}
        for one in reversed(self.sets):
            for name in (one.seal.key_name, one.message_signature.key_name):
                if name is not None:
                    names[name] = None
        return tuple(names)[:MAX_KEYS]


def received(fields: Sequence[Field]) -> Received:
    """The chain in a header, checked as far as that goes without keys."""
    found = chain(fields)
    if not found.present:
        return Received(Arc("none"))
    try:
        return Received(None, _sets(found))
    except Malformed as error:
        return Received(Arc("fail", highest=found.highest, ended=found.ended, reason=str(error)))


def check(arc: Received, keys: KeyAnswers, content: Content, now: int) -> Arc:
    """The verdict on a chain. now: seconds since 1970."""
    if arc.verdict is not None:
        return arc.verdict
    highest = len(arc.sets)
    newest = verify(arc.sets[-1].message_signature, keys, content, now)
    faults = [Fault(newest.result, f"newest message signature: {newest.reason}")] if newest.result != "pass" else []
    faults += _seal_faults(arc.sets, keys)
    if faults:
        # One that is wrong decides, whatever else DNS did not tell.
        worst = min(faults, key=lambda fault: fault.result == "temperror")
        return Arc("temperror" if worst.result == "temperror" else "fail", highest=highest, reason=worst.reason)
    oldest_pass = 0
    for one in reversed(arc.sets[:-1]):
        if verify(one.message_signature, keys, content, now).result != "pass":
            oldest_pass = one.instance + 1
            break
    return Arc("pass", oldest_pass, tuple(_sealer(one) for one in reversed(arc.sets)), highest)


def newest_results(arc: Received, keys: KeyAnswers, content: Content, now: int) -> bytes:
    """What the newest sealer found, its ARC-Authentication-Results without the instance, on one line; b"" if unsealed.

    For those who trust that sealer: the seals of the sets below, which it vouches for, are not looked at.
    """
    if not arc.sets or verify(arc.sets[-1].message_signature, keys, content, now).result != "pass":
        return b""
    newest = arc.sets[-1]
    if _seal_fault(newest.seal, _covered(arc.sets), keys) is not None:
        return b""
    return b" ".join(newest.results.partition(b";")[2].split())


def _sets(found: Chain) -> tuple[ArcSet, ...]:
    """The sets of a chain, oldest first. Raises Malformed with the reason why it fails as it is."""
    if found.highest > MAX_INSTANCE:
        raise Malformed("more than 50 sets")
    if found.ended:
        raise Malformed("the chain has ended")
    if not found.complete:
        raise Malformed("the sets are not complete")
    return tuple(_set(found, instance) for instance in range(1, found.highest + 1))


def _set(found: Chain, instance: int) -> ArcSet:
    results, signed, sealed = (found.sets[instance, name][0] for name in (_AAR, _AMS, _AS))
    signature = read_signature(Field(_AMS, signed), is_arc=True)
    if b"arc-seal" in signature.names:
        raise Malformed("a message signature signs a seal")
    return ArcSet(instance, results, signature, _seal(sealed, instance))


def _seal(raw: bytes, instance: int) -> Seal:
    values = tags(raw.partition(b":")[2])
    if values is None or not {b"i", b"a", b"b", b"cv", b"d", b"s"} <= values.keys():
        raise Malformed("a seal is not complete")
    if b"h" in values:
        raise Malformed("a seal has h=")
    if values[b"cv"].lower() != (b"none" if instance == 1 else b"pass"):
        raise Malformed("a seal with another cv= than its place asks for")
    try:
        selector, domain = (domain_name(values[tag].decode("utf-8")) for tag in (b"s", b"d"))
        domain_name(f"{selector}._domainkey.{domain}")
    except (Malformed, UnicodeDecodeError) as error:
        raise Malformed("a seal of no domain") from error
    return Seal(raw, values[b"a"][:40].decode("ascii", "replace").lower(), domain, selector, decode(values[b"b"]))


def _covered(sets: Sequence[ArcSet]) -> bytes:
    """What the seal of the last set covers but for itself (RFC 8617 section 5.1.1)."""
    lines = []
    for one in sets:
        lines += [canonical(_AAR, one.results), canonical(_AMS, one.message_signature.field.raw)]
        lines.append(canonical(_AS, one.seal.raw))
    return b"".join(line + b"\r\n" for line in lines[:-1])


def _seal_faults(sets: Sequence[ArcSet], keys: KeyAnswers) -> list[Fault]:
    """What is wrong with the seals. Each covers all sets up to its own (RFC 8617 section 5.1.1)."""
    faults = []
    covered = bytearray()
    for one in sets:
        covered += canonical(_AAR, one.results) + b"\r\n"
        covered += canonical(_AMS, one.message_signature.field.raw) + b"\r\n"
        reason = _seal_fault(one.seal, bytes(covered), keys)
        if reason is not None:
            faults.append(Fault(reason.result, f"seal {one.instance}: {reason.reason}"))
        covered += canonical(_AS, one.seal.raw) + b"\r\n"
    return faults


def _seal_fault(seal: Seal, covered: bytes, keys: KeyAnswers) -> Fault | None:
    key = judge_key(seal.key_name, keys, seal.algorithm)
    if isinstance(key, Fault):
        return key
    if key.verifies(seal.value, covered + canonical(_AS, without_value(seal.raw))):
        return None
    return Fault("fail", "the signature is wrong")


def _sealer(one: ArcSet) -> Sealer:
    results: Mapping[str, str] = authres.dmarc_of(one.results.partition(b":")[2])
    return Sealer(one.instance, one.seal.domain, results.get("dmarc", ""), results.get("header.from", ""))
