"""From, Reply-To, To and Cc of a copy in rewrite mode: whoever answers, answers through the alias (spec 3.4, 3.5).

Whose the addresses are, and opaque reverse addresses, are in the database. Hence three steps: `correspondents` reads
the message, `opaque_needed` says for whom there must be opaque addresses, `correspond` writes the fields.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from mailrelay.core.address import Address, Reverse, classify
from mailrelay.core.author import speaker
from mailrelay.core.display import DisplayFrom, display_name, folded, formatted, formatted_group
from mailrelay.core.header import Field, Message
from mailrelay.core.mailbox import Group, Mailbox, mailboxes
from mailrelay.core.reverse import ReverseStyle, needs_opaque, reverse_by

MAX_REWRITTEN = 50  # addresses in To and Cc
MAX_REPLY_TO = 10

# Of To and of Cc that are read; those behind are dropped, as those after 50 are.
_READ = 250

UNKNOWN_SENDER = "Unknown sender"

# Octets that may stay as they came: ASCII on folded lines.
_CLEAN = re.compile(rb"(?:[\t -~]|\r\n[\t ])*+(?:\r\n)?")
_MAX_LINE_OCTETS = 998
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+)*")


@dataclass(frozen=True, slots=True)
class Aliased:
    """The alias that a message came to, and how its owner wants to see who writes.

    address: without extension, lower case. fallback_from: stands in From if the alias' domain is not verified for
    sending. tag: the extension of this message's recipient, '' for none. display_from: a rule's, instead of the
    format's name.
    """

    address: Address
    fallback_from: Address
    tag: str = ""
    verified_for_sending: bool = True
    form: DisplayFrom = DisplayFrom.DEFAULT
    use_reply_to: bool = False
    style: ReverseStyle = "plain"
    display_from: str = ""


@dataclass(frozen=True, slots=True)
class Correspondents:
    """Who a message names. originals: the To and Cc fields. cut_short: names of those too long to be read whole."""

    speaker: Mailbox  # whose address is None: nobody can be answered
    reply_to: tuple[Mailbox, ...]
    to: tuple[Mailbox | Group, ...]
    cc: tuple[Mailbox | Group, ...]
    originals: Mapping[bytes, Sequence[Field]]
    cut_short: frozenset[bytes]

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of To and Cc, folded, and for those with an extension the base as well: whose are they?"""
        found: dict[str, None] = {}
        for one in (*self.to, *self.cc):
            if isinstance(one, Mailbox) and one.address is not None:
                found |= dict.fromkeys(_names(one.address))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Correspondence:
    """Complete fields in ASCII with their CRLF, folded; None: the copy has no such field.

    To and Cc are the originals where nobody in them changes. unrepliable: nothing in the copy leads to who wrote it.
    """

    from_: bytes
    reply_to: bytes | None
    to: bytes | None
    cc: bytes | None
    unrepliable: bool = False


def correspondents(message: Message, sender: str) -> Correspondents:
    """Read who writes to whom. sender: of the envelope, '' is the null sender.

    Several To fields count as one, as do several Cc; of Reply-To the first counts (spec section 3.3).
    """
    originals = {name: [field for field in message.fields if field.name == name] for name in (b"to", b"cc")}
    read = {name: list(islice(_values(fields), _READ + 1)) for name, fields in originals.items()}
    reply_to = mailboxes(message.first(b"reply-to") or b"", limit=4 * MAX_REPLY_TO)
    return Correspondents(
        speaker=speaker(message, sender),
        reply_to=tuple([one for one in reply_to if isinstance(one, Mailbox)]),
        to=tuple(read[b"to"][:_READ]),
        cc=tuple(read[b"cc"][:_READ]),
        originals=originals,
        cut_short=frozenset(name for name, found in read.items() if len(found) > _READ),
    )


def opaque_needed(who: Correspondents, aliased: Aliased, known: Collection[str]) -> tuple[Address, ...]:
    """The contacts whose reverse addresses must be opaque: read or make them, then call `correspond`.

    known: those of `who.addresses` that are the owner's mailboxes or other aliases, which stay as they are.
    """
    if who.speaker.address is None:
        wanted = _contacts(who, aliased, known)
    else:
        wanted = [who.speaker.address, *_answerable(who, aliased), *_contacts(who, aliased, known)]
    return tuple([one for one in dict.fromkeys(wanted) if needs_opaque(aliased.address, one, aliased.style)])


def correspond(
    who: Correspondents, aliased: Aliased, known: Collection[str], opaque: Mapping[str, Address]
) -> Correspondence:
    """Write the fields. known: see opaque_needed; opaque: reverse addresses by contact, as str() writes it.

    A contact that needs an opaque address and has none is left out. So are the contacts after the first 50. Nothing
    of a recipient's real address gets in that the sender did not write.
    """
    from_, reply_to, unrepliable = _authors(who, aliased, opaque)
    contacts = frozenset(_contacts(who, aliased, known))
    to, cc = (_listed(found, aliased, known, contacts, opaque) for found in (who.to, who.cc))
    if not (to.has_alias or cc.has_alias):
        to.items.append(formatted("", _tagged(aliased.address, aliased.tag)))
        to.changed = True
    return Correspondence(
        from_=b"From: %b\r\n" % folded("From", [from_]),
        reply_to=b"Reply-To: %b\r\n" % folded("Reply-To", reply_to) if reply_to else None,
        to=_field("To", to, who),
        cc=_field("Cc", cc, who),
        unrepliable=unrepliable,
    )


def _values(fields: Sequence[Field]) -> Iterator[Mailbox | Group]:
    for field in fields:
        yield from mailboxes(field.value, limit=_READ + 1)


def _names(address: Address) -> Iterator[str]:
    """What an address is looked up by."""
    yield address.folded
    base, plus, _ = address.folded.partition("+")
    if plus and not base.startswith('"'):
        yield f"{base}@{address.domain}"


def _is_alias(address: Address, aliased: Aliased) -> bool:
    return aliased.address.folded in _names(address)


def _is_contact(address: Address, aliased: Aliased, known: Collection[str]) -> bool:
    return not _is_alias(address, aliased) and not any(name in known for name in _names(address))


def _tagged(alias: Address, tag: str) -> Address:
    """The alias with a tag, but without what means anything else to us or could not be written."""
    plain = f"{alias.local}+{tag}"
    if not tag or isinstance(classify(tag), Reverse) or not _DOT_ATOM.fullmatch(plain):
        return alias
    return Address(plain, alias.domain)


def _contacts(who: Correspondents, aliased: Aliased, known: Collection[str]) -> list[Address]:
    """Those in To and Cc that get reverse addresses."""
    found: dict[Address, None] = {}
    for one in (*who.to, *who.cc):
        if isinstance(one, Mailbox) and one.address is not None and _is_contact(one.address, aliased, known):
            found[one.address] = None
            if len(found) == MAX_REWRITTEN:
                break
    return list(found)


def _answerable(who: Correspondents, aliased: Aliased) -> dict[Address, str]:
    """Who is in Reply-To, with names."""
    valid = {one.address: one.name for one in reversed(who.reply_to) if one.address is not None}
    return {one: valid[one] for one in list(reversed(valid))[:MAX_REPLY_TO] if not _is_alias(one, aliased)}


def _authors(who: Correspondents, aliased: Aliased, opaque: Mapping[str, Address]) -> tuple[bytes, list[bytes], bool]:
    """The mailboxes of From and Reply-To, and whether neither leads to the speaker."""
    face = aliased.address if aliased.verified_for_sending else aliased.fallback_from
    speaker = who.speaker.address
    if speaker is None:
        return formatted(aliased.display_from or UNKNOWN_SENDER, face), [], True

    def display(address: Address, name: str) -> str:
        chosen = aliased.display_from if address == speaker else ""
        return chosen or display_name(aliased.form, name, str(address))

    answerable = _answerable(who, aliased)
    reply_to = [
        formatted(display(address, name), reverse)
        for address, name in answerable.items()
        if (reverse := reverse_by(aliased.address, address, opaque, aliased.style))
    ]
    name = display(speaker, who.speaker.name)
    reverse = reverse_by(aliased.address, speaker, opaque, aliased.style)
    if reverse is None or aliased.use_reply_to or not aliased.verified_for_sending:
        if reverse is not None and not reply_to:
            reply_to = [formatted(name, reverse)]
        return formatted(name, face), reply_to, not reply_to
    if [address.folded for address in answerable] == [speaker.folded]:
        reply_to = []
    return formatted(name, reverse), reply_to, False


@dataclass(slots=True)
class _Listed:
    """The mailboxes of To or Cc as they are to be written; changed: not whom the original has."""

    items: list[bytes]
    changed: bool
    has_alias: bool


def _listed(
    found: Sequence[Mailbox | Group],
    aliased: Aliased,
    known: Collection[str],
    contacts: Collection[Address],
    opaque: Mapping[str, Address],
) -> _Listed:
    listed = _Listed([], changed=False, has_alias=False)
    seen: set[str] = set()
    for one in found:
        if isinstance(one, Group):
            listed.items.append(formatted_group(one.name))
            continue
        written: Address | None = one.address
        if one.address is None:
            pass
        elif _is_alias(one.address, aliased):
            written = _tagged(aliased.address, one.address.local.partition("+")[2])
            listed.has_alias = True
        elif one.address in contacts:
            written = reverse_by(aliased.address, one.address, opaque, aliased.style)
        elif not one.address.local.isascii() or _is_contact(one.address, aliased, known):
            written = None
        if written is None or written.folded in seen:
            listed.changed = True
            continue
        seen.add(written.folded)
        listed.changed |= one.address is None or written.folded != one.address.folded
        listed.items.append(formatted(one.name, written))
    return listed


def _field(title: str, listed: _Listed, who: Correspondents) -> bytes | None:
    name = title.lower().encode("ascii")
    originals = who.originals[name]
    if not listed.changed and len(originals) == 1 and name not in who.cut_short:
        raw = originals[0].raw
        _, _, value = raw.partition(b":")
        # Groups are flattened, and what a stranger wrote stays only if it can do no harm.
        if _CLEAN.fullmatch(value) and b":" not in value and max(map(len, raw.split(b"\r\n"))) <= _MAX_LINE_OCTETS:
            return raw if raw.endswith(b"\n") else raw + b"\r\n"
    if not listed.items:
        return None
    return b"%b: %b\r\n" % (title.encode("ascii"), folded(title, listed.items))
