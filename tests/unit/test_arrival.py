"""The order of tests of spec section 7.2, where samples of whole mail say too little (rows 168, 169 for answers)."""

import tracemalloc
from email.message import Message as Email

import pytest

from mailrelay.core.bounce import Arrival, AutomaticAnswer, BounceType, Complained, Failed, News, OtherMail
from mailrelay.wire import prose
from mailrelay.wire.arrival import read

STATUS = (
    "Content-Type: message/delivery-status\n\nAction: failed\nStatus: 5.1.1\nFinal-Recipient: rfc822;a@inbox.example"
)
REPORT = "multipart/report; report-type=delivery-status"
DAEMON = "MAILER-DAEMON@inbox.example"
HUMAN = "Real Name <real@inbox.example>"
QMAIL = "<real@inbox.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n"


def mail(body: str, author: str = DAEMON, subject: str = "failure notice", extra: str = "") -> bytes:
    return f"From: {author}\nSubject: {subject}\n{extra}\n{body}".replace("\n", "\r\n").encode()


def parts(*parts: str, kind: str = REPORT, author: str = DAEMON) -> bytes:
    body = "".join(f"--b\n{part}\n" for part in parts) + "--b--\n"
    return mail(body, author, "x", f"Content-Type: {kind}; boundary=b\n")


def failed(content: bytes, sender: str = "") -> Failed:
    found = read(content, sender)
    assert isinstance(found, Failed)
    return found


# -- Reports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sender", "kind"),
    [
        pytest.param(parts(STATUS, author=HUMAN), "real@inbox.example", Failed, id="report-from-anybody"),
        pytest.param(parts(STATUS, kind="multipart/report", author=HUMAN), "real@inbox.example", Failed, id="no-type"),
        pytest.param(parts(STATUS, kind="multipart/mixed", author=HUMAN), "", Failed, id="part-of-the-null-sender"),
        pytest.param(parts(STATUS, kind="multipart/mixed"), "x@inbox.example", Failed, id="part-of-a-daemon"),
        pytest.param(parts(STATUS, kind="multipart/mixed", author=HUMAN), "x@inbox.example", OtherMail, id="part"),
        pytest.param(
            parts(STATUS, kind="multipart/mixed", author="Post <postmaster@inbox.example>"),
            "postmaster@inbox.example",
            Failed,
            id="part-of-a-postmaster",
        ),
        pytest.param(parts(STATUS.replace("failed", "Delayed")), "", News, id="delayed"),
        pytest.param(parts(STATUS.replace("failed", "relayed (sent on)")), "", News, id="relayed"),
        pytest.param(parts(STATUS.replace("failed", "delivered")), "", News, id="delivered"),
        pytest.param(parts(STATUS.replace("failed", "expanded")), "", News, id="expanded"),
        pytest.param(parts(STATUS.replace("failed", "Failure")), "", Failed, id="failure"),
        pytest.param(parts(STATUS.replace("failed", "error")), "", Failed, id="error"),
        pytest.param(parts(STATUS.replace("failed", "")), "", Failed, id="no-action-and-class-5"),
        pytest.param(parts(STATUS.replace("failed", "").replace("5.1.1", "4.1.1")), "", News, id="no-action"),
        pytest.param(
            parts("Content-Type: message/feedback-report\n\nFeedback-Type: abuse\n", STATUS, author=HUMAN).replace(
                b"report-type=delivery-status", b"report-type=feedback-report"
            ),
            "x@inbox.example",
            Complained,
            id="complaint",
        ),
    ],
)
def test_reports_are_told_apart(content: bytes, sender: str, kind: type[Arrival]) -> None:
    assert isinstance(read(content, sender), kind)


def test_the_original_recipient_is_named_if_there_is_one() -> None:
    both = STATUS + "\nOriginal-Recipient: rfc822;first@inbox.example"
    assert failed(parts(both)).failures[0].recipient == "first@inbox.example"
    assert failed(parts(STATUS)).failures[0].recipient == "a@inbox.example"


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("dns; mx.inbox.example", "mx.inbox.example"),
        ("dns;mx.inbox.example. (192.0.2.5, the server for inbox.example)", "mx.inbox.example"),
        ("dns; [192.0.2.5]", "[192.0.2.5]"),
        ("mx.inbox.example(192.0.2.5)", "mx.inbox.example"),
        ("", ""),
    ],
)
def test_the_host_is_named_without_remarks(written: str, host: str) -> None:
    assert failed(parts(f"{STATUS}\nRemote-MTA: {written}")).failures[0].remote_mta == host


def test_words_for_people_stand_in_for_a_missing_diagnostic() -> None:
    text = "Content-Type: text/plain\n\n<a@inbox.example>: 552 5.2.2 user unavailable, his box is full\n"
    [vague] = failed(parts(text, STATUS.replace("5.1.1", "5.0.0"))).failures
    assert (vague.status, vague.code[:9], vague.type) == ("5.2.2", "552 5.2.2", BounceType.HARD)
    # They do not change what the report says.
    [exact] = failed(parts(text, STATUS.replace("5.1.1", "5.2.2"))).failures
    assert (exact.status, exact.code[:9], exact.type) == ("5.2.2", "552 5.2.2", BounceType.SOFT)


def test_many_recipients_are_bounded() -> None:
    groups = "".join(
        f"\n\nAction: failed\nStatus: 5.1.1\nFinal-Recipient: rfc822;a{n}@inbox.example" for n in range(3000)
    )
    assert len(failed(parts(f"Content-Type: message/delivery-status\n\nReporting-MTA: x{groups}")).failures) == 100


def test_a_large_message_comes_back_whole() -> None:
    message = "Subject: Your order 77\n\n" + "0123456789\n" * 200_000
    back = failed(parts(STATUS, f"Content-Type: message/rfc822\n\n{message}")).returned
    assert back is not None
    assert back.header == b"Subject: Your order 77\r\n"
    assert back.content == message.replace("\n", "\r\n").encode()


def test_a_large_message_behind_a_text_comes_back_whole() -> None:
    message = "Subject: Your order 77\n\n" + "0123456789\n" * 200_000
    back = failed(mail(f"{QMAIL}\n--- Below this line is a copy of the message.\n\n{message}")).returned
    assert back is not None
    assert back.content == message.replace("\n", "\r\n").encode()


# -- Texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sender", "kind"),
    [
        pytest.param(mail(QMAIL), "", Failed, id="165"),
        pytest.param(mail(QMAIL), "x@inbox.example", Failed, id="daemon-and-subject"),
        pytest.param(mail(QMAIL, HUMAN), "x@inbox.example", OtherMail, id="human"),
        pytest.param(mail(QMAIL, HUMAN), "", Failed, id="null-and-subject"),
        pytest.param(mail(QMAIL, HUMAN, "Hello"), "", AutomaticAnswer, id="null-alone"),
        pytest.param(mail("550 5.1.1 no such user", HUMAN, "Hello"), "", Failed, id="null-and-both-codes"),
        pytest.param(
            mail("Away.\n> 550 5.1.1 no such user", HUMAN, "Hello", "Auto-Submitted: auto-replied\n"),
            "",
            AutomaticAnswer,
            id="168-answer-that-quotes-both-codes",
        ),
        pytest.param(mail("I am in room 550.", HUMAN, "Hello"), "", AutomaticAnswer, id="null-and-a-number"),
        pytest.param(mail("On leave.", HUMAN, "Re: failure notice"), "", AutomaticAnswer, id="answer-to-a-failure"),
        pytest.param(mail("See 5.1.1.", HUMAN, "Re: failure notice"), "", AutomaticAnswer, id="answer-with-a-code"),
        pytest.param(mail("Nothing.", subject="Hello"), "", Failed, id="daemon-without-words"),
        pytest.param(mail("Nothing.", subject="Hello"), "x@inbox.example", OtherMail, id="no-null-no-subject"),
        pytest.param(mail("On its way.", subject="Delivery delayed"), "", News, id="161-subject"),
        pytest.param(mail("It will be retried. Message will be retried.", subject="x"), "", News, id="161-text"),
        pytest.param(mail("Was delayed. Permanent error.", subject="Delivery delayed"), "", Failed, id="given-up"),
        pytest.param(mail("It was successfully delivered.", subject="Delivery report"), "", News, id="delivered"),
        pytest.param(mail("x", HUMAN, "x", "X-Failed-Recipients: a@inbox.example\n"), "", Failed, id="exim"),
        pytest.param(
            mail("x", HUMAN, "x", "X-Failed-Recipients: a@inbox.example\n"), "x@inbox.example", OtherMail, id="no-exim"
        ),
    ],
)
def test_texts_are_told_apart(content: bytes, sender: str, kind: type[Arrival]) -> None:
    assert isinstance(read(content, sender), kind)


@pytest.mark.parametrize(
    ("extra", "sender", "found"),
    [
        ("Auto-Submitted: auto-replied\n", "real@inbox.example", AutomaticAnswer()),
        ("Auto-Submitted: no\n", "real@inbox.example", OtherMail()),
        ("X-Autoreply: yes\n", "real@inbox.example", AutomaticAnswer()),
        ("Precedence: auto_reply\n", "real@inbox.example", AutomaticAnswer()),
        ("Precedence: bulk\n", "real@inbox.example", OtherMail()),
        ("Precedence: bulk\n", "", AutomaticAnswer()),
        ("", "", AutomaticAnswer()),
        ("", "real@inbox.example", OtherMail()),
        (
            "Content-Type: multipart/report; report-type=disposition-notification\n",
            "real@inbox.example",
            AutomaticAnswer(),
        ),
    ],
)
def test_rows_168_and_169_answers_of_machines_are_known(extra: str, sender: str, found: Arrival) -> None:
    assert read(mail("I am away until 5.1.2027.", HUMAN, "Away", extra), sender) == found


@pytest.mark.parametrize(
    ("text", "status", "code", "host"),
    [
        ("<real@inbox.example>: host mx.inbox.example said: 550 5.1.1 no (RCPT)", "5.1.1", "550 5.1.1 no (RCPT)", True),
        ("real@inbox.example\n\n  550 no such\n  user here\n\nBye", "", "550 no such user here", False),
        ("real@inbox.example\nwhile talking to mx.inbox.example.:\n<<< 550 no", "", "550 no", True),
        ("To: real@inbox.example\n\nUnrouteable", "", "Unrouteable", False),
        ("'real@inbox.example'\n#552 5.2.2 full ##", "5.2.2", "552 5.2.2 full ##", False),
        ("real@inbox.example\n250 2.1.0 ok\n554 5.7.1 no", "5.7.1", "554 5.7.1 no", False),
        ("real@inbox.example\nwaited 400 seconds for port 550/tcp", "", "waited 400 seconds for port 550/tcp", False),
        ("550 5.2.1 closed\nreal@inbox.example", "5.2.1", "550 5.2.1 closed real@inbox.example", False),
    ],
)
def test_what_a_text_says_of_its_recipient(text: str, status: str, code: str, host: bool) -> None:
    [failure] = failed(mail(text)).failures
    assert (failure.recipient, failure.status, failure.code) == ("real@inbox.example", status, code)
    assert failure.remote_mta == ("mx.inbox.example" if host else "")


def test_codes_beyond_the_first_octets_do_not_count() -> None:
    assert failed(mail("word " * 3000 + "550 5.1.1 no")).failures[0].status == "5.1.1"
    assert failed(mail("word " * 4000 + "550 5.1.1 no")).failures[0].status == ""


def test_codes_in_the_returned_message_do_not_count() -> None:
    copy = "--- Below this line is a copy of the message.\n\nSubject: x\n\n550 5.1.1 no such user\n"
    [failure] = failed(mail(f"<real@inbox.example>:\nIt did not work.\n\n{copy}")).failures
    assert (failure.status, failure.code, failure.type) == ("", "It did not work.", BounceType.SOFT)


# -- flufl.bounce ----------------------------------------------------------------------------------------------------

# It knows this form, and nobody else does.
SMTP32 = "User mailbox exceeds allowed size: real@inbox.example other@inbox.example"
SMTP32_MAILER = "X-Mailer: <SMTP32 v20260106>\n"


def test_forms_of_old_are_left_to_the_library() -> None:
    [failure] = failed(mail(SMTP32, extra=SMTP32_MAILER)).failures
    assert failure.recipient == "real@inbox.example"


def test_the_library_gets_short_lines_of_a_short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Email] = []

    def ask(mail: Email) -> tuple[frozenset[bytes], frozenset[bytes]]:
        seen.append(mail)
        return frozenset(), frozenset()

    monkeypatch.setattr(prose, "all_failures", ask)
    failed(mail(("x " * 1000 + "\n") * 1000 + " " * 100_000, subject="y" * 10_000))
    [asked] = seen
    lines = asked.as_string().split("\n")
    assert sum(map(len, lines)) < 20_000
    assert max(map(len, lines)) <= 1100


@pytest.mark.parametrize(
    ("content", "sender"),
    [
        (parts(STATUS), ""),
        (mail(QMAIL), ""),
        (mail("I am away.", HUMAN, "Away"), ""),
        (mail("Hello", HUMAN, "failure notice"), "real@inbox.example"),
    ],
)
def test_the_library_is_slow_and_asked_last(content: bytes, sender: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(mail: Email) -> None:
        raise AssertionError("there was no need")

    monkeypatch.setattr(prose, "_guessed", ask)
    read(content, sender)


def test_trouble_in_the_library_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(mail: Email) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(prose, "all_failures", stumble)
    [failure] = failed(mail("real@inbox.example: 550 5.1.1 no")).failures
    assert (failure.recipient, failure.status) == ("real@inbox.example", "5.1.1")


def test_a_delay_that_only_the_library_knows_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prose, "all_failures", lambda mail: (frozenset([b"real@inbox.example"]), frozenset()))
    assert read(mail("Wait."), "") == News()


def test_parts_within_parts_are_not_held_all_at_once() -> None:
    """Twenty-nine levels around two megabytes were sixty megabytes before."""
    heads = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level) for level in range(29)
    )
    text = b"Content-Type: text/plain\r\n\r\nundeliverable: 550 5.1.1 no such user\r\n"
    content = b"From: mailer-daemon@shop.example\r\n" + heads + text + (b"x" * 70 + b"\r\n") * 30_000
    tracemalloc.start()
    try:
        assert isinstance(read(content, ""), Failed)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(content)
    finally:
        tracemalloc.stop()
