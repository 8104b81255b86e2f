"""List-Unsubscribe and its relatives in rewrite mode: none leads the owner's mail past us (spec section 8.1)."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Malformed
from mailrelay.core.header import Field, Message
from mailrelay.core.links import Action, Links

# Gives the reverse address of a correspondent, None if there can be none.
Reverse = Callable[[Address], Address | str | None]

UNSUBSCRIBE = b"list-unsubscribe"
POST = b"list-unsubscribe-post"
# List-Archive, too, may be asked for by mail (RFC 2369 section 3.6).
OTHERS = frozenset({b"list-post", b"list-help", b"list-owner", b"list-subscribe", b"list-archive"})

# As many addresses as a message can ask reverse ones for; further targets of mail are dropped.
MAX_MAIL_TARGETS = 10

_TARGET = re.compile(rb"<([^<>]*+)>")
# RFC 2369 section 2: white space within the brackets is an accident of folding.
_BLANKS = re.compile(rb"[\x00-\x20\x7f]++")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
# RFC 6068 section 2, but that `=` may stay where no `?` comes before it.
_NOT_IN_URI = re.compile(rb"[^A-Za-z0-9._~!$'*+=@-]")
# Parts of a query that would make the owner's mail program write to somebody directly.
_RECIPIENTS = frozenset({b"to", b"cc", b"bcc"})
_LINE_OCTETS = 78
_ONE_CLICK = Field(POST, b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The two fields of a copy, None: it has none. One that is the original's did not change."""

    field: Field | None
    post: Field | None


def unsubscribe(
    message: Message, behaviour: int, links: Links, alias: UUID, contact: Address | None, reverse: Reverse
) -> Unsubscribe:
    """What the mail program's unsubscribe button does.

    behaviour: 0 the original or else deactivate the alias, 1 deactivate, 2 delete, 3 block the contact, 4 block its
    domain (both without a contact as 0), 5 the original or nothing.
    """
    match behaviour:
        case 1:
            return _pair(links.one_click(Action.DEACTIVATE, alias))
        case 2:
            return _pair(links.one_click(Action.DELETE, alias))
        case 3 if contact is not None:
            return _pair(links.one_click(Action.BLOCK_EMAIL, alias, {"email": str(contact)}))
        case 4 if contact is not None:
            return _pair(links.one_click(Action.BLOCK_DOMAIN, alias, {"domain": contact.domain}))
        case _:
            original = _original(message, reverse)
            if original.field is None and behaviour != 5:
                return _pair(links.one_click(Action.DEACTIVATE, alias))
            return original


def mail_targets(message: Message) -> tuple[Address, ...]:
    """The addresses that reverse will be asked for, so that it can be prepared: each once."""
    found: dict[Address, None] = {}
    for field in message.fields:
        if field.name == UNSUBSCRIBE or field.name in OTHERS:
            addresses = (_mailbox(target) for target in _targets(field.value) if _is_mail(target))
            found |= dict.fromkeys(one for one in addresses if one is not None)
            if len(found) >= MAX_MAIL_TARGETS:
                break
    return tuple(found)[:MAX_MAIL_TARGETS]


def redirected(field: Field, reverse: Reverse) -> Field | None:
    """A List-Post, -Help, -Owner, -Subscribe or -Archive field whose mail goes through us; None if no target remains.

    What has no target of mail stays as it is, `List-Post: NO` for one.
    """
    targets = _targets(field.value)
    if not any(map(_is_mail, targets)):
        return field
    kept = list(_through_us(targets, reverse, only_web=False))
    return _exchanged(field, targets, kept) if kept else None


def _original(message: Message, reverse: Reverse) -> Unsubscribe:
    fields = [field for field in message.fields if field.name == UNSUBSCRIBE]
    targets = [target for field in fields for target in _targets(field.value)]
    kept = list(_through_us(targets, reverse, only_web=True))
    if not kept:
        return Unsubscribe(None, None)
    field = (
        fields[0] if kept == targets and len(fields) == 1 else Field(UNSUBSCRIBE, _joined(b"List-Unsubscribe", kept))
    )
    has_https = any(_scheme(target) == b"https" for target in kept)
    post = next((field for field in message.fields if field.name == POST), None) if has_https else None
    return Unsubscribe(field, post)


def _exchanged(field: Field, before: Sequence[bytes], after: Sequence[bytes]) -> Field:
    """A field with other targets; around them it stays as it is unless some are gone."""
    if before == after:
        return field
    if len(before) > len(after):
        return Field(field.name, _joined(field.raw.partition(b":")[0].strip(), after))
    targets = iter(after)
    return Field(field.name, _TARGET.sub(lambda _: b"<%b>" % next(targets), field.raw))


def _pair(url: str) -> Unsubscribe:
    return Unsubscribe(Field(UNSUBSCRIBE, _joined(b"List-Unsubscribe", [url.encode("ascii")])), _ONE_CLICK)


def _targets(value: bytes) -> list[bytes]:
    return [_BLANKS.sub(b"", target) for target in _TARGET.findall(value)]


def _scheme(target: bytes) -> bytes:
    return target.partition(b":")[0].lower()


def _is_mail(target: bytes) -> bool:
    return _scheme(target) == b"mailto"


def _through_us(targets: Sequence[bytes], reverse: Reverse, *, only_web: bool) -> Iterator[bytes]:
    """The targets with addresses of ours in place of foreign ones; only_web: other schemes than http(s) go."""
    room = MAX_MAIL_TARGETS
    for target in targets:
        if _is_mail(target):
            address = _mailbox(target) if room else None
            room -= address is not None
            ours = reverse(address) if address is not None else None
            if ours is not None:
                yield b"mailto:%b%b" % (_in_uri(str(ours)), _query(target))
        elif not only_web or _scheme(target) in (b"https", b"http"):
            yield target


def _mailbox(target: bytes) -> Address | None:
    """The first recipient of a mailto: URI (RFC 6068 section 2)."""
    first = target[len(b"mailto:") :].partition(b"?")[0].partition(b",")[0]
    try:
        return parse_address(_unescaped(first).decode("utf-8"))
    except (Malformed, UnicodeDecodeError):
        return None


def _query(target: bytes) -> bytes:
    _, mark, query = target.partition(b"?")
    kept = [part for part in query.split(b"&") if _unescaped(part.partition(b"=")[0]).lower() not in _RECIPIENTS]
    return mark + b"&".join(kept) if kept else b""


def _unescaped(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), text)


def _in_uri(address: str) -> bytes:
    return _NOT_IN_URI.sub(lambda found: b"%%%02X" % found[0][0], address.encode("utf-8"))


def _joined(name: bytes, targets: Sequence[bytes]) -> bytes:
    """A field of targets, a new line where the next one does not fit."""
    lines = [name + b":"]
    for at, target in enumerate(targets):
        item = b" <%b>%b" % (target, b"," if at + 1 < len(targets) else b"")
        if at and len(lines[-1]) + len(item) > _LINE_OCTETS:
            lines.append(b"\t" + item[1:])
        else:
            lines[-1] += item
    return b"\r\n".join([*lines, b""])
