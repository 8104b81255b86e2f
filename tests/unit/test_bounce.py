"""Why mail failed, by the table of spec section 7.4, and which failure counts for a copy (rows 162 to 164)."""

import time

import pytest

from mailrelay.core.bounce import BounceType, about, classify, enhanced_code, failure

HARD, SOFT, SPAM = BounceType.HARD, BounceType.SOFT, BounceType.SPAM
SPAM_WORDS = (
    "spam",
    "unsolicited",
    "bulk",
    "blocklisted",
    "blacklist",
    "spamhaus",
    "reputation",
    "phishing",
    "virus",
    "[CS01]",
)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        pytest.param("4.4.7", "smtp; 550 5.1.1 user unknown", SOFT, id="162-4.4.7"),
        pytest.param("4.2.2", "", SOFT, id="1-class-4"),
        pytest.param("5.0.0", "smtp; 450 try again", SOFT, id="1-reply-4xx"),
        pytest.param("", "451 4.7.1 greylisted", SOFT, id="1-reply-only"),
        pytest.param("5.1.1", "smtp;421 4.3.2 closing", SOFT, id="1-before-2"),
        *(
            pytest.param(status, "smtp; 550 spam", HARD, id=f"2-{status}")
            for status in ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.4.4")
        ),
        pytest.param("", "550 5.1.1 this is spam", HARD, id="2-code-of-the-text"),
        pytest.param("5.0.0", "smtp; 550 5.1.1 this is spam", HARD, id="2-code-of-the-text-is-more-exact"),
        pytest.param("5.7.1", "554 5.7.1 this looks like Spam to us", SPAM, id="163-spam"),
        pytest.param("5.0.0", "554 5.0.0 transaction failed", HARD, id="163-554-alone"),
        *(
            pytest.param(status, "554 unsolicited mail", SPAM, id=f"3-{status or 'none'}")
            for status in ("5.7.0", "5.7.350", "5.6.0", "5.3.0", "5.0.0", "5.5.4", "")
        ),
        *(pytest.param("5.7.1", f"554 no {word.upper()} here", SPAM, id=f"3-{word}") for word in SPAM_WORDS),
        *(
            pytest.param("5.7.1", f"554 {words}", SPAM, id=f"3-{words}")
            for words in (
                "blocked using bl.lists.example",
                "content rejected",
                "Content  denied",
                "not accepted for policy reasons",
                "violates local policy",
                "a security issue",
            )
        ),
        pytest.param("5.4.1", "550 5.4.1 spam", HARD, id="3-not-this-status"),
        pytest.param("5.7.1", "550 antispam said no", HARD, id="3-not-within-a-word"),
        pytest.param("5.7.1", "550 <spam@inbox.example>: relay denied", HARD, id="3-not-in-an-address"),
        pytest.param("5.7.1", "550 bulk.mail@inbox.example: relay denied", HARD, id="3-not-in-a-bare-address"),
        pytest.param("5.7.1", "550 address rejected as spam", SPAM, id="3-before-4"),
        *(
            pytest.param("5.2.2", f"552 {names} {state}", HARD, id=f"4-{names}-{state}")
            for names in ("Address", "user", "MAILBOX", "recipient", "account")
            for state in ("unknown", "not found")
        ),
        *(
            pytest.param("5.2.2", f"552 {state}: mailbox", HARD, id=f"4-{state}-mailbox")
            for state in ["no such", "does not exist", "disabled", "inactive", "invalid", "unavailable", "rejected"]
        ),
        pytest.param("5.2.2", "552 mailbox\n552 unknown", SOFT, id="4-same-line-only"),
        pytest.param("5.2.2", "552 <user@inbox.example> rejected", SOFT, id="4-not-in-an-address"),
        pytest.param("5.2.2", "550 5.2.2 mailbox full", SOFT, id="164"),
        pytest.param("5.2.3", "552 too long", SOFT, id="5-5.2.3"),
        pytest.param("5.3.4", "552 too big", SOFT, id="5-5.3.4"),
        pytest.param("5.7.26", "550 who are you", SPAM, id="6-5.7.26"),
        pytest.param("5.7.515", "550 who are you", SPAM, id="6-5.7.515"),
        pytest.param("5.7.1", "550 fails DMARC", SPAM, id="6-5.7.1-dmarc"),
        pytest.param("5.7.1", "550 SPF check did not pass", SPAM, id="6-5.7.1-spf"),
        pytest.param("5.7.1", "550 relay access denied", HARD, id="7-5.7.1-without-a-word"),
        pytest.param("5.9.9", "", HARD, id="7-class-5"),
        pytest.param("", "550 go away", HARD, id="7-reply"),
        pytest.param("", "", SOFT, id="8-nothing"),
        pytest.param("", "Пользователь не найден", SOFT, id="8-foreign"),
        pytest.param("2.0.0", "", SOFT, id="8-success"),
    ],
)
def test_the_first_row_that_fits_decides(status: str, code: str, kind: BounceType) -> None:
    assert classify(status, code) is kind


@pytest.mark.parametrize(
    ("status", "code", "authentication"),
    [
        ("5.7.26", "smtp; 550-5.7.26 unauthenticated", True),
        ("5.7.1", "smtp; 550 5.7.26 see the policy on bulk mail", True),
        ("5.7.1", "smtp; 550 5.7.1 no DKIM signature", True),
        ("5.7.1", "smtp; 550 5.7.1 spam", False),
        ("5.7.1", "smtp; 550 <dkim@inbox.example> spam", False),
        ("4.7.26", "smtp; 421 4.7.26 unauthenticated", False),
        ("5.1.1", "smtp; 550 5.7.26 unauthenticated", False),
    ],
)
def test_a_refusal_for_authentication_is_marked(status: str, code: str, authentication: bool) -> None:
    assert failure(status, code).authentication is authentication


@pytest.mark.parametrize(
    ("status", "code", "exact"),
    [
        ("5.0.0", "smtp; 550 5.1.1 no such user", "5.1.1"),
        ("", "550 #5.2.1 mailbox disabled", "5.2.1"),
        ("5.3.0", "smtp; 550 5.1.1 no such user", "5.3.0"),
        ("4.4.7", "smtp; 550 5.1.1 no such user", "4.4.7"),
        ("5.0.0", "smtp; 550 no such user", "5.0.0"),
        ("", "host 192.0.2.5 runs Exim 4.96.1, 5.1.1.4", ""),
    ],
)
def test_a_vague_status_gives_way_to_the_receivers_own(status: str, code: str, exact: str) -> None:
    assert failure(status, code).status == exact


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("550-5.7.26 no", "5.7.26"),
        ("(#5.1.1)", "5.1.1"),
        ("status=5.1.1, ok", "5.1.1"),
        ("Sorry. 5.4.4.", "5.4.4"),
        ("250 2.1.0 ok, then 550 5.1.1 no", "5.1.1"),
        ("Postfix/3.7.11 Exim v4.96.1 5.0.2195.1 192.5.1.1", ""),
        ("5.1.1234", ""),
    ],
)
def test_codes_are_told_from_versions_and_addresses(text: str, code: str) -> None:
    assert enhanced_code(text) == code


def test_the_failure_of_the_recipient_counts_for_its_copy() -> None:
    first, second = failure("5.1.1", "", "", "team@list.example"), failure("5.2.2", "", "", "Real@inbox.example")
    assert about([first, second], "real@inbox.example") is second
    assert about([first, second], "else@inbox.example") is first


@pytest.mark.parametrize("piece", ["a@", "<", "<a@", "a.b+c", "a ", " ", ":", "user ", "5.", "550 "])
def test_long_texts_cost_little(piece: str) -> None:
    begin = time.process_time()
    failure("5.7.1", piece * (1_000_000 // len(piece)))
    assert time.process_time() - begin < 1
