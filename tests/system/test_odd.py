"""Odd messages: those with a sound header arrive as they came, the others are rewritten and keep their body."""

import re

import pytest

from tests.system.scenario import (
    R1,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_forward import ADDED, added_above, field_names
from tests.system.world import Mail

ODD = {
    "dots": b"\r\n.\r\n..\r\n.a\r\nb.\r\n...\r\n.\r\n",
    "empty body": b"\r\n",
    "no empty line": b"",
    "empty lines only": b"\r\n\r\n\r\n\r\n",
    "900 octets a line": b"\r\n" + b"".join(b"%03d" % n * 300 + b"\r\n" for n in range(20)),
    "longest lines": b"X-Long: " + b"h" * 990 + b"\r\n\r\n" + b"b" * 998 + b"\r\n",
    "8-bit without MIME": b"X-Name: J\xfcrgen\r\n\r\n\xc4\xd6\xdc\xff\xfe\r\n",
    "UTF-8": "X-Name: Jürgen\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nÄÖÜ ☃\r\n".encode(),
    "garbage MIME": (
        b"Content-Type: multipart/mixed; boundary=\r\nMIME-Version: 2.0 (?)\r\nContent-Transfer-Encoding: yes\r\n\r\n"
        b"--\r\nContent-Type\r\n\r\n--x--\r\n\x01\x02\x7f\x1b[0m\r\n=?utf-8?b?%%%?=\r\n"
    ),
    "garbage fields": (
        b"Reply-To: <<>>@@\r\nCc:\r\nReferences: yesterday\r\nIn-Reply-To: <a@b@c>\r\nComments: =?utf-8?q?=FF=?=\r\n"
        b"\tfolded\r\n  more \t\r\nX-Empty:\r\n\r\nbody\r\n"
    ),
    "a line that is no field": b"this is no field\r\nX-Late: 1\r\n\r\nbody\r\n",
    "trailing blanks": b"X-Blank: t  \r\n\r\na  \r\n\t\r\n \r\n\r\n\r\n",
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_message_with_a_sound_header_arrives_as_it_came(scenario: Scenario, name: str) -> None:
    mail = header_of(scenario)
    content = mail.content + ODD[name]
    sent = scenario.send("a1@alias.example", sender="a@plain.example", mail=Mail(content, mail.message_id))
    (copy,) = scenario.copies(sent, R1)
    if name == "a line that is no field":
        content = mail.content + b"\r\n" + ODD[name]  # the empty line is Postfix' own
    assert added_above(copy, content) == ADDED
    verdicts = scenario.world.signatures(copy)
    assert verdicts == {"relay.example/mr1": "valid", "relay.example/mr1e": "valid"}


@pytest.mark.parametrize("charset", ["latin-1", "utf-8"])
def test_8_bit_names_and_subjects_arrive_as_they_came(scenario: Scenario, charset: str) -> None:
    mail = header_of(scenario)
    head = mail.content.replace(b"From: a@plain.example", "From: Jürgen <a@plain.example>".encode(charset))
    head = head.replace(b"Subject: hello", "Subject: grüße".encode(charset))
    content = head + b"\r\n\xc4\xd6\xdc\xff\xfe\r\n"
    sent = scenario.send("a1@alias.example", sender="a@plain.example", mail=Mail(content, mail.message_id))
    (copy,) = scenario.copies(sent, R1)
    assert b"From: J" in content and b"Subject: gr" in content
    assert added_above(copy, content) == ADDED
    assert scenario.world.signatures(copy) == {"relay.example/mr1": "valid", "relay.example/mr1e": "valid"}


def header_of(scenario: Scenario) -> Mail:
    """The header of a message from plain.example, without the empty line below it."""
    mail = scenario.world.message(sender="a@plain.example")
    return Mail(mail.content.partition(b"\r\n\r\n")[0] + b"\r\n", mail.message_id)


# What is added to the header, what is taken out, and how lines of the copy look.
UNSOUND = {
    "two dates": (b"Date: yesterday\r\n", b"", [rb"Date: Sat, 21 Nov 2026 10:00:00 \+0000"]),
    "two subjects": (b"Subject: =?utf-8?q?=FF=?=\r\n\tfolded \t\r\n", b"", [b"Subject: hello"]),
    "two message ids": (b"Message-ID:\r\n", b"", [rb"Message-ID: <[0-9.]+@shop\.example>"]),
    "no date": (b"", b"Date", [rb"Date: [^\r]+ \+0000"]),
    "no message id": (b"X-Odd: no-id\r\n", b"Message-ID", [rb"Message-ID: <[0-9a-f]{32}@alias\.example>"]),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_a_message_with_an_unsound_header_is_rewritten_and_keeps_its_body(scenario: Scenario, name: str) -> None:
    """Test 4 of spec section 3.2."""
    more, less, expected = UNSOUND[name]
    mail = header_of(scenario)
    header = re.sub(rb"(?m)^%b: .*\r\n" % less, b"", mail.content) if less else mail.content
    body = b".\r\n\xff\xfe \x01\r\n=3D\r\n\t\r\n\r\n"
    mark = more.strip() if less == b"Message-ID" else mail.message_id
    sent = scenario.send("a1@alias.example", sender="a@plain.example", mail=Mail(header + more + b"\r\n" + body, mark))
    (copy,) = scenario.copies(sent, R1)
    assert copy.body == body
    for line in (*expected, b"X-Mailrelay-Mode: rewrite; reason=header"):
        assert len(re.findall(rb"(?m)^%b\r?$" % line, copy.header)) == 1
    assert b"a1+a=plain.example@alias.example" in copy.header
    names = field_names(copy.header)
    single = ("from", "date", "message-id", "subject", "to")
    assert [names.count(field) for field in single] == [1] * len(single)
    verdicts = scenario.world.signatures(copy)
    assert verdicts == {"alias.example/mr1": "valid", "alias.example/mr1e": "valid"}
