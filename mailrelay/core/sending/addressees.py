"""To and Cc of replies and sends: reverse addresses become the contacts they stand for (spec section 4.7).

Whose the addresses are is in the database. Hence two steps: `named` reads whom to ask about, `addressed` writes the
fields.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from mailrelay.core.address import Address, Reverse, classify, is_opaque_reverse, split_extension
from mailrelay.core.context import Contact
from mailrelay.core.display import DisplayFrom, display_name, folded, formatted, formatted_group
from mailrelay.core.header import Message
from mailrelay.core.mailbox import Group, Mailbox, mailboxes
from mailrelay.core.sending.hidden import Hidden

# Of To and of Cc that are read; those behind are dropped.
_READ = 250

_NOBODY = b"undisclosed-recipients:;"
# So much of what follows a name in a generated one tells it from one that somebody typed, if the rest is cut off.
_TELLING_CHARACTERS = 12
_AFTER_NAMES = (DisplayFrom.DEFAULT, DisplayFrom.BRACKETS, DisplayFrom.DOMAIN, DisplayFrom.LEGACY)


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a message names."""

    to: tuple[Mailbox | Group, ...]
    cc: tuple[Mailbox | Group, ...]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses, each once: which of them, or their bases, are aliases of the account?"""
        found = [one.address for one in (*self.to, *self.cc) if isinstance(one, Mailbox)]
        return tuple(dict.fromkeys(address for address in found if address is not None))

    @property
    def opaque(self) -> tuple[Address, ...]:
        """Those that look like opaque reverse addresses: whom do they stand for?"""
        return tuple(address for address in self.addresses if is_opaque_reverse(address.local))


@dataclass(frozen=True, slots=True)
class Whose:
    """What is known about the addresses.

    alias: the one that sends, without extension. aliases: those of Named.addresses, folded, that are aliases of the
    account or extensions of such. contacts: by folded opaque reverse address, of this account only.
    """

    alias: Address
    aliases: Collection[str]
    contacts: Mapping[str, Contact]
    hidden: Hidden


@dataclass(frozen=True, slots=True)
class Addressees:
    """The fields, complete and with their CRLF; ASCII, unless the contact who gets the copy is not.

    exposed: others in To and Cc, who have got the mail from the owner's real address already: he should be warned.
    """

    to: bytes
    cc: bytes | None
    exposed: tuple[Address, ...]


class _Kind(Enum):
    CONTACT = "contact"
    ALIAS = "alias"  # another one of the owner's
    OTHER = "other"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class _Place:
    """What an address is, and what is to be written for it. stored: the contact's name as the database has it."""

    kind: _Kind
    address: Address
    stored: str = ""


def named(message: Message) -> Named:
    """Read To and Cc, several fields as one."""
    to, cc = (tuple(_read(message, name)) for name in (b"to", b"cc"))
    return Named(to, cc)


def replies_to_contact(who: Named, whose: Whose) -> bool:
    """Whether the message is addressed to contacts through this alias as well.

    Then a copy of it for the bare alias is part of a "reply to all" and never goes back to its author.
    """
    return any(
        _place(address, whose).kind is _Kind.CONTACT and _through(address, whose) == whose.alias
        for address in who.addresses
    )


def addressed(who: Named, whose: Whose, contact: Address) -> Addressees:
    """Write the fields. contact: who gets this copy; the fields need SMTPUTF8 only if he does."""
    texts = [one.name for one in (*who.to, *who.cc)] + [str(address) for address in who.addresses]
    writer = _Writer(whose, utf8=not str(contact).isascii(), suspicious=whose.hidden.shows("\n".join(texts).encode()))
    to, cc = (writer.listed(found) for found in (who.to, who.cc))
    return Addressees(
        to=b"To: %b\r\n" % folded("To", to or [_NOBODY]),
        cc=b"Cc: %b\r\n" % folded("Cc", cc) if cc else None,
        exposed=tuple(writer.exposed),
    )


def _read(message: Message, name: bytes) -> Iterator[Mailbox | Group]:
    left = _READ
    for field in message.fields:
        if field.name == name and left > 0:
            found = mailboxes(field.value, limit=left)
            left -= len(found)
            yield from found


def _through(address: Address, whose: Whose) -> Address:
    """The alias that a reverse address belongs to."""
    stored = whose.contacts.get(address.folded)
    return stored.alias if stored is not None else _base(address)


def _base(address: Address) -> Address:
    return Address(split_extension(address.local)[0], address.domain)


def _place(address: Address, whose: Whose) -> _Place:
    stored = whose.contacts.get(address.folded)
    if stored is not None:
        local, _, domain = stored.address.rpartition("@")
        found = _Place(_Kind.CONTACT, Address(local, domain), stored.display_name)
    else:
        found = _by_text(address, whose)
    if whose.hidden.owns(found.address) or _base(found.address) == whose.alias:
        return _Place(_Kind.DROPPED, address)
    return found


def _by_text(address: Address, whose: Whose) -> _Place:
    extension = split_extension(address.local)[1]
    if address.folded not in whose.aliases and _base(address) != whose.alias:
        return _Place(_Kind.OTHER, address)
    meaning = classify(extension) if extension else None
    if isinstance(meaning, Reverse):
        return _Place(_Kind.CONTACT, meaning.contact)
    return _Place(_Kind.ALIAS, address)


class _Writer:
    """Writes To and then Cc of one copy. suspicious: a hidden address may be in one of the texts."""

    def __init__(self, whose: Whose, *, utf8: bool, suspicious: bool) -> None:
        self._whose = whose
        self._utf8 = utf8
        self._suspicious = suspicious
        self.exposed: dict[Address, None] = {}

    def listed(self, found: Sequence[Mailbox | Group]) -> list[bytes]:
        """The mailboxes and groups of one field."""
        items: list[bytes] = []
        seen: set[str] = set()
        for one in found:
            if isinstance(one, Group):
                if not self._shows(one.name):
                    items.append(formatted_group(one.name))
                continue
            place = _place(one.address, self._whose) if one.address is not None else None
            if place is None or place.kind is _Kind.DROPPED or place.address.folded in seen:
                continue
            if place.kind is _Kind.OTHER:
                self.exposed[place.address] = None
            text = str(place.address)
            if (text.isascii() or self._utf8) and not self._is_built_on_hidden(text):
                seen.add(place.address.folded)
                items.append(_written(self._name(one, place), text))
        return items

    def _name(self, one: Mailbox, place: _Place) -> str:
        if self._shows(one.name):
            return ""
        if place.kind is not _Kind.CONTACT:
            return one.name
        return "" if _is_generated(one, place) else one.name

    def _shows(self, text: str) -> bool:
        return self._suspicious and self._whose.hidden.shows(text.encode())

    def _is_built_on_hidden(self, address: str) -> bool:
        """As reverse addresses are. One that only ends like a hidden address is somebody else's."""
        return self._shows(address) and self._whose.hidden.cleaned(address, "") != address


def _written(name: str, address: str) -> bytes:
    """One mailbox; an address that is not ASCII stands there in UTF-8 (RFC 6532)."""
    if address.isascii():
        return formatted(name, address)
    brackets = formatted(name, "")
    return b"%b%b>" % (brackets.removesuffix(b">"), address.encode()) if brackets else address.encode()


def _is_generated(one: Mailbox, place: _Place) -> bool:
    """Whether the name is none that the owner typed: one of those that our copies show for this contact, the name
    that the contact gave, or an address.
    """
    typed, contact = one.name.casefold(), str(place.address)
    plain = {display_name(form, "", contact) for form in DisplayFrom} | {place.stored, contact, str(one.address)}
    if typed in {name.casefold() for name in plain}:
        return True
    return any(_ends(typed, display_name(form, "x", contact)[1:].casefold()) for form in _AFTER_NAMES)


def _ends(typed: str, rest: str) -> bool:
    """Whether a name ends with what display_name puts after names; of a long one only the beginning may be there."""
    at = typed.find(rest[:_TELLING_CHARACTERS])
    return typed.endswith(rest) or (typed.endswith("…") and at >= 0 and rest.startswith(typed[at:].rstrip("…")))
