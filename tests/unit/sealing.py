"""Encrypted copies for tests: copies as they would go out in clear, and stand-ins for the encryption."""

import os
import subprocess
from email import message_from_bytes
from email.message import Message as Parsed
from pathlib import Path

from mailrelay.core.header import Field, split
from mailrelay.core.letterhead import Header
from mailrelay.core.pgpmime import Left, Plain, Wish, outer, sealed_form

PREFIX = "X-Mailrelay-"
BOUNDARY = b"mr-000102030405060708090a0b"
ARMOR = b"-----BEGIN PGP MESSAGE-----\n\nhF4DAAAA\n=abcd\n-----END PGP MESSAGE-----\n"
NORMAL, HIDDEN, INLINE = Wish(PREFIX), Wish(PREFIX, hide_subject=True), Wish(PREFIX, inline=True)

HEAD = (
    b"X-Mailrelay-Mode: rewrite\r\n"
    b"X-Mailrelay-Original-From: news@shop.example\r\n"
    b"Received: from mta.shop.example by mx.relay.example; Tue, 06 Jan 2026 09:00:01 +0000\r\n"
    b'From: "Shop" <a1+news=shop.example@alias.example>\r\n'
    b"To: a1@alias.example\r\n"
    b"Subject: Your order 77\r\n"
    b"Date: Tue, 06 Jan 2026 10:00:00 +0100\r\n"
    b"Message-ID: <20260106.77@shop.example>\r\n"
)


def cut(content: bytes) -> tuple[Header, bytes]:
    """Header and body of a copy."""
    message = split(content)
    top = 1 if message.fields and not message.fields[0].name else 0
    return Header(b"".join(one.raw for one in message.fields[:top]), message.fields[top:]), message.body


def formed(content: bytes, wish: Wish = NORMAL) -> Plain:
    """What is to be encrypted of a copy that is not left alone."""
    form = sealed_form(*cut(content), wish, BOUNDARY)
    assert isinstance(form, Plain)
    return form


def left(content: bytes, wish: Wish = NORMAL) -> Left | None:
    """Why a copy stays as it is; None if it does not."""
    form = sealed_form(*cut(content), wish, BOUNDARY)
    return form if isinstance(form, Left) else None


def out(plain: Plain, armored: bytes = ARMOR) -> bytes:
    """The encrypted copy."""
    header, body = outer(plain, armored, BOUNDARY)
    return header.block + b"\r\n" + body


def leaves(content: bytes) -> list[tuple[str, bytes, str | None]]:
    """Type, decoded body and file name of every leaf, as the standard library reads them."""
    return [(one.get_content_type(), said(one), one.get_filename()) for one in walk(content) if not one.is_multipart()]


def said(part: Parsed) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.replace(b"\r\n", b"\n")


def walk(content: bytes) -> list[Parsed]:
    return list(message_from_bytes(content).walk())


def fields(content: bytes, name: bytes) -> list[bytes]:
    """Values of a field."""
    return split(content).values(name)


def names(found: tuple[Field, ...]) -> list[bytes]:
    return [one.name for one in found]


class Gpg:
    """GnuPG with a home of its own and one throw-away key."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700)
        self._env = {"GNUPGHOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C"}
        self._run("--quick-generate-key", "Real <real@inbox.example>", "future-default", "default", "never")
        self._run("--quick-generate-key", "Service <mail@relay.example>", "future-default", "default", "never")

    def sealed(self, content: bytes) -> bytes:
        """Signed by the service, encrypted for the recipient, armored."""
        who = ("-u", "mail@relay.example", "-r", "real@inbox.example")
        return self._run("--trust-model", "always", "--armor", "--sign", "--encrypt", *who, content=content)[0]

    def opened(self, armored: bytes) -> bytes:
        """The content again, its signature found to be good."""
        content, status = self._run("--status-fd", "2", "--decrypt", content=armored)
        assert b"[GNUPG:] GOODSIG" in status and b"[GNUPG:] DECRYPTION_OKAY" in status
        return content

    def close(self) -> None:
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=self._env, check=True)

    def _run(self, *words: str, content: bytes = b"") -> tuple[bytes, bytes]:
        command = ["gpg", "--batch", "--no-options", "--pinentry-mode", "loopback", "--passphrase", "", *words]
        done = subprocess.run(command, input=content, capture_output=True, env=self._env, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr
