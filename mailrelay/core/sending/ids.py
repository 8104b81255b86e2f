"""Message-IDs of replies and sends: what the owner's mail program wrote becomes what the contact knows (spec 4.6).

Which ids are whose is in the database. Hence two steps: `cited` reads the ids to ask about, `threaded` writes the
fields.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from mailrelay.core import threads
from mailrelay.core.header import Field, Message
from mailrelay.core.sending.hidden import Hidden

_ID = re.compile(rb"<[!-;=?-~]{1,900}+>")
_FOLD = rb"(?:[ \t]|\r\n[ \t])*+"
# A field that may stay as it came: ids and nothing else.
_CLEAN = re.compile(rb"[A-Za-z-]++:%b(?:<[!-;=?-~]{1,900}+>%b)++(?:\r\n)?+" % (_FOLD, _FOLD))
_TITLES = {b"in-reply-to": "In-Reply-To", b"references": "References"}
_LINE_OCTETS = 78


@dataclass(frozen=True, slots=True)
class Cited:
    """The ids in a message, with their angle brackets.

    own: its Message-ID, None if it has none that can be read. others: those it answers or refers to, at most 200.
    """

    own: str | None
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What the database says about Cited.others.

    ours: the owner's id to our id, for messages that were sent through an alias of the same account: through this one
    if there are several. seen: ids of messages that were forwarded by this alias.
    """

    ours: Mapping[str, str] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Thread:
    """The fields of a copy that make its thread; None: it has no such field."""

    message_id: Field
    in_reply_to: Field | None
    references: Field | None


def cited(message: Message) -> Cited:
    """Read the ids. Those that are out of reach are not asked about and will not be written either."""
    own = _ids(message.first(b"message-id") or b"")
    return Cited(own[0] if own else None, threads.referenced(message))


def minted(token: str, alias: UUID, domain: str, key: bytes) -> str:
    """Our id for a message: the same for all its copies that one alias sends, and unlike any other.

    token: Cited.own, or where there is none something else that the copies share. domain: of the alias. The map
    (alias, our id, Cited.own) is to be stored, without which answers to it will not find their thread.
    """
    covered = b"mid-v1\0%b\0%b" % (str(alias).encode("ascii"), token.encode("utf-8", "surrogateescape"))
    return f"<{hmac.digest(key, covered, hashlib.sha256).hex()[:32]}@{domain}>"


def threaded(message: Message, names: Cited, known: Known, our_id: str, hidden: Hidden) -> Thread:
    """The fields to write. our_id: see `minted`.

    An id of the owner's becomes ours. An id that shows a hidden address is dropped, and so is one of a domain of
    theirs or below it, unless it was seen on this alias or is of the alias' domain. A field that needs no change stays
    as it came.
    """
    suspicious = hidden.shows("\n".join(names.others).encode())
    ours = _domain(our_id)
    said = {one: _said(one, known, hidden, ours, suspicious=suspicious) for one in names.others}
    first = {field.name: field for field in reversed(message.fields) if field.name in _TITLES}
    in_reply_to, references = (_mapped(first.get(name), said) for name in threads.FIELDS)
    return Thread(Field(b"message-id", f"Message-ID: {our_id}\r\n".encode("ascii")), in_reply_to, references)


def _ids(value: bytes) -> list[str]:
    return [one.decode("ascii") for one in _ID.findall(value)]


def _domain(one: str) -> str:
    return one.rpartition("@")[2].rstrip(">.").lower()


def _said(one: str, known: Known, hidden: Hidden, domain: str, *, suspicious: bool) -> str | None:
    """What stands for an id; None: nothing. domain: of the alias."""
    ours = known.ours.get(one)
    if ours is not None:
        return ours if _ID.fullmatch(ours.encode("utf-8", "replace")) else None
    if suspicious and hidden.shows(one.encode()):
        return None
    return one if one in known.seen or _domain(one) == domain or not hidden.is_near(_domain(one)) else None


def _mapped(original: Field | None, said: Mapping[str, str | None]) -> Field | None:
    if original is None:
        return None
    written = _ids(original.value)
    kept = list(dict.fromkeys(new for one in written if (new := said.get(one)) is not None))
    if not kept:
        return None
    if kept == written and _CLEAN.fullmatch(original.raw):
        return Field(original.name, original.raw.removesuffix(b"\r\n") + b"\r\n")
    return Field(original.name, _folded(_TITLES[original.name], kept))


def _folded(title: str, ids: Iterable[str]) -> bytes:
    """A complete field; none of the ids is left out, however many there are."""
    lines = [f"{title}:"]
    for at, one in enumerate(ids):
        if at and len(lines[-1]) + 1 + len(one) > _LINE_OCTETS:
            lines.append(f"\t{one}")
        else:
            lines[-1] += f" {one}"
    return "\r\n".join([*lines, ""]).encode("ascii")
