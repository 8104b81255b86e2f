"""ARC sets for what we pass on (RFC 8617, spec section 11.5): what we found at ingress, signed, for the next receiver.

A set has three fields: ARC-Authentication-Results with our findings (AAR), ARC-Message-Signature over the message as
it leaves (AMS) and ARC-Seal over all sets so far (AS). Sealing is the last change to a copy, our own DKIM signatures
come before it. Older sets are never removed.
"""

import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailrelay.core.dkim import SigningKey, canonical, name_list, signed_field
from mailrelay.core.findings import Result
from mailrelay.core.header import Field, unfold

MAX_INSTANCE = 50  # RFC 8617 section 4.2.1

_AAR, _AMS, _AS = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
_SET = (_AAR, _AMS, _AS)  # in the order that a seal covers them (RFC 8617 section 5.1.1)

# Named in h= as often as present, in the order of spec section 3.16; None stands for the List- fields.
_SIGNED = (
    *(b"dkim-signature", b"from", b"reply-to", b"sender", b"to", b"cc", b"subject", b"date", b"message-id"),
    *(b"in-reply-to", b"references", None, b"mime-version", b"content-type", b"content-transfer-encoding"),
)
_LIST_NAME = re.compile(rb"list-[a-z-]{1,40}")
# Of more fields of one name the lower ones are signed: a header has to fit into what Postfix takes.
_MAX_FIELDS_OF_A_NAME = 50
_MAX_LIST_NAMES = 20

_INSTANCE = re.compile(rb"(?:\A|;)[ \t]*+i[ \t]*+=[ \t]*+([0-9]++)[ \t]*+(?:;|\Z)", re.IGNORECASE)
_VALIDATION = re.compile(rb"(?:\A|;)[ \t]*+cv[ \t]*+=[ \t]*+([a-z]++)[ \t]*+(?:;|\Z)", re.IGNORECASE)
_LINE_OCTETS = 78
_CONTROLS = re.compile(rb"[\x00-\x20\x7f]+")


@dataclass(frozen=True, slots=True)
class Chain:
    """The sets in a header. highest: instance present, valid or not, 51 for any above 50.

    sets: raw fields by instance and name; unreadable: there are fields without an instance.
    """

    highest: int
    sets: Mapping[tuple[int, bytes], Sequence[bytes]]
    unreadable: bool

    @property
    def present(self) -> bool:
        """There are ARC fields of whatever kind."""
        return self.highest > 0 or self.unreadable

    @property
    def ended(self) -> bool:
        """The newest seal says `cv=fail`: nobody may add to this chain (RFC 8617 section 5.1)."""
        return any(_validation(raw) == b"fail" for raw in self.sets.get((self.highest, _AS), ()))

    @property
    def complete(self) -> bool:
        """Every instance up to the highest has one field of each kind, and nothing else is there."""
        wanted = {(instance, name) for instance in range(1, self.highest + 1) for name in _SET}
        return not self.unreadable and self.sets.keys() == wanted and all(len(raws) == 1 for raws in self.sets.values())


def chain(fields: Sequence[Field]) -> Chain:
    """The ARC sets of a header, whatever state they are in."""
    sets = defaultdict[tuple[int, bytes], list[bytes]](list)
    for one in fields:
        if one.name in _SET:
            sets[_instance(one.raw), one.name].append(one.raw)
    highest = max((instance for instance, _ in sets), default=0)
    return Chain(highest, sets, any(instance == 0 for instance, _ in sets))


def seal(
    fields: Sequence[Field], body_hash: bytes, results: bytes, received: Result, key: SigningKey, now: int
) -> tuple[bytes, ...]:
    """The fields to put on top of a copy, each with CRLF: AS, AMS and AAR from the top; nothing if it is not sealed.

    fields: the whole header of the copy, our own DKIM signatures included, nothing of it may change afterwards.
    body_hash: see dkim.body_hash. results: value of our Authentication-Results field, `mx.relay.example; spf=pass …`,
    folded or not, never empty. received: what ingress said of the chain as it came; other words than none, pass and
    fail say that nobody knows. key: RSA, its domain and selector are named. now: seconds since 1970.
    A chain is left alone if it has ended, has 50 sets, was not checked, or has no number to go on from.
    Raises ValueError for a key that is not RSA.
    """
    if key.algorithm != "rsa-sha256":
        raise ValueError("ARC is signed with RSA-SHA256")
    before = chain(fields)
    validation = _validation_to_write(before, received)
    if validation is None:
        return ()
    instance = before.highest + 1
    results_field = _results_field(instance, results)
    message_signature = _message_signature(fields, instance, body_hash, key, now)
    own = canonical(_AAR, results_field) + b"\r\n" + canonical(_AMS, message_signature) + b"\r\n"
    # A failed chain is closed by a seal over this set alone (RFC 8617 section 5.1.2).
    covered = own if validation == "fail" else _earlier(before) + own
    lines = [b"ARC-Seal: i=%d; a=rsa-sha256; cv=%b;" % (instance, validation.encode("ascii"))]
    words = [*_who(key), b" t=%d;" % now, b" b="]
    return signed_field(key, _AS, lines, words, covered), message_signature, results_field


def _validation_to_write(before: Chain, received: Result) -> Result | None:
    """The cv= of our seal, None: no seal."""
    if not before.present:
        return "none"
    if before.highest == 0 or before.highest >= MAX_INSTANCE or before.ended:
        return None
    match received:
        case "pass":
            return "pass" if before.complete else "fail"
        case "fail":
            return "fail"
        case _:
            return None


def _results_field(instance: int, results: bytes) -> bytes:
    """The AAR: our results as they are, however long, folded between words."""
    lines = []
    line = b"ARC-Authentication-Results: i=%d;" % instance
    for word in _CONTROLS.split(results.strip()):
        if len(line) + 1 + len(word) > _LINE_OCTETS:
            lines.append(line)
            line = b"\t" + word
        else:
            line += b" " + word
    return b"\r\n".join([*lines, line, b""])


def _message_signature(fields: Sequence[Field], instance: int, body_hash: bytes, key: SigningKey, now: int) -> bytes:
    names, covered = _cover(fields)
    start = b"ARC-Message-Signature: i=%d; a=rsa-sha256; c=relaxed/relaxed;%b" % (instance, b"".join(_who(key)))
    words = [*name_list(names), b" bh=%b;" % b64encode(body_hash), b" b="]
    return signed_field(key, _AMS, [start, b"\tt=%d; h=" % now], words, covered)


def _cover(fields: Sequence[Field]) -> tuple[list[bytes], bytes]:
    """The names of h= and the canonical fields they stand for."""
    present = defaultdict[bytes, list[bytes]](list)
    for one in fields:
        if one.name in _SIGNED or _LIST_NAME.fullmatch(one.name):
            present[one.name].append(one.raw)
    lists = [name for name in present if name not in _SIGNED][:_MAX_LIST_NAMES]
    names: list[bytes] = []
    covered: list[bytes] = []
    for name in _SIGNED:
        for each in lists if name is None else [name]:
            raws = present[each][-_MAX_FIELDS_OF_A_NAME:]
            # From is named even if there is none: RFC 6376 section 3.5 demands it.
            names += [each] * max(len(raws), each == b"from")
            # RFC 6376 section 5.4.2: several fields of a name are taken from the bottom.
            covered += [canonical(each, raw) + b"\r\n" for raw in reversed(raws)]
    return names, b"".join(covered)


def _earlier(before: Chain) -> bytes:
    """The sets so far, oldest first, in canonical form."""
    order = [(instance, name) for instance in range(1, before.highest + 1) for name in _SET]
    return b"".join(canonical(name, before.sets[instance, name][0]) + b"\r\n" for instance, name in order)


def _who(key: SigningKey) -> list[bytes]:
    return [f" d={key.domain};".encode("ascii"), f" s={key.selector};".encode("ascii")]


def _instance(raw: bytes) -> int:
    """The number of the set that a field belongs to, 51 for any above 50; 0: none that can be read."""
    found = _INSTANCE.search(unfold(raw.partition(b":")[2]))
    digits = found[1].lstrip(b"0") if found is not None else b""
    return min(int(digits[:3] or b"0"), MAX_INSTANCE + 1)


def _validation(raw: bytes) -> bytes:
    found = _VALIDATION.search(unfold(raw.partition(b":")[2]))
    return found[1].lower() if found is not None else b""
