"""Replies: fixed codes, the operator's texts."""

import pytest

from mailrelay.core.reply import ACCEPTED, DEFAULT_TEXTS, Replies, Reply

# Spec section 2.5. QUOTA has two codes, NOTREADY ends as NEVERREADY after 72 hours (row 18).
SPECIFIED = {
    "SYNTAX": "501 5.1.3 Bad recipient address syntax",
    "LONG": "550 5.1.3 Recipient address too long",
    "NONASCII": "553 5.6.7 Non-ASCII local part not available at this domain",
    "UNKNOWN": "550 5.1.1 Address does not exist",
    "BUSY": "450 4.2.1 Address is not accepting mail now",
    "SUSPENDED": "550 5.2.1 Account is suspended",
    "NOTREADY": "450 4.2.1 Address is not ready to receive mail",
    "QUOTA_LATER": "452 4.2.2 Recipient is over quota",
    "QUOTA": "552 5.2.2 Recipient is over quota",
    "RATE": "450 4.2.1 Recipient is receiving mail too fast, try later",
    "NEWALIAS": "450 4.2.1 Too many new addresses, try later",
    "SRSFORGED": "550 5.7.1 Forged or expired return path",
    "LOCALSPOOF": "550 5.7.1 Sender address may not be used from outside",
    "NULLMULTI": "452 4.5.3 One recipient at a time for the null sender",
    "LOOP": "554 5.4.6 Routing loop detected",
    "HEADER": "552 5.3.4 Message header has too many fields",
    "UNCHECKED": "451 4.3.5 Message has not been checked, try again",
    "BADFROM": "550 5.6.0 A single valid From address is required",
    "SPAM": "550 5.7.1 Message content rejected",
    "AUTHLATER": "451 4.7.0 Sender could not be authenticated now, try again",
    "SENDOFF": "550 5.7.1 Replying from this address is switched off",
    "SENDLIMIT": "550 5.7.1 Sending limit reached",
    "SENDLIMIT_LATER": "450 4.7.1 Sending limit reached",
    "BADCONTACT": "550 5.1.2 Contact cannot receive mail",
    "NOCONTACT": "550 5.7.1 Mail to this contact is not accepted",
    "TEMP": "451 4.3.0 Temporary failure, try again",
}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "Mail to this contact is not accepted"),
        (
            "smtp; 550 5.1.1 no\r\n250 such\0 user\u00e9",
            "Mail to this contact is not accepted: 550 5.1.1 no 250 such user",
        ),
        ("x" * 999, f"Mail to this contact is not accepted: {'x' * 300}"),
    ],
)
def test_what_another_server_said_stays_within_its_line(words: str, text: str) -> None:
    assert str(Replies().because("NOCONTACT", words)) == f"550 5.7.1 {text}"


@pytest.mark.parametrize("key", SPECIFIED)
def test_the_replies_are_those_of_the_specification(key: str) -> None:
    assert str(Replies()[key]) == SPECIFIED[key]


def test_replies_that_name_something() -> None:
    assert str(Replies().banned(17)) == "554 5.7.1 Not accepted here (ref 17)"
    assert str(Replies().too_large(26214400)) == "552 5.3.4 Message is larger than 26214400 bytes"
    assert str(Replies().not_authenticated("spf=fail")) == "550 5.7.1 Sender could not be authenticated: spf=fail"
    assert str(Replies().dmarc("shop.example")) == "550 5.7.26 Rejected by the DMARC policy of shop.example"


@pytest.mark.parametrize("key", DEFAULT_TEXTS)
def test_only_the_text_can_be_changed(key: str) -> None:
    ours, theirs = Replies()[key], Replies({key: "No."})[key]
    assert (theirs.code, theirs.enhanced, theirs.text) == (ours.code, ours.enhanced, "No.")
    others = [other for other in DEFAULT_TEXTS if other != key]
    assert all(Replies({key: "No."})[other] == Replies()[other] for other in others)


def test_an_operators_text_need_not_name_the_limit() -> None:
    assert Replies({"SIZE": "Too big"}).too_large(1).text == "Too big"
    assert Replies({"BANNED": "Go away"}).banned(3).text == "Go away (ref 3)"


def test_codes_that_disagree_are_refused() -> None:
    for code, enhanced in [(250, "5.0.0"), (450, "5.2.1"), (550, "4.2.1"), (550, "")]:
        with pytest.raises(ValueError, match="disagree"):
            Reply(code, enhanced, "x")


def test_4xx_is_temporary() -> None:
    assert Replies()["TEMP"].temporary
    assert not Replies()["UNKNOWN"].temporary
    assert not ACCEPTED.temporary
