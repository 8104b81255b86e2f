"""Fields made to fit: into lines of 998 octets, and into ASCII for hosts without SMTPUTF8 (spec sections 1.4, 3.11).

What fits is left alone. Long lines would otherwise be cut by Postfix after we have signed.
"""

import re
from base64 import b64encode

from mailrelay.core import phrase
from mailrelay.core.display import folded, formatted, formatted_group
from mailrelay.core.header import Field
from mailrelay.core.mailbox import Group, mailboxes

MAX_LINE_OCTETS = 998  # RFC 5322 section 2.1.1, without the line end

# Fields with a syntax of their own: no encoded words in their tokens.
_STRUCTURED = frozenset(
    b"from sender reply-to to cc date message-id in-reply-to references received received-spf mime-version "
    b"content-type content-transfer-encoding content-disposition content-id content-location content-language "
    b"authentication-results auto-submitted precedence tls-required feedback-id author".split()
)
_STRUCTURED_PREFIXES = (b"arc-", b"list-", b"resent-")
_ADDRESSES = frozenset(b"resent-from resent-sender resent-to resent-cc resent-bcc resent-reply-to".split())

# For text that does not end in white space: there every run of it is followed by a word.
_TOKEN = re.compile(rb"[ \t]*+[^ \t]++")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_URI = re.compile(rb"<[^<>]*+>")
# RFC 2919 section 3: a phrase and an id.
_LIST_ID = re.compile(rb"([^<>]*+)(<[\x21-;=?-~]++>)[ \t]*+")
# An escape outside of quotes matches as well: a string that does not end must not be tried again from each quote in it.
_QUOTED = re.compile(rb'\\.|"((?:[^"\\]|\\.)*+)"', re.DOTALL)


def is_structured(name: bytes) -> bool:
    """True for fields in whose values an encoded word means nothing. name: in lower case."""
    return name in _STRUCTURED or name.startswith(_STRUCTURED_PREFIXES)


def short_lines(field: Field) -> Field:
    """The field in lines of at most 998 octets.

    A long line is cut before white space, which unfolds to the same octets. Where there is none, text becomes encoded
    words; in a structured field the token is cut, as Postfix would do.
    """
    if len(field.raw) <= MAX_LINE_OCTETS:
        return field
    lines = field.raw.split(b"\n")
    if max(map(len, lines)) <= MAX_LINE_OCTETS:
        return field
    encode = not is_structured(field.name)
    return Field(field.name, b"\n".join([_cut(line, encode, first=at == 0) for at, line in enumerate(lines)]))


def _cut(line: bytes, encode: bool, *, first: bool) -> bytes:
    text = line.removesuffix(b"\r")
    if len(text) <= MAX_LINE_OCTETS:
        return line
    lines = [b""]
    if first:
        name, _, text = text.partition(b":")
        # A name as long as a line has no use; none of its kind is looked for anywhere.
        lines = [name[: MAX_LINE_OCTETS - 1].rstrip(b" \t") + b":"]
    for token in _TOKEN.findall(text.rstrip(b" \t")):
        for piece in _pieces(token, encode):
            if lines[-1] and len(lines[-1]) + len(piece) > MAX_LINE_OCTETS:
                lines.append(piece if piece[:1] in (b" ", b"\t") else b" " + piece)
            else:
                lines[-1] += piece
    # Nothing but white space must not become the empty line that ends a header.
    return b"\r\n".join(lines if lines[0] else [b" "]) + line[len(line.removesuffix(b"\r")) :]


def _pieces(token: bytes, encode: bool) -> list[bytes]:
    """A word with the white space before it, cut if it does not fit into a line."""
    if len(token) < MAX_LINE_OCTETS:
        return [token]
    word = token.lstrip(b" \t")
    if len(word) < MAX_LINE_OCTETS:
        return [b" " + word]
    if encode and word.isascii() and b"=?" not in word:
        return [b" =?utf-8?b?%b?=" % b64encode(word[at : at + 45]) for at in range(0, len(word), 45)]
    if encode:
        return [b" " + one for one in phrase.encoded_words(phrase.decoded(word))]
    return [b" " + word[at : at + MAX_LINE_OCTETS - 1] for at in range(0, len(word), MAX_LINE_OCTETS - 1)]


def in_ascii(field: Field) -> Field | None:
    """The field without raw non-ASCII octets; None if it cannot be said without them.

    Text becomes encoded words, as do names beside addresses, and strings in Content-* fields, where mail programs
    understand them though no standard says so. URIs of List-* fields are escaped. Traces keep their place, with `?`
    for what cannot be written.
    """
    if field.raw.isascii():
        return field
    name = field.name
    if not name:
        return Field(name, _marked(field.raw))
    if not is_structured(name):
        before, _, value = field.raw.partition(b":")
        words = phrase.encoded_words(phrase.decoded(value).strip() or " ")
        return Field(name, before.rstrip(b" \t") + b": " + b"\r\n ".join(words) + b"\r\n")
    if name in _ADDRESSES:
        return _addresses_in_ascii(field)
    if name == b"list-id":
        return _list_id_in_ascii(field)
    if name.startswith(b"content-"):
        return Field(name, _marked(_QUOTED.sub(_string_in_ascii, field.raw)))
    if name.startswith(b"list-"):
        return Field(name, _marked(_URI.sub(_uri_in_ascii, field.raw)))
    if name.startswith(b"arc-") or name in (b"received", b"received-spf", b"authentication-results", b"mime-version"):
        return Field(name, _marked(field.raw))
    return None


def _addresses_in_ascii(field: Field) -> Field | None:
    """A list of addresses, if these are ASCII themselves."""
    items: list[bytes] = []
    for one in mailboxes(field.value):
        if isinstance(one, Group):
            items.append(formatted_group(one.name))
        elif one.address is not None and str(one.address).isascii():
            items.append(formatted(one.name, one.address))
        else:
            return None
    title = field.raw.partition(b":")[0].strip()
    return Field(field.name, b"%b: %b\r\n" % (title, folded(title.decode("ascii"), items))) if items else None


def _list_id_in_ascii(field: Field) -> Field | None:
    found = _LIST_ID.fullmatch(field.value)
    if found is None:
        return None
    title, name = field.raw.partition(b":")[0].strip(), phrase.name_of(found[1])
    words = phrase.encoded_words(name) if name else []
    return Field(field.name, b"%b: %b\r\n" % (title, b"\r\n ".join([*words[:-1], b" ".join([*words[-1:], found[2]])])))


def _marked(raw: bytes) -> bytes:
    return _NOT_ASCII.sub(b"?", raw)


def _uri_in_ascii(found: re.Match[bytes]) -> bytes:
    return _NOT_ASCII.sub(lambda octet: b"%%%02X" % octet[0][0], found[0])


def _string_in_ascii(found: re.Match[bytes]) -> bytes:
    if found[1] is None or found[1].isascii():
        return found[0]
    return b'"%b"' % b" ".join(phrase.encoded_words(phrase.decoded(found[1])))
