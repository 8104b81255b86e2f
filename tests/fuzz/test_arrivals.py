"""Random and damaged mail at a return path: an answer, always, soon, and one that a database takes."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core.bounce import AutomaticAnswer, Complained, Failed, News, OtherMail
from mailrelay.wire import complaint
from mailrelay.wire.arrival import read

FOLDER = Path(__file__).parents[1] / "data" / "bounces"
SAMPLES = [path.read_bytes() for path in sorted(FOLDER.glob("[0-9]*.eml"))]
PIECES = (
    *(b"Content-Type: multipart/%b; boundary=b\r\n" % kind for kind in (b"mixed", b"report", b"report; report-type=x")),
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n",
    b"Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n",
    b"Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n",
    *(
        b"Content-Type: message/%b\r\n" % kind
        for kind in (b"delivery-status", b"feedback-report", b"rfc822", b"global")
    ),
    *(
        b"Content-Type: text/plain; charset=%b\r\n" % name
        for name in (b"utf-16", b"iso-2022-jp", b"hz", b"x", b"utf-7")
    ),
    *(b"Content-Transfer-Encoding: %b\r\n" % name for name in (b"base64", b"quoted-printable", b"8bit")),
    b"Content-Type: text/html\r\n",
    b"From: MAILER-DAEMON\r\n",
    b"From: =?utf-8?B?////?= <postmaster@inbox.example>\r\n",
    b"X-Failed-Recipients: a@inbox.example,, <b@inbox.example>\r\n",
    b"Subject: =?utf-8?Q?failure_notice?=\r\n",
    b"Auto-Submitted: auto-replied\r\n",
    b"--b\r\n",
    b"--b--\r\n",
    b"\r\n",
    b"Final-Recipient: utf-8; \\x{D800}\\x{110000}\\x{FC}\\x{0}@inbox.example\r\n",
    b"Action: failed\r\nStatus: 5.1.1\r\n",
    b"Diagnostic-Code: smtp; 550 5.1.1 no\r\n folded\r\n",
    b"Feedback-Type: abuse\r\nOriginal-Mail-From: <\r\n",
    b"Hi. This is the qmail-send program.\r\n",
    b"<real@inbox.example>:\r\n550 5.1.1 no such user (#5.1.1)\r\n",
    b"did not reach the following recipient(s):\r\n\r\n a@inbox.example on Tue\r\n",
    b"--- Below this line is a copy of the message.\r\n",
    b"has not yet been delivered\r\n",
)
MAIL = st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=40).map(b"".join)
SENDERS = st.sampled_from(["", "real@inbox.example"])


def check(content: bytes, sender: str) -> None:
    found = read(content, sender)
    assert isinstance(found, Failed | News | Complained | AutomaticAnswer | OtherMail)
    texts: list[str] = []
    if isinstance(found, Failed):
        assert 1 <= len(found.failures) <= 100
        for failure in found.failures:
            texts += [failure.status, failure.code, failure.remote_mta, failure.recipient]
            assert failure.type in ("hard", "soft", "spam")
        back = found.returned
        assert back is None or back.content is None or back.content.startswith(back.header)
    about = found.complaint if isinstance(found, Complained) else complaint.read(content)
    if about is not None:
        texts += [about.feedback_type, about.original_mail_from, *about.original_rcpt_to, about.return_path]
    for text in texts:
        assert text == text.translate(dict.fromkeys(range(32)))
        assert len(text.encode()) <= 8000


@settings(max_examples=500)
@given(MAIL, SENDERS)
def test_shuffled_pieces_never_raise(content: bytes, sender: str) -> None:
    check(content, sender)


@settings(max_examples=500)
@given(st.sampled_from(SAMPLES), st.floats(0, 1), st.integers(0, 200), st.binary(max_size=30), SENDERS)
def test_damaged_samples_never_raise(sample: bytes, place: float, length: int, instead: bytes, sender: str) -> None:
    at = int(place * len(sample))
    check(sample[:at] + instead + sample[at + length :], sender)


@settings(max_examples=300)
@given(st.sampled_from(SAMPLES), st.sampled_from(SAMPLES), st.floats(0, 1), st.floats(0, 1))
def test_samples_that_run_into_each_other_never_raise(one: bytes, other: bytes, end: float, begin: float) -> None:
    check(one[: int(end * len(one))] + other[int(begin * len(other)) :], "")


@settings(max_examples=300)
@given(st.binary(max_size=400), SENDERS)
def test_noise_never_raises(content: bytes, sender: str) -> None:
    check(content, sender)


@pytest.mark.parametrize("number", range(0, len(SAMPLES), 3))
def test_samples_cut_anywhere_never_raise(number: int) -> None:
    sample = SAMPLES[number]
    for at in range(0, len(sample), 37):
        check(sample[:at], "")


# Each asks for another kind of patience: of patterns, of the walk through parts, of decoders.
TEDIOUS = (
    *(b"a", b"a@", b"<", b"<a@b.c>:\n", b"a@b.c\n", b"x@y.z ", b"a.b", b"\n", b" \n", b" ", b"550 ", b"5.1.1 "),
    *(b"--b\n", b"--bx\n", b"--b\n\n", b"--b\nContent-Type: message/rfc822\n\n", b"--b\nContent-Type: text/plain\n\n"),
    *(b"a: b\n", b"=", b"=41", b"&#1", b"&lt;", b"<br>", b"<style>", b"host a.", b"-", b"--\n", b"---- ", b",", b":"),
    *(b"original message ", b"message header: x\n", b"this is a copy of the ", b"Received: ", b"could not be "),
    *(b"mailer-daemon ", b"\xe9", b"\xef\xbc\x9a", b"=?utf-8?q?", b"\x1b$B", b"from: a@b\n", b"wasn't able "),
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n",
)
HEADERS = (
    b"",
    b"Content-Type: text/html\n",
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n",
    b"Content-Type: multipart/mixed; boundary=b\n",
    b"Content-Type: text/plain; charset=iso-2022-jp\nContent-Transfer-Encoding: quoted-printable\n",
    b"Content-Transfer-Encoding: base64\n",
)


@pytest.mark.parametrize("piece", TEDIOUS, ids=repr)
def test_large_mail_costs_little(piece: bytes) -> None:
    """Two million octets in every form, some 20 ms each; quadratic time would be hours."""
    much = piece * (2_000_000 // len(piece))
    some = much[:200_000]
    mails = [b"From: MAILER-DAEMON\nSubject: failure notice\n" + header + b"\n" + much for header in HEADERS]
    mails.append(b"From: " + some + b"\nSubject: " + some + b"\nX-Failed-Recipients: " + some + b"\n\n" + some)
    mails.append(
        b"Content-Type: multipart/report; boundary=c\n\n--c\n\n"
        + some
        + b"\n--c\nContent-Type: message/delivery-status"
        b"\n\nAction: failed\n" + some + b"\n--c\nContent-Type: message/rfc822\n\n" + much + b"\n--c--\n"
    )
    begin = time.process_time()
    for mail in mails:
        check(mail, "")
    assert time.process_time() - begin < 10
