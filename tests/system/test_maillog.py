"""The log that a real Postfix writes, followed over a rotation and understood."""

import asyncio
import smtplib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from mailrelay.clients.logtail import FileTail, local_zone
from mailrelay.core.maillog import Delivery, LogEvent, Position, QueueActive, Rejected, Removed
from mailrelay.wire import maillog
from tests.system import stand_ins
from tests.system.private_postfix import private_postfix
from tools.sandbox.postfix import Instance, sandbox_settings

PATH = "b-caasgrlhrgv4332p4zrlah3w2fka2ampsm@bounces.relay.example"
ANSWERS = {"gone@inbox.example": "550 5.1.1 <gone@inbox.example>: unknown", "busy@inbox.example": "451 4.2.1 busy"}
ACCESS = (
    "{dropped@alias.example=DISCARD is inactive alias}, {refused@alias.example=554 5.7.1 not here}, "
    "{later@alias.example=450 4.2.1 later}"
)


class Outside:
    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = ANSWERS.get(address, "250 2.1.5 Ok")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer


@pytest.fixture(scope="module")
def postfix() -> Iterator[tuple[Instance, int]]:
    with stand_ins.smtp(Outside()) as outside:
        settings = {
            **sandbox_settings(outside),
            "virtual_mailbox_domains": "alias.example",
            "virtual_transport": "discard:",
            "smtpd_recipient_restrictions": f"check_recipient_access inline:{{{ACCESS}}}, permit",
        }
        with private_postfix(settings) as (postfix, port):
            checks = postfix.etc / "header_checks"
            checks.write_text("/^Subject: forbidden/ REJECT not wanted\n")
            postfix.postconf("-e", f"header_checks=regexp:{checks}")
            postfix.start()
            yield postfix, port


class Follower:
    """Collects what the log tells."""

    def __init__(self, postfix: Instance) -> None:
        self._tail = FileTail(postfix.maillog)
        self._position = Position()
        self.events: list[LogEvent] = []

    async def until(self, wanted: int) -> list[LogEvent]:
        """So many rejections and deliveries in all."""
        await self.until_it(lambda: len(self.told) >= wanted)
        return self.told

    async def until_it(self, is_there: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not is_there():
                chunk = await self._tail.read(self._position)
                self._position = chunk.position
                now = datetime.now(UTC)
                found = (maillog.read(line, now, local_zone()) for line in chunk.lines)
                self.events += [event for event in found if event is not None]
                await asyncio.sleep(0.02)

    @property
    def told(self) -> list[LogEvent]:
        return [event for event in self.events if isinstance(event, Rejected | Delivery)]


def ask(port: int, rcpt: str, subject: str = "hello", sender: str = "news@shop.example", client: str = "") -> None:
    """Send a message as anybody, or be refused. client: of XCLIENT; else one of ours."""
    with smtplib.SMTP("127.0.0.1", port, timeout=10, source_address=("127.0.0.2", 0)) as smtp:
        if client:
            smtp.docmd("XCLIENT", client)
        smtp.ehlo("mail.shop.example")
        smtp.docmd("MAIL", f"FROM:<{sender}>")
        if smtp.docmd("RCPT", f"TO:<{rcpt}>")[0] == 250:
            smtp.data(f"Subject: {subject}\r\n\r\nhello\r\n")


async def test_rows_174_to_178_on_what_postfix_writes(postfix: tuple[Instance, int]) -> None:
    instance, port = postfix
    follower = Follower(instance)
    await asyncio.to_thread(ask, port, "later@alias.example")
    await asyncio.to_thread(ask, port, "refused@alias.example", client="ADDR=IPV6:2001:db8::25")
    await asyncio.to_thread(ask, port, "dropped@alias.example", client="ADDR=192.0.2.9 NAME=mx.shop.example")
    await follower.until(2)

    # Rotated as logrotate does: renamed first, and postlogd begins a new file when it is told.
    instance.maillog.rename(instance.maillog.with_name("maillog.1"))
    instance.reload()
    await asyncio.to_thread(ask, port, "a1@alias.example", "forbidden fruit", client="ADDR=192.0.2.9")
    refused, dropped, content = await follower.until(3)

    assert isinstance(refused, Rejected) and isinstance(dropped, Rejected) and isinstance(content, Rejected)
    assert (refused.status, refused.enhanced, refused.client_address) == ("554", "5.7.1", "2001:db8::25")
    assert (refused.sender, refused.rcpt, refused.queue_id) == ("news@shop.example", "refused@alias.example", "")
    assert refused.text == "<refused@alias.example>: Recipient address rejected: not here"
    assert (dropped.kind, dropped.status, dropped.rcpt) == ("discard", "", "dropped@alias.example")
    assert "is inactive alias" in dropped.text
    assert (dropped.client_name, dropped.client_address) == ("mx.shop.example", "192.0.2.9")
    assert (content.kind, content.status, content.text) == ("reject", "5.7.1", "not wanted")
    assert (content.rcpt, content.daemon) == ("a1@alias.example", "cleanup") and content.queue_id
    assert all(datetime.now(UTC) - event.at < timedelta(minutes=5) for event in (refused, dropped, content))


async def test_the_life_of_a_copy_on_what_postfix_writes(postfix: tuple[Instance, int]) -> None:
    instance, port = postfix
    follower = Follower(instance)
    known = len(await follower.until(0))
    for rcpt in ("me@inbox.example", "gone@inbox.example", "busy@inbox.example"):
        await asyncio.to_thread(ask, port, rcpt, sender=PATH)
    wanted = {"me@inbox.example": "sent", "gone@inbox.example": "bounced", "busy@inbox.example": "deferred"}
    deliveries: dict[str, Delivery] = {}
    while wanted.keys() - deliveries.keys():
        known += 1
        told = await follower.until(known)
        deliveries |= {one.rcpt: one for one in told if isinstance(one, Delivery)}
    assert {rcpt: deliveries[rcpt].status for rcpt in wanted} == wanted
    senders = {event.queue_id: event.sender for event in follower.events if isinstance(event, QueueActive)}
    assert {senders[deliveries[rcpt].queue_id] for rcpt in wanted} == {PATH}
    assert "unknown" in deliveries["gone@inbox.example"].text
    assert deliveries["me@inbox.example"].relay.startswith("127.0.0.1[127.0.0.1]:")
    removed = Removed(deliveries["me@inbox.example"].queue_id)
    await follower.until_it(lambda: removed in follower.events)
