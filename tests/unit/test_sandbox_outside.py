"""The sandbox's outside world keeps what it takes, byte for byte, and refuses as promised."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tools.sandbox import ports
from tools.sandbox.outside import Shelf, serve


class Client:
    """Says SMTP lines and hears one reply each."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def hear(self) -> str:
        line = await self._reader.readline()
        while line[3:4] == b"-":
            line = await self._reader.readline()
        return line.decode().strip()

    async def say(self, line: bytes) -> str:
        self._writer.write(line + b"\r\n")
        return await self.hear()

    async def envelope(self, sender: str, *recipients: str) -> list[str]:
        replies = [await self.say(f"MAIL FROM:<{sender}> SMTPUTF8 BODY=8BITMIME".encode())]
        return replies + [await self.say(f"RCPT TO:<{rcpt}>".encode()) for rcpt in recipients]

    async def data(self, content: bytes) -> str:
        await self.say(b"DATA")
        return await self.say(content + b".")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("[!.]*")]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    (port,) = ports.pick(1)
    server = await serve(tmp_path, port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    talk = Client(reader, writer)
    await talk.hear()
    await talk.say(b"EHLO mx.relay.example")
    yield talk
    await talk.say(b"QUIT")
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_a_message_is_kept_as_it_came(client: Client, tmp_path: Path) -> None:
    content = (
        "Subject: größer\r\n\r\n..two dots\r\nbare\nnewline \t\r\n".encode() + b"\xff\x00\r\n" + b"y" * 5000 + b"\r\n"
    )
    await client.envelope("b+1@relay.example", "ä@inbox.example", "second@inbox.example")
    assert (await client.data(content.replace(b"\r\n..", b"\r\n..."))).startswith("250 ")
    head = "X-Envelope-From: b+1@relay.example\r\n"
    head += "X-Envelope-To: ä@inbox.example\r\nX-Envelope-To: second@inbox.example\r\n"
    assert (tmp_path / "000001.eml").read_bytes() == head.encode() + content


async def test_the_null_sender_is_written_as_in_smtp(client: Client, tmp_path: Path) -> None:
    await client.envelope("", "me@inbox.example")
    await client.data(b"Subject: bounce\r\n\r\n")
    assert (
        (tmp_path / "000001.eml").read_bytes().startswith(b"X-Envelope-From: <>\r\nX-Envelope-To: me@inbox.example\r\n")
    )


async def test_some_mailboxes_refuse_or_defer(client: Client) -> None:
    replies = await client.envelope(
        "a@shop.example", "Refuse.me@inbox.example", "later1@inbox.example", "me@inbox.example"
    )
    assert [reply[:9] for reply in replies[1:]] == ["550 5.1.1", "451 4.3.0", "250 2.1.5"]


async def test_spam_is_refused_after_the_data_and_not_kept(client: Client, tmp_path: Path) -> None:
    replies = await client.envelope("a@shop.example", "spam@inbox.example", "me@inbox.example")
    assert [reply[:3] for reply in replies] == ["250", "250", "452"]
    assert (await client.data(b"Subject: x\r\n\r\n")).startswith("554 5.7.1")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("sender", "author", "answer"),
    [
        ("b-x@bounces.relay.example", "Shop <news@shop.example>", "550 5.7.26"),
        ("", "news@shop.example", "550 5.7.26"),
        ("b-x@alias.example", '"Shop, via a1" <a1+news=shop.example@Alias.example>', "250 2.0.0"),
    ],
    ids=["untouched", "null-sender", "rewritten"],
)
async def test_a_strict_mailbox_takes_authors_of_the_senders_domain(
    client: Client, tmp_path: Path, sender: str, author: str, answer: str
) -> None:
    replies = await client.envelope(sender, "dmarc.me@inbox.example", "me@inbox.example")
    assert [reply[:3] for reply in replies] == ["250", "250", "452"]
    assert (await client.data(f"From: {author}\r\n\r\n".encode())).startswith(answer)
    assert bool(names(tmp_path)) == answer.startswith("250")


def test_a_number_is_never_given_again(tmp_path: Path) -> None:
    first = Shelf(tmp_path).put("a@shop.example", ["me@inbox.example"], b"")
    second = Shelf(tmp_path).put("a@shop.example", ["me@inbox.example"], b"")
    first.unlink()
    second.unlink()
    third = Shelf(tmp_path).put("a@shop.example", ["me@inbox.example"], b"")
    assert [path.name for path in (first, second, third)] == ["000001.eml", "000002.eml", "000003.eml"]
    assert names(tmp_path) == ["000003.eml"]
