"""What excludes what in a recipient's encryption, and when its owner hears of a key."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.certificate import Certificate, Unusable
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.notices import Code
from mailrelay.core.noticetext import Told, fill
from mailrelay.core.recipientkeys import (
    Checked,
    Encryption,
    Form,
    InlineChosen,
    NoKey,
    StoredKey,
    SubjectHidden,
    Switch,
    checked,
    formed,
    names_mailbox,
    switched,
)
from mailrelay.notices import load

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
BARE = Encryption(has_key=False)
KEYED = Encryption(has_key=True)


def certificate(expires: datetime | None = None, *user_ids: str, fingerprint: str = FINGERPRINT) -> Certificate:
    return Certificate(fingerprint, 4, "Ed25519", user_ids, NOW - 400 * DAY, expires, 1, b"key")


def stored(expires: datetime | None = None, checked_at: datetime | None = NOW - DAY) -> StoredKey:
    return StoredKey(RecipientId(3), AccountId(1), "me@inbox.example", True, FINGERPRINT, b"key", expires, checked_at)


def test_without_a_key_nothing_can_be_switched_on_and_everything_off() -> None:
    texts = []
    for switch in Switch:
        with pytest.raises(NoKey) as caught:
            switched(BARE, switch, True)
        texts.append(str(caught.value))
        assert switched(BARE, switch, False) == BARE
    assert texts == [
        "You need to add a public key to this recipient before you can enable encryption",
        "You need to add a public key to this recipient before you can enable inline encryption",
        "You need to add a public key to this recipient before you can enable protected headers (hide subject)",
    ]


def test_inline_and_a_hidden_subject_exclude_each_other() -> None:
    inline = switched(KEYED, Switch.INLINE, True)
    hidden = switched(KEYED, Switch.HIDE_SUBJECT, True)
    with pytest.raises(InlineChosen, match=r"^You need to disable inline encryption before you can enable protected"):
        switched(inline, Switch.HIDE_SUBJECT, True)
    with pytest.raises(SubjectHidden, match=r"^You need to disable protected headers \(hide subject\) before you can "):
        switched(hidden, Switch.INLINE, True)
    assert switched(hidden, Switch.INLINE, False) == hidden


@pytest.mark.parametrize("switch", list(Switch))
def test_a_switch_leaves_the_others_alone(switch: Switch) -> None:
    on = switched(KEYED, switch, True)
    assert on == replace(KEYED, **{switch.value: True})
    assert switched(on, switch, False) == KEYED


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("on", Encryption(True, True, False, False)),
        ("inline", Encryption(True, True, True, False)),
        ("hide-subject", Encryption(True, True, False, True)),
        ("off", Encryption(True, False, True, False)),
    ],
)
def test_a_form_is_all_of_it_at_once_and_off_keeps_it(form: Form, wanted: Encryption) -> None:
    assert formed(Encryption(True, True, inline_encryption=True), form) == wanted


def test_no_form_but_off_is_without_a_key() -> None:
    assert formed(BARE, "off") == BARE
    for form in ("on", "inline", "hide-subject"):
        with pytest.raises(NoKey):
            formed(BARE, form)


def days_told(expires: datetime, first: datetime, last: datetime, step: timedelta) -> list[object]:
    """What a key's owner hears while it is looked at again and again."""
    told: list[object] = []
    key, at = stored(expires, first), first
    while at < last:
        at += step
        found = certificate(expires) if at < expires else Unusable.EXPIRED
        result = checked(key, found, at)
        if result.notice is not None:
            data = result.notice.data
            told.append(data.get("days") or data.get("problem"))
        key = replace(key, expires_at=result.expires_at, checked_at=at)
    return told


@pytest.mark.parametrize("hours", [1, 23, 24, 25])
def test_an_owner_hears_30_7_and_1_day_before_and_when_it_is_over_once_each(hours: int) -> None:
    end = NOW + 60 * DAY
    assert days_told(end, NOW, end + 30 * DAY, timedelta(hours=hours)) == [30, 7, 1, "key_expired"]


def test_after_a_long_sleep_only_the_latest_is_told() -> None:
    end = NOW + 60 * DAY
    assert days_told(end, NOW, end - 5 * DAY, 55 * DAY) == [7]
    assert days_told(end, NOW, end + 5 * DAY, 65 * DAY) == ["key_expired"]


def test_a_key_that_was_given_shortly_before_its_end_is_not_warned_of_at_once() -> None:
    end = NOW + 5 * DAY
    assert days_told(end, NOW, NOW + 3 * DAY, DAY) == []
    assert days_told(end, NOW, end, DAY) == [1, "key_expired"]


def test_a_key_that_was_never_looked_at_is_warned_of_at_once() -> None:
    result = checked(stored(NOW + 5 * DAY, None), certificate(NOW + 5 * DAY), NOW)
    assert result.notice is not None and result.notice.data["days"] == 7
    over = checked(stored(NOW - 5 * DAY, None), Unusable.EXPIRED, NOW)
    assert over.notice is not None and over.expires_at == NOW - 5 * DAY


def test_the_notice_says_what_the_catalogue_knows() -> None:
    result = checked(stored(), certificate(NOW + 29.5 * DAY), NOW)
    assert result.notice is not None
    assert (result.notice.code, result.notice.account_id, result.notice.recipient_id) == (Code.GKE, 1, 3)
    assert result.notice.data == {
        "recipient": "me@inbox.example",
        "fingerprint": FINGERPRINT,
        "days": 30,
        "expires": "2026-12-21T00:00:00+00:00",
    }


@pytest.mark.parametrize("reason", [Unusable.REVOKED, Unusable.WEAK_ALGORITHM, Unusable.BROKEN])
def test_a_key_that_went_bad_otherwise_has_ended_now_and_is_told_of_once(reason: Unusable) -> None:
    first = checked(stored(None), reason, NOW)
    assert first.expires_at == NOW
    assert first.notice is not None and first.notice.data["problem"] == f"key_{reason.value}"
    assert "expires" not in first.notice.data
    assert checked(stored(NOW, NOW), reason, NOW + DAY) == Checked(NOW, None)


def test_a_key_that_turns_out_to_be_another_is_broken() -> None:
    result = checked(stored(), certificate(fingerprint="F" * 40), NOW)
    assert result.notice is not None and result.notice.data["problem"] == "key_broken"


def test_a_key_that_can_be_used_again_is_as_new() -> None:
    assert checked(stored(NOW - 9 * DAY), certificate(None), NOW) == Checked(None, None)


def test_nobody_hears_of_a_key_that_is_not_used() -> None:
    unused = replace(stored(NOW - DAY / 2), should_encrypt=False)
    assert checked(unused, Unusable.EXPIRED, NOW) == Checked(NOW - DAY / 2, None)


@pytest.mark.parametrize(
    ("user_id", "named"),
    [
        ("Me <me@inbox.example>", True),
        ("ME@INBOX.EXAMPLE", True),
        ("Me (work) <Me@Inbox.Example> ", True),
        ("me@inbox.example <you@inbox.example>", False),
        ("Me", False),
        ("<me@inbox.example", True),
        ("", False),
    ],
)
def test_a_user_id_names_the_mailbox_by_its_address(user_id: str, named: bool) -> None:
    assert names_mailbox(certificate(None, "Other <x@inbox.example>", user_id), "me@Inbox.example") is named


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("reason", list(Unusable))
def test_every_reason_has_words_in_either_language(language: str, reason: Unusable) -> None:
    catalogue, problem = load(language), f"key_{reason.value}"
    text = " ".join(fill(catalogue, Told("GKE", {"recipient": "me@inbox.example", "problem": problem})).paragraphs)
    assert catalogue.reasons[problem] in text
    assert "key_" not in text
