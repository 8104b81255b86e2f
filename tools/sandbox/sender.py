"""Sends mail as one of the sandbox's neighbours: from its own address, signed where its domain signs."""

import re
import smtplib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate, make_msgid, parseaddr
from pathlib import Path

import dkim

from tools.sandbox.process import Trouble
from tools.sandbox.zone import ANYBODY, NEIGHBOURS, SELECTOR, Neighbour

_QUEUED = re.compile(r"queued as (\S+)")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered to a command. Lines of a long reply are separated by newlines."""

    command: str
    code: int
    text: str

    @property
    def accepted(self) -> bool:
        return 200 <= self.code < 400

    def __str__(self) -> str:
        return f"{self.command} -> {self.code} {self.text}"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """How a transaction went. recipients: one reply each, in order; data: None if no recipient was accepted."""

    sender: Reply
    recipients: tuple[Reply, ...]
    data: Reply | None
    content: bytes

    @property
    def accepted(self) -> bool:
        """True if the server took the message for every recipient."""
        return self.data is not None and self.data.accepted and all(reply.accepted for reply in self.recipients)

    @property
    def queue_id(self) -> str:
        """Postfix' name for the message; '' if it was not taken."""
        found = _QUEUED.search(self.data.text) if self.data else None
        return found[1] if found else ""


def sample(sender: str, recipients: Sequence[str], subject: str = "Your order has left our house") -> bytes:
    """A small complete message with a date and id of its own."""
    message = EmailMessage(policy=SMTP_POLICY)
    domain = sender.rpartition("@")[2] or "outside.example"
    message["Date"] = formatdate(localtime=False)
    message["From"] = f"A neighbour <{sender or 'MAILER-DAEMON@' + domain}>"
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message["Message-ID"] = make_msgid(domain=domain)
    message.set_content("Good morning,\n\nthe parcel is on its way. Größe und Gewicht: 2 kg.\n\nYours, the neighbour\n")
    return message.as_bytes()


@dataclass(frozen=True, slots=True)
class Answer:
    """A message to send, to whom, and its id."""

    rcpt: str
    message_id: str
    content: bytes


def answer(got: bytes, author: str, text: str) -> Answer:
    """What a mail program makes of an answer to a message that was received."""
    received = message_from_bytes(got, policy=SMTP_POLICY)
    writer, message_id, subject = (str(received[name]) for name in ("From", "Message-ID", "Subject"))
    message = EmailMessage(policy=SMTP_POLICY)
    message["Date"] = formatdate(localtime=False)
    message["From"] = f"A person <{author}>"
    message["To"] = writer
    message["Subject"] = subject if subject.startswith("Re: ") else f"Re: {subject}"
    message["Message-ID"] = make_msgid(domain=author.rpartition("@")[2])
    message["In-Reply-To"] = message_id
    message["References"] = " ".join(filter(None, (str(received["References"] or ""), message_id)))
    body = received.get_body(("plain",))
    quoted = "".join(f"> {line}\n" for line in str(body.get_content()).splitlines()) if body is not None else ""
    message.set_content(f"{text}\n\nOn {received['Date']}, {writer} wrote to {author}:\n{quoted}", cte="8bit")
    return Answer(parseaddr(writer)[1], str(message["Message-ID"]), message.as_bytes())


def with_crlf(content: bytes) -> bytes:
    """Every line end as SMTP wants it; a file made on Unix has bare newlines."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", content)


def sign(content: bytes, domain: str, keys: Path) -> bytes:
    """The message with a DKIM signature of the domain on top; as it is if its header is too broken to be signed."""
    key = (keys / f"{domain}.pem").read_bytes()
    try:
        header = dkim.sign(content, SELECTOR.encode(), domain.encode(), key, canonicalize=(b"relaxed", b"relaxed"))
    except (dkim.DKIMException, ValueError):
        return content
    assert isinstance(header, bytes)
    return header + content


def neighbour_of(sender: str) -> Neighbour:
    """Who sends for this envelope address: the owner of its domain, else somebody in nobody's SPF record."""
    domain = sender.rpartition("@")[2].lower()
    for neighbour in NEIGHBOURS:
        if neighbour.domain == domain:
            return neighbour
    return Neighbour(domain or "outside.example", ANYBODY)


@dataclass(frozen=True, slots=True)
class Mailer:
    """smtp: host and port of the public smtpd; keys: folder of the neighbours' private keys; show: gets each reply."""

    smtp: tuple[str, int]
    keys: Path
    show: Callable[[Reply], None] = lambda reply: None

    def send(
        self,
        sender: str,
        recipients: Sequence[str],
        content: bytes | None = None,
        *,
        source: str | None = None,
        client: str | None = None,
        signed: bool | None = None,
    ) -> Dispatch:
        """One transaction.

        sender: envelope sender, '' for the null sender. content: None for a sample message.
        source: local address to connect from; None: the neighbour's. client: address to pretend by XCLIENT.
        signed: None: if the sender's domain signs. Raises OSError, smtplib.SMTPException when the conversation breaks.
        """
        neighbour = neighbour_of(sender)
        name = f"mx.{neighbour.domain}"
        content = with_crlf(content if content is not None else sample(sender, recipients))
        if neighbour.signs if signed is None else signed:
            content = sign(content, neighbour.domain, self.keys)
        with smtplib.SMTP(
            *self.smtp,
            local_hostname=name if name.isascii() else name.encode("idna").decode(),
            source_address=(source or neighbour.address, 0),
            timeout=120,
        ) as session:
            if client is not None:
                session.ehlo()
                prefix = "IPV6:" if ":" in client else ""
                reply = self._say(session, f"XCLIENT ADDR={prefix}{client} NAME=[UNAVAILABLE]")
                if not reply.accepted:
                    raise Trouble(f"the server does not let us pretend to be somebody else: {reply}")
            session.ehlo()
            return self._transaction(session, sender, recipients, content)

    def _transaction(self, session: smtplib.SMTP, sender: str, recipients: Sequence[str], content: bytes) -> Dispatch:
        options = "" if content.isascii() else " BODY=8BITMIME"
        head = content.partition(b"\r\n\r\n")[0]
        if not (head.isascii() and "".join([sender, *recipients]).isascii()):
            options += " SMTPUTF8"
            session.command_encoding = "utf-8"
        opening = self._say(session, f"MAIL FROM:<{sender}> SIZE={len(content)}{options}")
        replies = tuple(self._say(session, f"RCPT TO:<{rcpt}>") for rcpt in recipients) if opening.accepted else ()
        if not any(reply.accepted for reply in replies):
            return Dispatch(opening, replies, None, content)
        try:
            code, answer = session.data(content)
        except smtplib.SMTPDataError as error:  # refused before the content
            code, answer = error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else b""
        reply = Reply("DATA", code, answer.decode(errors="replace"))
        self.show(reply)
        return Dispatch(opening, replies, reply, content)

    def _say(self, session: smtplib.SMTP, command: str) -> Reply:
        code, text = session.docmd(command)
        reply = Reply(command, code, text.decode(errors="replace"))
        self.show(reply)
        return reply
