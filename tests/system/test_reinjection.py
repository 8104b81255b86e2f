"""Copies go through the listener that adopt adds without losing or gaining a byte, whatever the host does to mail."""

import queue
import re
import smtplib
from collections.abc import Iterator

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from mailrelay.core.joining import Joining
from tests.system import stand_ins
from tests.system.private_postfix import join, private_postfix
from tools.sandbox import ports

# Everything a host may be set up to do to mail, so that a gap in our list of options shows.
MEDDLING = {
    "append_dot_mydomain": "yes",
    "append_at_myorigin": "yes",
    "local_header_rewrite_clients": "static:all",
    "remote_header_rewrite_domain": "unknown.example",
    "always_add_missing_headers": "yes",
    "undisclosed_recipients_header": "To: somebody else:;",
    "header_checks": "regexp:{folder}/altering",
    "body_checks": "regexp:{folder}/altering",
    "canonical_maps": "regexp:{folder}/readdressing",
    "sender_canonical_maps": "regexp:{folder}/readdressing",
    "recipient_canonical_maps": "regexp:{folder}/readdressing",
    "masquerade_domains": "relay.example inbox.example",
    "always_bcc": "archive@relay.example",
    "message_strip_characters": "\\t",
    "message_reject_characters": "\\013",
    "strict_7bit_headers": "yes",
    "strict_8bitmime_body": "yes",
    "strict_mime_encoding_domain": "yes",
    "smtpd_milters": "inet:127.0.0.1:1",
    "content_filter": "smtp:[127.0.0.1]:1",
    "smtpd_proxy_filter": "[127.0.0.1]:1",
    "smtpd_helo_required": "yes",
    "smtpd_discard_ehlo_keywords": "8bitmime, size, dsn, smtputf8",
    "smtpd_tls_security_level": "encrypt",
    "smtpd_reject_unlisted_sender": "yes",
    "smtpd_client_restrictions": "reject",
    "smtpd_helo_restrictions": "reject",
    "smtpd_sender_restrictions": "reject",
    "smtpd_relay_restrictions": "reject",
    "smtpd_end_of_data_restrictions": "reject",
    "smtpd_upstream_proxy_protocol": "haproxy",
    "smtpd_data_restrictions": "reject",
    "smtpd_command_filter": "regexp:{folder}/altering",
    "message_size_limit": "20000",
    "notify_classes": "bounce, delay, policy, protocol, resource, software",
}
SENDER = "b-1.2.3@bounces.relay.example"

ODD = {
    "incomplete addresses, no Date, no id": b'From: bob\r\nTo: alice, "x" <y>\r\nCc: root@relay\r\n\r\nhello\r\n',
    "no header at all": b"\r\nonly a body\r\n",
    "no body at all": b"Subject: nothing below\r\n",
    "no recipient fields": b"From: a@sub.relay.example\r\nSubject: who?\r\n\r\nbody\r\n",
    "fields that cleanup drops": (
        b"Return-Path: <x@plain.example>\r\nBcc: me@inbox.example\r\nResent-Bcc: you@inbox.example\r\n"
        b"Content-Length: 4\r\nSubject: kept\r\n\r\nbody\r\n"
    ),
    "8-bit header and body without MIME": "From: Jürgen <j@plain.example>\r\nSubject: grüße\r\n\r\nÄÖÜ\r\n".encode(
        "latin-1"
    ),
    "the longest lines": b"X-Long: "
    + b"h" * 990
    + b"\r\nSubject: long\r\n\r\n"
    + b"b" * 998
    + b"\r\n"
    + b"c " * 499
    + b"\r\n",
    "folding of all kinds": (
        b"Subject: a\r\n\tb\r\n   c\t \r\nX-Empty:\r\nX-Blank:   \r\nx-lower:no space\r\n"
        b"DKIM-Signature: v=1; a=rsa-sha256;\r\n  b=AAAA\r\n  BBBB\r\n\r\n\r\n\r\ntrailing blanks  \r\n\t\r\n\r\n"
    ),
    "dots": b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\nlast.\r\n.\r\n",
    "control characters": b"Subject: control\r\n\r\na\x00b\x0bc\x0cd\x7f\x1b[1m\xff\xfe\r\n",
    "broken MIME": (
        b"Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: utf-8\r\nMime-Version: 1.0\r\n\r\n"
        b"--x\r\nContent-Type: text\r\nContent-Transfer-Encoding: 8bits\r\n\r\n\xe4\r\n--x\r\nno end\r\n"
    ),
    "larger than the host allows": b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 60 + b"\r\n" + b"line\r\n" * 5000,
}


class Sink:
    """The outside world: keeps sender, recipients and bytes."""

    def __init__(self) -> None:
        self.mail: queue.Queue[tuple[str, list[str], bytes]] = queue.Queue()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert envelope.original_content is not None
        self.mail.put((envelope.mail_from or "", envelope.rcpt_tos, envelope.original_content))
        return "250 2.0.0 kept"


@pytest.fixture(scope="module")
def outside() -> Iterator[tuple[Sink, int]]:
    sink = Sink()
    with stand_ins.smtp(sink) as port:
        yield sink, port


@pytest.fixture(scope="module")
def submit_port(outside: tuple[Sink, int]) -> Iterator[int]:
    (port,) = ports.pick(1)
    settings = {"relayhost": f"[127.0.0.1]:{outside[1]}"}
    with stand_ins.socketmap({}) as socketmap, private_postfix(settings) as (postfix, _):
        (postfix.etc / "altering").write_text("/^(.*)$/ REPLACE altered $1\n")
        (postfix.etc / "readdressing").write_text("/^(.*)@(.*)$/ altered-$1@$2\n")
        for name, value in MEDDLING.items():
            postfix.postconf("-e", f"{name} = {value.format(folder=postfix.etc)}")
        wanted = Joining("127.0.0.1:1", f"127.0.0.1:{socketmap}", "127.0.0.1:3", f"127.0.0.1:{port}", 1_000_000)
        join(postfix, wanted)
        postfix.start()
        yield port


def _submit(port: int, content: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo("mx.relay.example")
        assert {"size", "8bitmime", "pipelining", "dsn", "smtputf8"} <= set(client.esmtp_features)
        client.mail(SENDER, ["BODY=8BITMIME", f"SIZE={len(content)}"])
        assert client.rcpt("real@inbox.example", ["NOTIFY=FAILURE"]) == (250, b"2.1.5 Ok")
        code, reply = client.data(content)
        assert code == 250, reply


@pytest.mark.parametrize("name", ODD)
def test_only_a_received_field_is_added(name: str, outside: tuple[Sink, int], submit_port: int) -> None:
    _submit(submit_port, ODD[name])
    sender, recipients, content = outside[0].mail.get(timeout=60)
    assert (sender, recipients) == (SENDER, ["real@inbox.example"])
    received = re.match(rb"Received: from .*\r\n(?:[ \t].*\r\n)+", content)
    assert received is not None
    assert content[received.end() :] == ODD[name]
    assert outside[0].mail.empty()


def test_what_goes_wrong_there_is_not_reported_to_the_postmaster(outside: tuple[Sink, int], submit_port: int) -> None:
    with smtplib.SMTP("127.0.0.1", submit_port, timeout=20) as client:
        client.ehlo("mx.relay.example")
        assert client.docmd("NONSENSE")[0] == 500
        assert client.mail(SENDER, ["SIZE=9999999999"])[0] == 552
    _submit(submit_port, ODD["dots"])
    # A notice would have been queued before this copy.
    assert outside[0].mail.get(timeout=60)[0] == SENDER
    assert outside[0].mail.empty()
