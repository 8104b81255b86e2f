"""A Postfix after adopt, with stand-ins for mailrelay's servers: who may write to whom, and how mail reaches LMTP."""

import queue
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from mailrelay.core.joining import Joining
from tests.system import stand_ins
from tests.system.private_postfix import join, private_postfix
from tools.sandbox import ports


@dataclass(frozen=True)
class Delivery:
    server: object  # one for each connection
    forwarded: str
    recipients: list[str]
    content: bytes


class Receiver(LMTP):
    """An LMTP server that takes lines of any length and remembers what XFORWARD said."""

    line_length_limit = 1_000_000
    forwarded = ""

    @syntax("XFORWARD attribute=value...")
    async def smtp_XFORWARD(self, arg: str | None) -> None:
        self.forwarded += f"{arg} "
        await self.push("250 2.0.0 Ok")


class Handler:
    def __init__(self) -> None:
        self.mail: queue.Queue[Delivery] = queue.Queue()

    async def handle_EHLO(
        self, server: Receiver, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-XFORWARD NAME ADDR HELO IDENT PROTO SOURCE", responses[-1]]

    async def handle_DATA(self, server: Receiver, session: Session, envelope: Envelope) -> str:
        assert envelope.original_content is not None
        content = envelope.original_content
        self.mail.put(Delivery(server, server.forwarded, list(envelope.rcpt_tos), content))
        return "\r\n".join("250 2.0.0 taken" for _ in envelope.rcpt_tos)


class _Controller(Controller):
    def factory(self) -> SMTP:
        return Receiver(self.handler, hostname="lmtp.relay.example", enable_SMTPUTF8=True)


@pytest.fixture(scope="module")
def lmtp() -> Iterator[tuple[Handler, int]]:
    handler = Handler()
    with stand_ins.smtp(handler, _Controller) as port:
        yield handler, port


@pytest.fixture(scope="module")
def public_port(lmtp: tuple[Handler, int]) -> Iterator[int]:
    answers = {
        "domain alias.example": "alias.example",
        # Postfix asks a socketmap for whole addresses only, never for their domain.
        **{f"transport {name}@alias.example": f"mailrelay:inet:127.0.0.1:{lmtp[1]}" for name in ("one", "two")},
    }
    actions = {"gone@alias.example": "550 5.1.1 Address does not exist"}
    settings = {
        "mynetworks": "127.0.0.2/32",  # so that 127.0.0.1 is a stranger
        "local_header_rewrite_clients": "",
        "lmtp_generic_maps": "static:changed@relay.example",  # not for our LMTP server
    }
    (submit,) = ports.pick(1)
    with (
        stand_ins.socketmap(answers) as socketmap,
        stand_ins.policy(actions) as policy,
        private_postfix(settings) as (postfix, port),
    ):
        wanted = Joining(
            f"127.0.0.1:{policy}", f"127.0.0.1:{socketmap}", f"127.0.0.1:{lmtp[1]}", f"127.0.0.1:{submit}", 1_000_000
        )
        join(postfix, wanted)
        postfix.start()
        yield port


def _send(port: int, recipients: list[str], content: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.shop.example", timeout=20) as client:
        assert client.sendmail("news@shop.example", recipients, content, ["BODY=8BITMIME"]) == {}


def test_mail_for_our_domains_reaches_lmtp_with_its_story(lmtp: tuple[Handler, int], public_port: int) -> None:
    content = b"From: news@shop.example\r\nSubject: hello\r\n\r\n" + b"x" * 5000 + b"\r\n\xff\xfe\r\n"
    _send(public_port, ["one@alias.example", "two@alias.example"], content)
    delivery = lmtp[0].mail.get(timeout=60)
    assert sorted(delivery.recipients) == ["one@alias.example", "two@alias.example"]
    assert delivery.content.endswith(content)
    for attribute in ("HELO=client.shop.example", "ADDR=127.0.0.1", "IDENT="):
        assert attribute in delivery.forwarded


def test_the_connection_is_kept(lmtp: tuple[Handler, int], public_port: int) -> None:
    connections = set()
    for number in range(3):
        _send(public_port, ["one@alias.example"], f"Subject: {number}\r\n\r\nx\r\n".encode())
        connections.add(lmtp[0].mail.get(timeout=60).server)
    assert len(connections) == 1


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        ("gone@alias.example", 550),  # the policy service says so
        ("somebody@elsewhere.example", 454),  # defer_unauth_destination
        ("somebody@sub.alias.example", 454),
    ],
)
def test_others_are_refused_at_the_door(recipient: str, code: int, public_port: int) -> None:
    with smtplib.SMTP("127.0.0.1", public_port, timeout=20) as client:
        client.ehlo("client.shop.example")
        client.mail("news@shop.example")
        assert client.rcpt(recipient)[0] == code
