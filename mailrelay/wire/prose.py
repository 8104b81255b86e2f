"""Bounces that mail systems write for people, without a part for machines (spec section 7.3).

Exim, qmail, old sendmail and Exchange, and many providers. The text is looked through line by line for what was not
delivered and for the code that the receiver answered with; flufl.bounce knows forms that are seen no more.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message as Email

from flufl.bounce import all_failures

from mailrelay.core import phrase
from mailrelay.core.automatic import is_automatic
from mailrelay.core.bounce import Failure, News, Returned, enhanced_code, failure
from mailrelay.core.header import split
from mailrelay.wire import bouncewords as words
from mailrelay.wire.parts import Part, decoded, first_text, multiparts, one_line, text_of
from mailrelay.wire.report import returned_with

TEXT_OCTETS = 16_384

_MAX_RECIPIENTS = 50
_MAX_LINE_CHARS = 400
_MAX_REMARK_CHARS = 500
_MAX_FIELD_OCTETS = 1000

_LOCAL = r"[^\s<>@'\"\[\](),;:：，；（）「」]{1,64}+"
_ADDRESS = re.compile(rf"{_LOCAL}@[\w.-]++")
# <bob@inbox.example>: as qmail, Courier and many others begin what they say about a recipient.
_BRACKETED_LINE = re.compile(r"[ \t]*+<([^\s<>@]++@[^\s<>@]++)>[ \t]*+(:?)")
# bob@inbox.example, perhaps marked up or behind a few words and a colon, such as To:
_PLAIN_LINE = re.compile(rf"[\s<>'\"*\[(-]*+(?:([^:：<>@,;.\n]{{1,30}}+)[:：][ \t]*+)?[<'\"\[(]*+({_LOCAL}@[\w.-]++)")
_OTHERS = re.compile(r"from|sender|reply|contact|message.?id|subject|question|support|date", re.IGNORECASE)
# Not a number of something, nor part of a longer one.
_UNITS = "[kmg]i?b|bytes|octets|sec|min|hour|day|week|month|year|times|more|other|message|mail|people|user|item|percent"
_REPLY = re.compile(rf"(?<![\w.:/+#,-])#?([45][0-5][0-9])(?![\w./%,]|-[0-9]| ?(?:{_UNITS}))", re.I)
_BOTH_CODES = re.compile(r"(?<![\w.])[45][0-5][0-9][ -]#?[45]\.[0-7]\.[0-9]{1,3}(?![\w.])")
_REJECTED = re.compile(r"Your message to <[^<>]{1,320}> was automatically rejected:")
# What follows an answer in transcripts.
_AFTER = re.compile(r" (?:(?:mon|tue|wed|thu|fri|sat|sun)[,]? [0-9]{4}-|>>>|<<<|-->|<--|---|giving up on )", re.I)
_LETTERS = re.compile(r"[^\W\d_]{2}")
_BLANKS = re.compile(r"[^\S\n]{3,}+")
_HOST = re.compile(
    r"(?:\bhost|while talking to|connected to|remote (?:mail )?server|\bby|gateway|server at)[ \t]++"
    r"([a-z0-9-]{1,63}+(?:\.[a-z0-9-]{1,63}+){1,10}+)",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Hints:
    """What speaks for a bounce besides its text."""

    null: bool  # the envelope sender
    daemon: bool  # mail software wrote it
    titled: bool  # the subject says so
    marked: bool  # as an automatic answer; bounces are, too


def is_daemons(root: Part) -> bool:
    """Whether mail says that mail software wrote it: the From is MAILER-DAEMON, postmaster or the like."""
    return words.DAEMON.search((root.message.first(b"from") or b"")[:_MAX_FIELD_OCTETS].decode("latin-1")) is not None


def read(root: Part, sender: str, *, report: bool = False) -> tuple[Failure, ...] | News | None:
    """The failures in mail without a status part, at least one; News for a delay, None if it is no bounce.

    Never raises. sender: of the envelope, '' is null. report: the mail says by its type that it is one, so only how it
    ended is left to find.
    """
    daemon = is_daemons(root)
    if not (report or daemon or not sender):
        return None
    subject = phrase.decoded((root.message.first(b"subject") or b"")[:_MAX_FIELD_OCTETS])
    titled = words.TITLE.search(subject) is not None and not words.ANSWER.match(subject)
    hints = _Hints(not sender, daemon, titled, is_automatic(root.message, "somebody"))
    own = _own_text(root)
    flat = " ".join(own.split())
    named = _listed(root)
    if not (report or named or _is_bounce(own, flat, hints)):
        return None
    if not named and _is_news(flat, subject):
        return News()
    named = named or _bracketed(own)
    if not named:
        temporary, named = _guessed(root, own, subject)
        if temporary and not named:
            return News()
    return _failures(own, named or _plain(own))


def codes_of(root: Part, recipients: Sequence[str]) -> Mapping[str, str]:
    """What the text of a report says about each of some recipients."""
    own = _own_text(root)
    sections = _sections(own.split("\n"), recipients)
    return {one.recipient: one.code for one in _failures(own, recipients) if one.recipient in sections}


def returned(root: Part) -> Returned | None:
    """What came back with a bounce: in a part of its own, or behind the text. None if nothing did."""
    for multipart in multiparts(root):
        if (back := returned_with(multipart.parts, closed=multipart.closed)) is not None:
            return back
    part = first_text(root)
    found = words.COPY_OCTETS.search(decoded(part, TEXT_OCTETS))
    if found is None:
        return None
    octets = decoded(part, len(part.message.content))
    begin = words.COPY_NOTES.match(octets, found.end())
    copy = split(octets[begin.end() if begin else found.end() :])
    header = copy.content[: copy.header_end]
    if not {field.name for field in copy.fields} & {b"from", b"received", b"message-id", b"subject"}:
        return None
    # Only at the end of the whole mail is what follows the text all of it.
    whole = (
        part is root
        and copy.body
        and not words.CUT.search(octets[: len(octets) - len(copy.content)] + copy.body[-300:])
    )
    return Returned(header, copy.content if whole else None)


def _own_text(root: Part) -> str:
    """The text without the copy of a message behind it."""
    text = text_of(first_text(root), TEXT_OCTETS)
    found = words.COPY.search(text)
    return text[: found.start()] if found else text


def _is_bounce(own: str, flat: str, hints: _Hints) -> bool:
    """Automatic answers come from the null sender, too, and some quote codes."""
    if hints.daemon and (hints.null or hints.titled):
        return True
    says = words.FAILED.search(flat) is not None
    code = bool(enhanced_code(own) or _REPLY.search(own))
    if hints.titled:
        return hints.null and (says or code)
    return hints.null and not hints.marked and (_BOTH_CODES.search(own) is not None or (says and code))


def _is_news(flat: str, subject: str) -> bool:
    if words.FINAL.search(flat):
        return False
    if words.DELAYED_TITLE.search(subject) or words.NOT_YET.search(flat):
        return True
    return words.DELIVERED.search(flat) is not None and not words.FAILED.search(flat)


def _listed(root: Part) -> tuple[str, ...]:
    """The recipients in the field that Exim writes."""
    value = one_line(b",".join(root.message.values(b"x-failed-recipients")))
    found = (address.strip().removeprefix("<").removesuffix(">") for address in value.split(","))
    return tuple(dict.fromkeys(address for address in found if "@" in address))[:_MAX_RECIPIENTS]


def _bracketed(own: str) -> tuple[str, ...]:
    """The recipients that begin a line, in brackets; without colons all of them, as quotations look so as well."""
    found = [match for line in own.split("\n") if (match := _BRACKETED_LINE.match(line))]
    marked = [match[1] for match in found if match[2]] or [match[1] for match in found]
    return tuple(dict.fromkeys(marked))[:_MAX_RECIPIENTS]


def _plain(own: str) -> tuple[str, ...]:
    """The recipient that begins a line: the first one that a code follows, else the first one; or the only address."""
    found: list[str] = []
    for line in own.split("\n"):
        match = _PLAIN_LINE.match(line)
        if match and not (match[1] and _OTHERS.search(match[1])) and not words.DAEMON.search(match[2]):
            found.append(match[2].rstrip("."))
    names = tuple(dict.fromkeys(found))[:_MAX_RECIPIENTS]
    if not names:
        named = {address.rstrip(".") for address in _ADDRESS.findall(own) if not words.DAEMON.search(address)}
        return tuple(named) if len(named) == 1 else ()
    sections = _sections(own.split("\n"), names)
    return next(((name,) for name in names if _coded(sections.get(name, ()))), names[:1])


def _guessed(root: Part, own: str, subject: str) -> tuple[bool, tuple[str, ...]]:
    """What flufl.bounce finds: whether there is a delay, and who failed.

    It is slow and tries patterns that take quadratic time, so it gets short lines of a short text.
    """
    lines = [line[:_MAX_LINE_CHARS] for line in own.split("\n")]
    text = Email()
    text.set_payload(_BLANKS.sub("  ", "\n".join(lines)).encode("ascii", "replace").decode("ascii"))
    mail = Email() if root.kind == "multipart/mixed" else text
    mail["Subject"] = subject
    author = _ADDRESS.search(one_line((root.message.first(b"from") or b"")[:_MAX_LINE_CHARS]))
    # It fails, loudly, without one.
    mail["From"] = author[0] if author else "mailer-daemon@localhost"
    mail["X-Mailer"] = one_line((root.message.first(b"x-mailer") or b"")[:_MAX_LINE_CHARS])
    if mail is not text:
        mail["Content-Type"] = "multipart/mixed"
        mail.attach(text)
    try:
        temporary, permanent = all_failures(mail)
    except Exception:  # its heuristics stumble in ways of their own
        return False, ()
    named = sorted(address.decode("ascii", "replace") for address in permanent)
    return bool(temporary), tuple(name for name in named if _ADDRESS.fullmatch(name))[:_MAX_RECIPIENTS]


def _failures(own: str, named: Sequence[str]) -> tuple[Failure, ...]:
    """A failure for each recipient, or one for nobody in particular."""
    lines = own.split("\n")
    sections = _sections(lines, named)
    everything = _paragraphs(lines)
    failures = []
    for name in named or ("",):
        paragraphs = sections.get(name, ())
        remark = next((text for text in map(_unnamed, paragraphs) if _LETTERS.search(text)), "")
        said = _coded(paragraphs)
        if not said and (len(named) < 2 or not remark):
            said = _coded(everything)
        code = _quoted(_unnamed(said)) or one_line((remark or " ".join(everything))[:_MAX_REMARK_CHARS].encode())
        host = _HOST.search(" ".join([*paragraphs[:3], said])[:2000])
        failures.append(failure(enhanced_code(code), code, host[1] if host else "", name))
    return tuple(failures)


def _sections(lines: Sequence[str], named: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """What is said about each recipient, in paragraphs: from the line that names it to the next such line.

    What stands before the words that something failed is mostly the header of the message.
    """
    begin = next((number for number, line in enumerate(lines) if words.FAILED.search(line)), 0)
    starts: dict[str, int] = {}
    waiting = {name.lower(): name for name in named}
    for number in [*range(begin, len(lines)), *range(begin)]:
        for address in _ADDRESS.findall(lines[number].lower())[:_MAX_RECIPIENTS]:
            if (name := waiting.pop(address.rstrip("."), None)) is not None:
                starts[name] = number
    order = sorted({*starts.values(), len(lines)})
    return {name: _paragraphs(lines[start : order[order.index(start) + 1]]) for name, start in starts.items()}


def _paragraphs(lines: Sequence[str]) -> list[str]:
    """Paragraphs, each on one line."""
    found: list[list[str]] = [[]]
    for line in lines:
        stripped = line.strip()
        if stripped:
            found[-1].append(stripped)
        elif found[-1]:
            found.append([])
    return [" ".join(one) for one in found if one]


def _coded(paragraphs: Sequence[str]) -> str:
    """The first paragraph with a code, '' if there is none: with that of RFC 3463 rather than one of three digits."""
    with_enhanced = next((text for text in paragraphs if enhanced_code(text)), "")
    return with_enhanced or next((text for text in paragraphs if _REPLY.search(text)), "")


def _unnamed(paragraph: str) -> str:
    """A paragraph without the recipient that it begins with."""
    match = _REJECTED.match(paragraph) or _BRACKETED_LINE.match(paragraph) or _PLAIN_LINE.match(paragraph)
    return paragraph[match.end() :].lstrip(" \t:>)'\"]*-") if match else paragraph


def _quoted(text: str) -> str:
    """A text from the code on that the receiver answered with; all of it if there is none, or if nothing follows it."""
    found = _BOTH_CODES.search(text) or _REPLY.search(text)
    answer = text[found.start() :].lstrip("#") if found else text
    end = _AFTER.search(answer)
    answer = answer[: end.start()] if end else answer
    return one_line((answer if _LETTERS.search(answer) else text).encode())
