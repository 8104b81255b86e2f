"""DKIM signatures of what arrives: RFC 6376, RFC 8301, RFC 8463, with the policy of spec section 11.1.

Done here and not by dkimpy, as that canonicalises the body anew for each of up to 10 signatures and 50 ARC sets,
reads the clock itself, and does not tell a missing key from one that DNS could not give. Tests compare with it.
"""

import hashlib
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mailrelay.core.address import domain_name
from mailrelay.core.dkim import body_hash, canonical
from mailrelay.core.errors import Malformed
from mailrelay.core.findings import Dkim, Result
from mailrelay.core.header import Field, Message
from mailrelay.core.lookup import Answer
from mailrelay.core.publickey import PublicKey, read_key
from mailrelay.core.taglist import tags

MAX_SIGNATURES = 10  # spec section 9.6

# Key records by name; None: DNS did not answer. A name that is not there was not asked for.
KeyAnswers = Mapping[str, Answer | None]

_B_VALUE = re.compile(rb"((?:\A|;)[ \t\r\n]*+b[ \t\r\n]*+=)[^;]*+")
_NUMBER = re.compile(rb"[0-9]{1,76}")
_ALGORITHMS = ("rsa-sha256", "ed25519-sha256")
_CANONICALISATIONS = (b"simple", b"relaxed")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a signature needs no look at its key."""

    result: Result
    reason: str


@dataclass(frozen=True, slots=True)
class Signature:
    """A DKIM-Signature or ARC-Message-Signature field, read."""

    field: Field
    found: Dkim  # what can be said so far
    identity: str = ""  # domain of i=, folded
    names: tuple[bytes, ...] = ()  # h=, lower case
    relaxed_header: bool = False
    relaxed_body: bool = False
    body_hash: bytes = b""
    value: bytes = b""
    length: int | None = None
    fault: Fault | None = None

    @property
    def key_name(self) -> str | None:
        """Where the key is, None if it is not needed."""
        return None if self.fault else f"{self.found.selector}._domainkey.{self.found.domain}"


@dataclass(frozen=True)
class Content:
    """What signatures cover, each canonical form of it computed once."""

    message: Message
    _relaxed: dict[int, bytes] = field(default_factory=dict)

    @cached_property
    def positions(self) -> Mapping[bytes, Sequence[int]]:
        """Where the fields of each name are, from the top."""
        places: dict[bytes, list[int]] = {}
        for at, one in enumerate(self.message.fields):
            places.setdefault(one.name, []).append(at)
        return places

    @cached_property
    def relaxed_hash(self) -> bytes:
        """SHA-256 of the body in relaxed form."""
        return body_hash(self.message.body)

    @cached_property
    def relaxed_length(self) -> int:
        """Octets of the body in relaxed form."""
        text = self.message.body.replace(b"\t", b" ")
        while b"  " in text:
            text = text.replace(b"  ", b" ")
        text = text.replace(b" \r\n", b"\r\n")
        end = _text_end(text)
        return end and end + 2

    @cached_property
    def simple_hash(self) -> bytes:
        """SHA-256 of the body in simple form (RFC 6376 section 3.4.3)."""
        body = self.message.body
        digest = hashlib.sha256(memoryview(body)[: _text_end(body)])
        digest.update(b"\r\n")
        return digest.digest()

    @cached_property
    def simple_length(self) -> int:
        """Octets of the body in simple form."""
        return _text_end(self.message.body) + 2

    def covered(self, names: Iterable[bytes], relaxed: bool, besides: Field) -> bytes:
        """The fields of h= in canonical form, those of one name from the bottom (RFC 6376 section 5.4.2).

        besides: the signature itself, which never covers itself by name.
        """
        left: dict[bytes, list[int]] = {}
        pieces = []
        for name in names:
            if name not in left:
                places = self.positions.get(name, ())
                left[name] = [at for at in places if self.message.fields[at].raw is not besides.raw]
            if left[name]:
                pieces.append(self._field(left[name].pop(), relaxed))
        return b"".join(pieces)

    def _field(self, at: int, relaxed: bool) -> bytes:
        one = self.message.fields[at]
        if not relaxed:
            return one.raw if one.raw.endswith(b"\r\n") else one.raw.rstrip(b"\n") + b"\r\n"
        known = self._relaxed.get(at)
        if known is None:
            known = self._relaxed[at] = canonical(one.name, one.raw) + b"\r\n"
        return known


def signatures(message: Message) -> tuple[Signature, ...]:
    """The first ten DKIM-Signature fields."""
    fields = [one for one in message.fields if one.name == b"dkim-signature"]
    return tuple(read_signature(one) for one in fields[:MAX_SIGNATURES])


def read_signature(one: Field, is_arc: bool = False) -> Signature:
    """A signature field as data, with its fault if it has one. is_arc: an ARC-Message-Signature, which has no v=."""
    values = tags(one.raw.partition(b":")[2])
    if values is None:
        return Signature(one, Dkim("permerror", reason="no list of tags"), fault=Fault("permerror", "no list of tags"))
    found = _describe(values)
    try:
        return _read(one, values, found, is_arc)
    except Malformed as error:
        return Signature(one, found, fault=Fault("permerror", str(error)))


def verify(signature: Signature, keys: KeyAnswers, content: Content, now: int) -> Dkim:
    """The verdict on one signature, alignment left open. now: seconds since 1970."""
    fault = _judge(signature, keys, content, now)
    return replace(signature.found, result=fault.result, reason=fault.reason)


def judge_key(key_name: str, keys: KeyAnswers, algorithm: str) -> PublicKey | Fault:
    """The key for a signature of that algorithm, or why there is none."""
    answer = keys.get(key_name, Answer())
    if answer is None:
        return Fault("temperror", "the key could not be fetched")
    try:
        key = read_key(answer.texts)
    except Malformed as error:
        return Fault("permerror", str(error))
    if key.algorithm != algorithm:
        return Fault("permerror", "the key is of another kind")
    return Fault("policy", key.weakness) if key.weakness else key


def without_value(raw: bytes) -> bytes:
    """A signature field with an empty b= and without its line end (RFC 6376 section 3.7)."""
    name, colon, value = raw.partition(b":")
    return name + colon + _B_VALUE.sub(rb"\1", value, count=1).removesuffix(b"\n").removesuffix(b"\r")


def decode(value: bytes) -> bytes:
    """Base64 with white space in it. Raises Malformed."""
    try:
        return b64decode(value.translate(None, b" \t\r\n"), validate=True)
    except ValueError as error:
        raise Malformed("no base64") from error


def _describe(values: Mapping[bytes, bytes]) -> Dkim:
    """What can be told of any signature, however broken."""
    try:
        domain = _domain(values.get(b"d", b""))
    except Malformed:
        domain = ""
    selector = values.get(b"s", b"")[:255].decode("utf-8", "replace")
    algorithm = values.get(b"a", b"")[:40].decode("ascii", "replace").lower()
    b = b"".join(values.get(b"b", b"")[:64].split())[:8].decode("ascii", "replace")
    expires = int(values[b"x"]) if _NUMBER.fullmatch(values.get(b"x", b"")) else None
    return Dkim("neutral", domain, selector, algorithm, b, has_length=b"l" in values, expires=expires)


def _read(one: Field, values: Mapping[bytes, bytes], found: Dkim, is_arc: bool) -> Signature:
    required = (b"a", b"b", b"bh", b"d", b"h", b"s", *((b"i",) if is_arc else (b"v",)))
    if missing := next((tag for tag in required if tag not in values), None):
        raise Malformed(f"no {missing.decode('ascii')}=")
    if values.get(b"v", b"1") != b"1":
        raise Malformed("an unknown version")
    if any(tag in values and not _NUMBER.fullmatch(values[tag]) for tag in (b"l", b"t", b"x")):
        raise Malformed("a time or length that is no number")
    if found.expires is not None and b"t" in values and found.expires < int(values[b"t"]):
        raise Malformed("expires before it was made")
    if b"q" in values and b"dns/txt" not in [method.strip() for method in values[b"q"].lower().split(b":")]:
        raise Malformed("an unknown way to the key")
    names = tuple(name.strip().lower() for name in values[b"h"].split(b":"))
    if b"from" not in names:
        raise Malformed("From is not signed")
    header, _, body = values.get(b"c", b"relaxed/relaxed" if is_arc else b"simple").lower().partition(b"/")
    header, body = header.strip(), body.strip() or b"simple"
    if header not in _CANONICALISATIONS or body not in _CANONICALISATIONS:
        raise Malformed("an unknown canonicalisation")
    domain = _domain(values[b"d"])
    selector = _domain(values[b"s"])
    _domain(f"{selector}._domainkey.{domain}".encode("ascii"))
    identity = domain if is_arc or b"i" not in values else _domain(values[b"i"].rpartition(b"@")[2])
    if identity != domain and not identity.endswith(f".{domain}"):
        raise Malformed("i= is not within d=")
    return Signature(
        field=one,
        found=replace(found, domain=domain, selector=selector),
        identity=identity,
        names=names,
        relaxed_header=header == b"relaxed",
        relaxed_body=body == b"relaxed",
        body_hash=decode(values[b"bh"]),
        value=decode(values[b"b"]),
        length=int(values[b"l"]) if b"l" in values else None,
        fault=_algorithm_fault(found.algorithm),
    )


def _domain(value: bytes) -> str:
    try:
        return domain_name(value.decode("utf-8"))
    except (UnicodeDecodeError, Malformed) as error:
        raise Malformed("a domain that is no name") from error  # the error's own words may be the sender's


def _algorithm_fault(algorithm: str) -> Fault | None:
    if algorithm in _ALGORITHMS:
        return None
    if algorithm == "rsa-sha1":  # RFC 8301 section 3.1
        return Fault("policy", "SHA-1 is not accepted")
    return Fault("permerror", "an unknown algorithm")


def _judge(signature: Signature, keys: KeyAnswers, content: Content, now: int) -> Fault:
    """The result and why."""
    if signature.fault is not None:
        return signature.fault
    if signature.found.expires is not None and signature.found.expires < now:
        return Fault("fail", "the signature has expired")
    assert signature.key_name is not None  # there is no fault
    key = judge_key(signature.key_name, keys, signature.found.algorithm)
    if isinstance(key, Fault):
        return key
    if key.is_strict and signature.identity != signature.found.domain:
        return Fault("permerror", "i= is not d=, as the key demands")
    length = 0
    if signature.length is not None:
        length = content.relaxed_length if signature.relaxed_body else content.simple_length
        if signature.length < length:
            return Fault("policy", "only a part of the body is signed")
    if signature.body_hash != (content.relaxed_hash if signature.relaxed_body else content.simple_hash):
        return Fault("fail", "the body was changed")
    if len(content.positions.get(b"from", ())) > signature.names.count(b"from"):
        return Fault("fail", "a From field that is not signed")
    if not key.verifies(signature.value, _signed_data(signature, content)):
        return Fault("fail", "the signature is wrong")
    return Fault("pass", "")


def _signed_data(signature: Signature, content: Content) -> bytes:
    own = without_value(signature.field.raw)
    if signature.relaxed_header:
        own = canonical(signature.field.name, own)
    return content.covered(signature.names, signature.relaxed_header, signature.field) + own


def _text_end(text: bytes) -> int:
    """Where the line ends at the end of a body begin."""
    end = len(text)
    for run in (b"\r\n" * 4096, b"\r\n"):
        while text.endswith(run, 0, end):
            end -= len(run)
    return end
