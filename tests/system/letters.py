"""Mail as the programs of its writers make it, and what a copy of it shows to whoever looks closely."""

import base64
import binascii
import email
import html
import itertools
import quopri
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.utils import formataddr, getaddresses, make_msgid, parseaddr
from urllib.parse import unquote_to_bytes

from tests.system.scenario import SHARED, Person
from tests.system.world import Mail
from tools.sandbox.show import Arrived

DATE = "Tue, 06 Jan 2026 13:15:00 -0500"
_MARK = "{mark}"  # where the mark is to stand, else at the end
_numbers = itertools.count(1)


def reverse(alias: str, contact: str) -> str:
    """The plain reverse address."""
    local, _, domain = alias.partition("@")
    return f"{local}+{contact.replace('@', '=')}@{domain}"


def from_owner(
    person: Person, *to: str, body: str = "Yes, please.", fields: Sequence[str] = (), answers: str = "<1@shop.example>"
) -> Mail:
    """A plain message of an owner. fields: further ones; answers: the id that it answers, '' if it begins a thread.

    Its copies have other ids than it has, so the message is found by a word of its own at the end of its text.
    """
    mark = f"mark{next(_numbers)}."
    head = [f'From: "Real Name" <{person.mailbox}>', f"Date: {DATE}", "Subject: Your order 77"]
    head.append(f"Message-ID: {make_msgid(domain=person.mailbox.rpartition('@')[2])}")
    head += [f"To: {', '.join(to)}"] if to else []
    head += [f"In-Reply-To: {answers}"] if answers else []
    text = body.replace(_MARK, mark) if _MARK in body else f"{body}\r\n{mark}"
    return Mail("\r\n".join([*head, *fields, "", text, ""]).encode(), mark.encode())


@dataclass(frozen=True, slots=True)
class Written:
    """A finished message. here: those of its recipients that this service has mail for."""

    content: bytes
    message_id: str
    here: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MailProgram:
    """Somebody's mail program, which quotes what it answers, twice over, and says much of itself in the header."""

    name: str
    address: str
    files: Sequence[tuple[str, bytes]] = ()
    fields: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def write(self, subject: str, text: str, to: Sequence[str], cc: Sequence[str] = ()) -> Written:
        """Begin a thread."""
        return self._finished(EmailMessage(policy.SMTP), subject, text, _pairs(to), _pairs(cc))

    def answer(self, copy: Arrived, text: str, *more: str, to_all: bool = False) -> Written:
        """Answer a message that arrived. more: who gets it besides; to_all: everybody else whom it names."""
        got = opened(copy)
        author = parseaddr(str(got["Reply-To"] or got["From"]))
        others = getaddresses([str(value) for name in ("To", "Cc") for value in got.get_all(name, [])])
        known = {self.address, author[1]}
        cc = _pairs(more) + [one for one in others if to_all and one[1] and one[1] not in known]
        message = EmailMessage(policy.SMTP)
        message["In-Reply-To"] = str(got["Message-ID"])
        message["References"] = " ".join(filter(None, (str(got["References"] or ""), str(got["Message-ID"]))))
        subject = str(got["Subject"])
        subject = subject if subject.startswith("Re:") else f"Re: {subject}"
        return self._finished(message, subject, text, [author], cc, got)

    def _finished(
        self,
        message: EmailMessage,
        subject: str,
        text: str,
        to: Sequence[tuple[str, str]],
        cc: Sequence[tuple[str, str]],
        got: EmailMessage | None = None,
    ) -> Written:
        message["From"] = formataddr((self.name, self.address))
        message["To"] = ", ".join(map(formataddr, to))
        if cc:
            message["Cc"] = ", ".join(map(formataddr, cc))
        message["Subject"] = subject
        message["Date"] = DATE
        message["Message-ID"] = make_msgid(domain=self.address.rpartition("@")[2])
        for name, value in self.fields:
            message[name] = value
        plain, marked_up = (text, f"<p>{html.escape(text)}</p>") if got is None else self._quoting(text, got)
        message.set_content(plain, cte="quoted-printable")
        message.add_alternative(marked_up, subtype="html", cte="base64")
        for name, octets in self.files:
            message.add_attachment(octets, maintype="application", subtype="pgp-keys", filename=name)
        named = [address for _, address in (*to, *cc)]
        here = tuple(address for address in named if address.endswith(f"@{SHARED}"))
        return Written(message.as_bytes(), str(message["Message-ID"]), here)

    def _quoting(self, text: str, got: EmailMessage) -> tuple[str, str]:
        """The text above what it answers, as one family of programs quotes in plain text and another in HTML."""
        old, old_html = (text_of(got, kind) for kind in ("plain", "html"))
        author = str(got["From"])
        block = f"From: {author}\nSent: {got['Date']}\nTo: {self.address}\nSubject: {got['Subject']}\n"
        quoted = "".join(f"> {line}\n" for line in old.splitlines())
        plain = f"{text}\n\n-----Original Message-----\n{block}\n{quoted}"
        said = html.escape(f"On {got['Date']}, {author} wrote to {self.address}:")
        cite = f'<blockquote type="cite" cite="mid:{str(got["Message-ID"]).strip("<>")}">{old_html}</blockquote>'
        return plain, f'<p>{html.escape(text)}</p><div class="moz-cite-prefix">{said}<br></div>{cite}'


def _pairs(addresses: Sequence[str]) -> list[tuple[str, str]]:
    return [("", one) for one in addresses]


def opened(copy: Arrived) -> EmailMessage:
    """A copy as a mail program reads it."""
    return email.message_from_bytes(copy.content, policy=policy.default)


def text_of(message: EmailMessage, kind: str = "plain") -> str:
    """The text that is shown, with bare newlines; '' if there is none of this kind."""
    part = message.get_body((kind,))
    return str(part.get_content()).replace("\r\n", "\n") if part is not None else ""


def shown(copy: Arrived) -> Iterator[bytes]:
    """What can be read in a copy: its envelope, octets, header and parts, each also with its encodings undone."""
    yield copy.sender.encode()
    message = opened(copy)
    pieces = [copy.content, *(f"{name}: {value}".encode(errors="replace") for name, value in message.items())]
    for part in message.walk():
        pieces += [f"{name}: {value}".encode(errors="replace") for name, value in part.items()]
        payload = part.get_payload(decode=True)
        pieces += [payload] if isinstance(payload, bytes) else []
    for piece in pieces:
        yield piece
        yield from (undo(piece) for undo in (quopri.decodestring, unquote_to_bytes, _unescaped))
        yield from _without_base64(piece)


def _unescaped(octets: bytes) -> bytes:
    return html.unescape(octets.decode("latin-1")).encode("utf-8")


def _without_base64(octets: bytes) -> Iterator[bytes]:
    """What any run of base64 says, wherever its first group begins."""
    for run in re.findall(rb"(?:[A-Za-z0-9+/]+={0,2}(?:\r?\n)?){1,}", octets):
        joined = re.sub(rb"[\r\n=]", b"", run)
        for at in range(4):
            group = joined[at : at + (len(joined) - at) // 4 * 4]
            if len(group) >= 8:
                try:
                    yield base64.b64decode(group)
                except binascii.Error:
                    continue


def names(copy: Arrived, *words: str) -> list[str]:
    """Those of the words that can be read in a copy, in whatever case."""
    found = [piece.lower() for piece in shown(copy)]
    return [word for word in words if any(word.lower().encode() in piece for piece in found)]
