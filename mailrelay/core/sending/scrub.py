"""The body of a reply or send: banners out, contacts and alias in place of reverse and real addresses (spec 4.8, 4.9).

Parts change by their offsets; one without a hit stays octet for octet. What cannot be changed is told.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mailrelay.core.address import Address
from mailrelay.core.context import Contact
from mailrelay.core.frozen import frozen
from mailrelay.core.header import Field, Message, fold, split
from mailrelay.core.mime import Entity, Tree, tree
from mailrelay.core.phrase import decoded
from mailrelay.core.sending import frame, leaks, openpgp, partheader, statuses
from mailrelay.core.sending.facts import ReplyScrub
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.leaks import Leak, Place
from mailrelay.core.sending.naming import IDS, Naming
from mailrelay.core.sending.openpgp import EMBEDDED, Removal
from mailrelay.core.sending.parts import Text, text_of, written
from mailrelay.core.sending.passages import Editor, Scope
from mailrelay.core.sending.spelling import Finder, read
from mailrelay.core.sending.splice import Splice, field_places, spliced

# What only those who have the key can read, or change (frozen.py).
_SEALED = frozenset(
    {"multipart/encrypted", "multipart/encrypted of another protocol", "S/MIME encrypted", "PGP message"}
)
_HTML = frozenset({b"text/html", b"text/x-amp-html"})
# Fields with names in them that programs make up.
_NAMING = IDS | {b"content-type"}
_OPAQUE = re.compile(rb"r-[a-z2-7]{16}(?=@)")
# Where one may stand in lower case, folded or with places to break it; and how far it can go on behind that.
_LIKE_OPAQUE = re.compile(
    rb"r-(?=[a-z2-7<&\r\n])"
    rb"(?:[a-z2-7]|<wbr\s*+/?+>|&(?:shy|zwn?j|zerowidthspace|#(?:173|820[345]|xad|x200[bcd]));|\r?\n[ \t]){16,60}+"
    rb"(?=[@%&])"
)
_BEHIND_OCTETS = 60
_NOTHING = b"Content-Description:\r\n"
_MOST_OPAQUE = 100
_ALL = Removal()


@dataclass(frozen=True, slots=True)
class Scrubbing:
    """How the body of one message is to be made.

    alias: without extension, lower case. hidden: every recipient of the account, and who the message says its author
    is. contacts: by folded opaque reverse address, see `opaque_mentioned`. names: of contacts that have one, by folded
    address. mode: where real addresses are replaced. link_host: of our signed links, `app.relay.example`.
    remove_attachments: takes them out of a message (spec section 5.6), None for a message that has none. key: of the
    HMAC that makes names anew.
    """

    alias: Address
    hidden: Hidden
    link_host: str
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    mode: ReplyScrub = "quoted"
    removal: Removal = _ALL
    remove_attachments: Callable[[Tree], Message | None] | None = None
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Edited:
    """A message to compose the outgoing one of, in place of the one that came.

    message: the very same if nothing changed. fields: what differs in its header, which are fields about content only:
    name in lower case -> the field, None if it is gone; as sending.header.Outgoing takes them. leaks: where real
    addresses are left in the body.
    """

    message: Message
    fields: Mapping[bytes, Field | None]
    leaks: tuple[Leak, ...]


def edit(message: Message, how: Scrubbing) -> Edited:
    """Everything of spec section 4.8, and of 4.9 what needs no key. Any octets will do; the time is linear.

    Encrypted content stays as it is, so decrypt before; what is signed and stays so is not changed either, but looked
    through. Beyond the limits of MIME (spec section 3.11) nothing changes, which is a leak by itself.
    """
    parts = tree(message)
    kept = _changed(message, openpgp.removed(parts, how.removal))
    parts = parts if kept is message else tree(kept)
    if how.remove_attachments is not None:
        without = how.remove_attachments(parts)
        parts = parts if without is None else tree(without)
    walk = _Walk(parts.message.content, how)
    if parts.excess:
        walk.leaks.append(Leak(Place.ATTACHMENT, parts.excess))
    elif frozen(parts).why not in _SEALED or parts.root.type == b"multipart/encrypted":
        walk.message(parts.root)
    changed = _changed(parts.message, walk.splices)
    return Edited(changed, _differences(message, changed), leaks.distinct(walk.leaks))


def opaque_mentioned(message: Message, domain: str) -> tuple[Address, ...]:
    """The addresses in its texts that look like opaque reverse addresses at a domain, at most 100: whose are they?"""
    parts = tree(message)
    found: dict[str, None] = {}
    for leaf in parts.leaves(embedded=True):
        if not _is_text(leaf):
            continue
        text = text_of(message.content, leaf)
        if text is None:
            continue
        seen = text.view().lower()
        for place in _LIKE_OPAQUE.finditer(seen):
            near = seen[place.start() : place.end() + _BEHIND_OCTETS]
            said = read(near, content_lines=leaf.type in leaks.CALENDARS).text
            found |= dict.fromkeys(one.decode("ascii") for one in _OPAQUE.findall(said))
            if len(found) >= _MOST_OPAQUE:
                break
    return tuple(Address(local, domain) for local in list(found)[:_MOST_OPAQUE])


def _is_text(entity: Entity) -> bool:
    """Whether a leaf is to be edited: also an invitation that goes as a file, or what a receipt tells programs."""
    return entity.type.startswith(b"text/") or entity.type in leaks.CALENDARS | statuses.STATUSES | statuses.HEADERS


def _changed(message: Message, splices: list[Splice]) -> Message:
    return split(spliced(message.content, splices)) if splices else message


def _differences(before: Message, after: Message) -> dict[bytes, Field | None]:
    if before is after:
        return {}
    old, new = (
        {one.name: one for one in reversed(message.fields) if one.name.startswith((b"content-", b"mime-version"))}
        for message in (before, after)
    )
    return {name: new.get(name) for name in (*new, *old) if new.get(name) != old.get(name)}


@dataclass(frozen=True, slots=True)
class _Around:
    """What a part stands in. boundaries: of multiparts; embedded: an attached message; signed: what may not change."""

    boundaries: tuple[bytes, ...] = ()
    embedded: bool = False
    signed: bool = False


class _Walk:
    """One walk through one message: what is to change, and what is left."""

    def __init__(self, content: bytes, how: Scrubbing) -> None:
        self._content = content
        self._hidden = how.hidden
        self._scope = Scope(how.mode)
        self._unsigns = how.removal.signatures
        self._naming = Naming(how.alias, how.hidden, how.key)
        finder = Finder(how.alias, how.hidden, how.contacts, self._naming)
        self._editor = Editor(how.alias, finder, how.names, how.link_host.lower().encode("utf-8"))
        self._shown = False  # an address somewhere in the header of a part
        self.splices: list[Splice] = []
        self.leaks: list[Leak] = []

    def message(self, root: Entity) -> None:
        """Look through a whole message. What else its header says is of no matter here (header.py)."""
        for one in field_places(root):
            if one.field.name == b"content-type" and (new := self._type(root, one.field)) != one.field.raw:
                self.splices.append(Splice(one.start, one.end, new))
        self._shown = self._hidden.shows(b"\n".join(self._headers(root)))
        self.entity(root, _Around())

    def _headers(self, entity: Entity) -> Iterator[bytes]:
        for child in entity.children:
            yield self._content[child.start : child.header_end]
            yield from self._headers(child)

    def entity(self, entity: Entity, around: _Around) -> None:
        """Look through a part and its parts. around: the root stands in nothing."""
        if entity.is_multipart and entity.children:
            boundary = self._frame(entity, around)
            around = replace(around, boundaries=(*around.boundaries, boundary))
        if entity.type == b"multipart/signed":
            self._certificate(entity, around)
            around = replace(around, signed=True)
        if not entity.children and entity.type != b"multipart/encrypted":
            self._leaf(entity, around)
        for child in entity.children:
            if entity.type in EMBEDDED:
                inside = replace(around, embedded=True)
                self._header(child, inside, Scope.OFF if self._is_off else Scope.ALL)
                self.entity(child, inside)
            else:
                self._header(child, around, Scope.ALL if self._scope is Scope.ALL else Scope.OFF)
                if entity.type != b"multipart/encrypted":
                    self.entity(child, around)

    @property
    def _is_off(self) -> bool:
        return self._scope is Scope.OFF

    def _frame(self, entity: Entity, around: _Around) -> bytes:
        """What stands between parts; the boundary from now on."""
        new = frame.boundary(entity) if around.signed else self._boundary(entity)
        if not around.signed:
            self.splices += frame.bared(self._content, entity, new)
        elif self._hidden.shows(frame.between(self._content, entity)):
            self.leaks.append(Leak(Place.PART, leaks.ascii_text(entity.type)))
        return new

    def _boundary(self, entity: Entity) -> bytes:
        """The boundary of a multipart, or if that tells too much, another that nothing in the message looks like."""
        old = frame.boundary(entity)
        new = self._naming.boundary(old) if entity.children else old
        return old if new in self._content else new

    def _certificate(self, entity: Entity, around: _Around) -> None:
        """S/MIME: the certificate of who signs is in the signature. In an attached message it may be of others."""
        kinds = {entity.params.get(b"protocol", b"").lower(), *(child.type for child in entity.children[1:])}
        if not around.embedded and not kinds.isdisjoint(leaks.DETACHED):
            self.leaks.append(Leak(Place.CERTIFICATE, "multipart/signed"))

    def _leaf(self, entity: Entity, around: _Around) -> None:
        enveloped = entity.params.get(b"smime-type", b"").lower() in leaks.ENVELOPED
        if entity.type in leaks.SIGNED_DATA and not around.embedded and not enveloped:
            self.leaks.append(Leak(Place.CERTIFICATE, leaks.ascii_text(entity.type)))
            return
        text = text_of(self._content, entity) if _is_text(entity) else None
        if text is None or not self._read(entity, text, around):
            self.leaks += leaks.in_part(self._content, entity, self._hidden)

    def _scope_of(self, entity: Entity, around: _Around) -> Scope | None:
        """Where in a text real addresses are replaced; None: it is not to be changed at all."""
        if around.signed:
            return None
        if entity.type in leaks.CARDS or (entity.is_attachment and entity.type not in leaks.CALENDARS):
            return Scope.ALL if self._scope is Scope.ALL else None
        is_history = around.embedded or entity.type in leaks.CALENDARS | statuses.STATUSES | statuses.HEADERS
        return Scope.ALL if is_history and self._scope is Scope.QUOTED else self._scope

    def _read(self, entity: Entity, text: Text, around: _Around) -> bool:
        """Change a text, and tell what is left in it; False if it has to stay although it should not."""
        octets = text.octets
        scope = self._scope_of(entity, around)
        if scope is not None and entity.type == b"text/plain" and openpgp.is_clearsigned(octets):
            octets, scope = (openpgp.unsigned(octets), scope) if self._unsigns else (octets, None)
        if entity.type in leaks.CALENDARS | leaks.CARDS:
            octets, count = self._editor.content_lines(octets, text.codec, scope or Scope.OFF)
            left = [Place.CALENDAR if entity.type in leaks.CALENDARS else Place.CARD] * min(count, 1)
        else:
            octets, left = self._editor.text(octets, text.codec, scope, html=entity.type in _HTML)
            if around.embedded or entity.is_attachment:
                left = [Place.HISTORY if around.embedded else Place.ATTACHMENT] * min(len(left), 1)
        if entity.type in statuses.STATUSES | statuses.HEADERS and scope is not None:
            octets = statuses.changed(octets, self._in_status if entity.type in statuses.STATUSES else self._in_headers)
            if not left and self._hidden.shows(octets):
                left = [Place.ATTACHMENT]
        if leaks.in_armor(octets, self._hidden):
            left.append(Place.KEY)
        if leaks.holds_wide(octets, self._hidden):
            left.append(Place.ATTACHMENT)
        if scope is not None and octets != text.octets:
            splices = written(self._content, entity, text, octets, around.boundaries)
            if splices is None:
                return False
            self.splices += splices
        self.leaks += [Leak(place, leaks.ascii_text(entity.type)) for place in left]
        return True

    def _in_status(self, name: bytes, raw: bytes) -> bytes:
        """A field of a receipt or bounce, nothing if it names what the owner runs or where."""
        goes = name in statuses.TELLTALE or name.startswith(b"x-")
        return b"" if goes or (not self._is_off and self._naming.tells_domain(raw)) else raw

    def _in_headers(self, name: bytes, raw: bytes) -> bytes:
        """A field of a header that a bounce returns, nothing if it tells of its way."""
        raw = self._naming.field(raw) if name in IDS else raw
        return raw if partheader.belongs_to_attached(name, tells=self._naming.tells_domain(raw)) else b""

    def _header(self, entity: Entity, around: _Around, scope: Scope) -> None:
        """The header of a part, or of an attached message."""
        place = Place.HEADER if around.embedded else Place.PART
        # A body that follows without an empty line must not become part of the header.
        gone = b"" if entity.header_end < entity.body_start or entity.header_end == entity.body_end else _NOTHING
        shown = self._shown and self._hidden.shows(self._content[entity.start : entity.header_end])
        for one in field_places(entity):
            name, raw = one.field.name, one.field.raw
            if not around.signed and not self._belongs(one.field, around, shown=shown):
                self.splices.append(Splice(one.start, one.end, gone))
                continue
            if not (shown or name in _NAMING or b"@" in raw or b"%40" in raw or b"=?" in raw):
                continue
            new, left = self._in_header(one.field, entity, around, scope)
            if new != raw:
                self.splices.append(Splice(one.start, one.end, new))
            if left or (shown and leaks.in_field(Field(name, new), self._hidden)):
                self.leaks.append(Leak(place, leaks.ascii_text(name)))

    def _in_header(self, field: Field, entity: Entity, around: _Around, scope: Scope) -> tuple[bytes, int]:
        """A field changed, and how many real addresses are left in it."""
        if not around.signed and field.name in IDS:
            return self._naming.field(field.raw), 0
        if not around.signed and field.name == b"content-type" and entity.is_multipart:
            return self._type(entity, field), 0
        structural = field.name == b"content-type" and entity.type.startswith((b"multipart/", b"text/", b"message/"))
        if around.signed or structural or field.name == b"content-transfer-encoding":
            return field.raw, self._field(field, Scope.OFF)[1]
        return self._field(field, scope)

    def _type(self, entity: Entity, field: Field) -> bytes:
        """The type of a part; of a multipart it has parameters that are made up by programs."""
        changes: dict[bytes, bytes] = {}
        if entity.is_multipart:
            new = self._naming.renamed(entity.params.get(b"start", b"").strip(b"<> \t"))
            if new is not None:
                changes[b"start"] = b"<%b>" % str(new).encode("utf-8", "surrogateescape")
            boundary = self._boundary(entity)
            if boundary != frame.boundary(entity):
                changes[b"boundary"] = boundary
        return partheader.with_parameters(field.raw, changes) if changes else field.raw

    def _belongs(self, field: Field, around: _Around, *, shown: bool) -> bool:
        """Whether a field may stay in its header. shown: somewhere in there is an address."""
        if not around.embedded:
            return partheader.belongs_to_part(field.name)
        if partheader.belongs_to_attached(field.name, tells=True):
            return True
        tells = self._naming.tells_domain(field.raw) or (shown and self._hidden.shows(field.raw))
        return partheader.belongs_to_attached(field.name, tells=tells)

    def _field(self, field: Field, scope: Scope) -> tuple[bytes, int]:
        """A field changed, and how many real addresses are left in it."""
        raw, left = self._editor.field(field.raw, scope)
        if b"=?" not in raw or not field.name:
            return raw, left
        # Encoded words: what they hide is written out only if it matters.
        said = decoded(raw.partition(b":")[2]).encode("utf-8", "replace")
        changed, hidden = self._editor.field(said, scope)
        if changed != said:
            raw = fold(field.name.decode("ascii").title(), changed.decode("utf-8", "replace"))
        return raw, left + hidden
