"""The message behind an untouched copy that came back: what was put on top for the copy is taken off again.

Spec section 3.2, receiver memory: a copy that was refused for its authentication is made once more, rewritten.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from mailrelay.core import loop
from mailrelay.core.arcverify import newest_results, received
from mailrelay.core.dkim import SigningKey, public_record
from mailrelay.core.dkimverify import Content, signatures, verify
from mailrelay.core.header import Field, Message
from mailrelay.core.ledger import OutboundId
from mailrelay.core.letterhead import COMPAT_PREFIX, added
from mailrelay.core.lookup import Answer
from mailrelay.core.phrase import decoded

# What letterhead.about and letterhead.verdicts write, in that order, and what compose.transparent_header adds to it.
_BLOCK = (b"mode", b"id", b"loop", b"envelope-to", b"envelope-from", b"authentication-results", b"spam", b"resend")
_FORWARDED = (b"x-forwarded-to", b"x-forwarded-for")
_COMPAT = COMPAT_PREFIX.lower().encode("ascii")
_AUTO_REPLIED = added("Auto-Submitted", "auto-replied")


@dataclass(frozen=True, slots=True)
class Original:
    """A message as it came, less what every copy lacks, and what its copy said about it. Nobody vouches for either.

    content: octet for octet, but for the empty line that a body without one before it has got. rcpt: as addressed,
    folded; sender: '' for the null sender; loop_mark: of the alias; spam: it was tagged as such.
    """

    content: bytes
    rcpt: str
    sender: str
    loop_mark: bytes
    spam: bool


def original(copy: Message, outbound_id: OutboundId, destination: str, prefix: str) -> Original | None:
    """The message that an untouched copy was made of, None if this is no copy of that number for that destination.

    copy: as it came back, with whatever hosts on its way put on top. prefix: of our own field names.
    """
    ours = prefix.lower().encode("ascii")
    names = [field.name for field in copy.fields]
    if names.count(ours + b"mode") != 1 or names.count(ours + b"id") != 1:
        return None  # what comes in with such fields loses them
    said, end = _block(copy.fields, names.index(ours + b"mode"), ours)
    sender = "" if said.get(b"envelope-from") == b"<>" else _text(said.get(b"envelope-from", b""))
    if (
        said.get(b"mode") != b"transparent"
        or said.get(b"id") != b"%016x" % outbound_id
        or not said.get(b"envelope-to")
        or not said.get(b"envelope-from")
        or _text(said.get(b"x-forwarded-to", b"")) != destination
    ):
        return None
    # Ours if it is the only one: a message that has one gets no other.
    if not sender and copy.fields[end : end + 1] == (_AUTO_REPLIED,) and names.count(b"auto-submitted") == 1:
        end += 1
    begin_of_rest = copy.header_end - sum(len(field.raw) for field in copy.fields[end:])
    return Original(
        content=copy.content[begin_of_rest:],
        rcpt=_text(said[b"envelope-to"]),
        sender=sender,
        loop_mark=said.get(b"loop", b""),
        spam=said.get(b"spam") == b"Yes",
    )


@dataclass(frozen=True, slots=True)
class Proof:
    """What vouches for a copy. signed: neither author nor body changed since one of our keys signed it.

    results: what we found out about the message at ingress, as we sealed it (RFC 8617), on one line; b"" if we did not.
    """

    signed: bool
    results: bytes = b""


def proof(copy: Message, keys: Sequence[SigningKey], now: int) -> Proof:
    """What our signatures on a copy are worth. keys: those it may have been signed with. now: seconds since 1970.

    None of them covers the fields in which a copy tells about itself.
    """
    records = {
        f"{key.selector}._domainkey.{key.domain}".lower(): Answer((public_record(key).encode("ascii"),)) for key in keys
    }
    content = Content(copy)
    ours = [one for one in signatures(copy) if one.key_name in records]
    signed = any(verify(one, records, content, now).result == "pass" for one in ours)
    return Proof(signed, newest_results(received(copy.fields), records, content, now))


def is_of_alias(found: Original, rest: Message, alias: UUID, keys: Sequence[bytes], prefix: str) -> bool:
    """True if the copy bore the mark of this alias, and the message had not passed the alias before.

    rest: the content of `found`, split. keys: of loop marks.
    """
    earlier = rest.values(f"{prefix}loop".lower().encode("ascii"))
    return loop.is_loop([found.loop_mark], alias, keys) and not loop.is_loop(earlier, alias, keys)


def _block(fields: Sequence[Field], at: int, ours: bytes) -> tuple[dict[bytes, bytes], int]:
    """What the fields of ours say from this place on, by name without the prefix, and where they end."""
    said: dict[bytes, bytes] = {}

    def take(key: bytes, name: bytes) -> None:
        nonlocal at
        if at < len(fields) and fields[at].name == name:
            said[key] = fields[at].value
            at += 1

    for key in _BLOCK:
        take(key, ours + key)
    while at < len(fields) and fields[at].name.startswith(_COMPAT):
        at += 1
    for key in _FORWARDED:
        take(key, key)
    return said, at


def _text(value: bytes) -> str:
    """An address as it was before the field was folded."""
    return decoded(value)
