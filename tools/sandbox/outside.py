"""The outside world: an SMTP server that keeps every message it takes as one file.

NNNNNN.eml begins with one `X-Envelope-From:` line and one `X-Envelope-To:` line per recipient (bare addresses, `<>` for
the null sender), then follows the message as it came over the wire, byte for byte.
A file appears whole (written under another name, then renamed), and its number is never given again.

refuse*@ gets 550 5.1.1 and later*@ 451 4.3.0 at RCPT, spam*@ gets 554 5.7.1 after the data, and so does dmarc*@ with
550 5.7.26 if the From field has not the domain of the envelope sender: a receiver that believes in SPF alone. It takes
rewritten copies, and none that were left as they came.

Before that goes what answers.txt in the folder says, each line an address and the reply at RCPT, such as
`busy@inbox.example 451 4.7.1 greylisted`.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from email import message_from_bytes
from email.utils import parseaddr
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

log = logging.getLogger("sandbox.outside")

ANSWERS = "answers.txt"


class Shelf:
    """Numbered files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counter = folder / ".last"
        folder.mkdir(parents=True, exist_ok=True)
        kept = max((int(path.stem) for path in folder.glob("[0-9]*.eml") if path.stem.isdigit()), default=0)
        noted = int(self._counter.read_text()) if self._counter.exists() else 0
        self._last = max(kept, noted)

    def put(self, sender: str, recipients: list[str], content: bytes) -> Path:
        self._last += 1
        self._counter.write_text(str(self._last))
        head = f"X-Envelope-From: {sender}\r\n" + "".join(f"X-Envelope-To: {rcpt}\r\n" for rcpt in recipients)
        final = self._folder / f"{self._last:06}.eml"
        temporary = self._folder / f".{self._last:06}.part"
        temporary.write_bytes(head.encode("utf-8", "surrogateescape") + content)
        os.rename(temporary, final)
        return final


class World:
    """aiosmtpd's handler: decides at RCPT and after the data."""

    def __init__(self, shelf: Shelf, answers: Path) -> None:
        self._shelf = shelf
        self._answers = answers

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        local = address.lower()
        if self._answers.exists() and (answer := _answer(self._answers.read_text(), local)):
            return answer
        if local.startswith("refuse"):
            return f"550 5.1.1 <{address}>: no such user here"
        if local.startswith("later"):
            return f"451 4.3.0 <{address}>: come back later"
        # One reply answers all recipients of a transaction, so those of different fate do not share one.
        if envelope.rcpt_tos and _fate(envelope.rcpt_tos[0]) != _fate(address):
            return "452 4.5.3 in a transaction of its own, please"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        fate = _fate(envelope.rcpt_tos[0])
        if fate == "spam":
            return "554 5.7.1 message looks like spam"
        if fate == "dmarc" and not _aligned(envelope.mail_from or "", content):
            return "550 5.7.26 unauthenticated mail is not accepted due to the domain's DMARC policy"
        path = self._shelf.put(envelope.mail_from or "<>", list(envelope.rcpt_tos), content)
        log.info("%s from=%s to=%s", path.name, envelope.mail_from, ",".join(envelope.rcpt_tos))
        return f"250 2.0.0 Ok: kept as {path.name}"

    async def handle_exception(self, error: Exception) -> str:
        log.exception("trouble", exc_info=error)
        return "451 4.3.0 the outside world has a bug"


def _answer(answers: str, address: str) -> str:
    """What the file says about an address, in lower case; '' for nothing."""
    lines = (line.partition(" ") for line in answers.splitlines())
    return next((answer for named, _, answer in lines if named.lower() == address), "")


def _fate(address: str) -> str:
    return next((name for name in ("spam", "dmarc") if address.lower().startswith(name)), "")


def _aligned(sender: str, content: bytes) -> bool:
    author = parseaddr(str(message_from_bytes(content).get("From", "")))[1]
    return author.rpartition("@")[2].lower() == sender.rpartition("@")[2].lower()


class _Server(SMTP):
    line_length_limit = 16 * 1024 * 1024  # odd senders exist, and we want to see what they sent


async def serve(folder: Path, port: int) -> asyncio.Server:
    world = World(Shelf(folder), folder / ANSWERS)

    def session() -> SMTP:
        return _Server(
            world,
            data_size_limit=None,
            enable_SMTPUTF8=True,
            decode_data=False,
            hostname="outside.example",
            ident="ESMTP the outside world",
            timeout=600,
        )

    return await asyncio.get_running_loop().create_server(session, "127.0.0.1", port)


async def main(folder: Path, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await serve(folder, port)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd tells every command
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
