"""Which mode a copy gets, and what receivers' answers mean for the next one."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core.facts import Account, AccountId, Facts, ForwardMode, Parent, ParentId, ParentKind
from mailrelay.core.header import MAX_FIELDS, split
from mailrelay.core.mode import (
    SINGLE,
    Changes,
    Choice,
    Evidence,
    Why,
    choose,
    configured,
    has_long_lines,
    is_smtputf8_refusal,
    is_sound,
)
from tests.unit.test_judge import alias as make_alias

NOW = datetime(2026, 1, 6, 9, 0, tzinfo=UTC)
# p=reject, and a signature that lasts.
FINE = Evidence(
    changes=Changes(),
    reply_via_alias=False,
    signature_lasts=True,
    enforced=True,
    passed=True,
    long_lines=False,
    sound_header=True,
    rewrites_only=False,
)
UNSIGNED = replace(FINE, signature_lasts=False)


@pytest.mark.parametrize("setting", ["auto", "transparent"])
def test_row_88_what_passes_every_test_is_left_alone(setting: ForwardMode) -> None:
    assert choose(setting, FINE) == Choice("transparent", ())


def test_row_89_transparent_is_not_for_domains_that_forbid_it() -> None:
    choice = choose("transparent", UNSIGNED)
    assert (choice.mode, choice.reason) == ("rewrite", "dmarc")


def test_row_89_that_reason_goes_before_others() -> None:
    choice = choose("transparent", replace(UNSIGNED, reply_via_alias=True, sound_header=False))
    assert choice.reason == "dmarc"
    assert set(choice.reasons) == {Why.DMARC, Why.REPLIES, Why.HEADER}


@pytest.mark.parametrize("change", Changes.__dataclass_fields__)
def test_row_90_whatever_changes_the_message_needs_rewriting(change: str) -> None:
    choice = choose("auto", replace(FINE, changes=Changes(**{change: True})))
    assert (choice.mode, choice.reason) == ("rewrite", "changes")


@pytest.mark.parametrize("setting", ["auto", "transparent"])
@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        pytest.param(replace(FINE, reply_via_alias=True), "replies", id="answers-go-through-the-alias"),
        pytest.param(UNSIGNED, "dmarc", id="enforced-without-signature"),
        pytest.param(replace(UNSIGNED, enforced=False, passed=False), "dmarc", id="nothing-passed"),
        pytest.param(replace(FINE, long_lines=True), "long-lines", id="signature-over-long-lines"),
        pytest.param(replace(FINE, sound_header=False), "header", id="broken-header"),
        pytest.param(replace(FINE, rewrites_only=True), "receiver", id="marked-receiver"),
    ],
)
def test_each_test_alone_sends_to_rewrite(setting: ForwardMode, evidence: Evidence, reason: str) -> None:
    choice = choose(setting, evidence)
    assert (choice.mode, choice.reason) == ("rewrite", reason)


@pytest.mark.parametrize("long_lines", [False, True])
def test_without_a_policy_any_pass_will_do_and_long_lines_break_no_signature(long_lines: bool) -> None:
    evidence = replace(UNSIGNED, enforced=False, long_lines=long_lines)
    assert choose("auto", evidence).mode == "transparent"


def test_the_setting_rewrite_asks_nothing_and_gives_no_reason() -> None:
    assert choose("rewrite", FINE) == Choice("rewrite", (Why.SETTING,))
    assert choose("rewrite", FINE).reason == choose("auto", FINE).reason == ""


def account(mode: ForwardMode | None) -> Account:
    return Account(AccountId(1), "active", "discard", mode, None, None, None, NOW)


def parent(mode: ForwardMode | None, kind: ParentKind = ParentKind.USERNAME) -> Parent:
    return Parent(kind, ParentId(1), True, False, True, None, None, mode)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(), "rewrite"),
        (Facts(account("auto")), "auto"),
        (Facts(account("auto"), None, parent("transparent")), "transparent"),
        (Facts(account("auto"), make_alias(forward_mode="rewrite"), parent("transparent")), "rewrite"),
        (Facts(account("auto"), make_alias(), parent(None)), "auto"),
        (Facts(account(None), make_alias(), parent(None)), "rewrite"),
        (Facts(account(None), make_alias(), parent(None, ParentKind.HANDLE)), "auto"),
        (Facts(account("rewrite"), None, parent(None, ParentKind.HANDLE)), "rewrite"),
    ],
)
def test_the_nearest_setting_counts(facts: Facts, expected: ForwardMode) -> None:
    assert configured(facts) == expected


def test_the_installation_decides_for_aliases_not_for_handles() -> None:
    assert configured(Facts(account(None)), "transparent") == "transparent"
    assert configured(Facts(account(None), None, parent(None, ParentKind.HANDLE)), "transparent") == "auto"


HEADER = b"From: a@x.example\r\nDate: Tue, 6 Jan 2026 09:00:00 +0000\r\nMessage-ID: <1@x.example>\r\n"


def test_a_sound_header() -> None:
    assert is_sound(split(HEADER + b"\r\nFrom: body\r\n"))
    assert is_sound(split(b"From u@x.example Tue Jan 6\r\n" + HEADER + b"X: %b\r\n\r\n" % (b"x" * 5000)))


@pytest.mark.parametrize("name", [b"From", b"Date", b"Message-ID"])
def test_what_must_be_there_once_in_short_lines(name: bytes) -> None:
    start = HEADER.index(name + b":")
    field = HEADER[start : HEADER.index(b"\r\n", start) + 2]
    assert not is_sound(split(HEADER.replace(field, b"")))
    assert not is_sound(split(HEADER.replace(field, name + b": \r\n")))
    assert not is_sound(split(HEADER + field))
    assert not is_sound(split(HEADER.replace(field, name + b": " + b"x" * 998 + b"\r\n")))


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_nothing_is_double_that_rewriting_would_make_single(name: bytes) -> None:
    field = b"%b: x\r\n" % name
    assert not is_sound(split(HEADER + field + field.upper()))


def test_a_header_that_is_too_long_to_be_read_is_unsound() -> None:
    assert is_sound(split(HEADER + b"a:\r\n" * (MAX_FIELDS - 3) + b"\r\n"))
    assert not is_sound(split(HEADER + b"a:\r\n" * (MAX_FIELDS - 2) + b"\r\n"))


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b""])
@pytest.mark.parametrize("before", [b"", b"short\r\n", b"x" * 990 + b"\r\n"])
def test_lines_are_long_from_991_octets(before: bytes, end: bytes) -> None:
    assert not has_long_lines(before + b"x" * 990 + end + b"y" * 990 + end if end else before + b"x" * 990)
    assert has_long_lines(before + b"x" * 991 + end + b"y\r\n" * 500)


@settings(max_examples=300)
@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"xx", b"x", b"xxxx"]), max_size=40).map(b"".join))
def test_long_lines_are_found_wherever_they_are(content: bytes) -> None:
    lines = [re.sub(rb"\r\Z", b"", line) for line in content.split(b"\n")[:-1]] + [content.split(b"\n")[-1]]
    assert has_long_lines(content, 5) is any(len(line) > 5 for line in lines)


def test_who_takes_no_smtputf8_gets_a_rewritten_copy() -> None:
    assert is_smtputf8_refusal("5.6.7", "")
    assert is_smtputf8_refusal("", "553 5.6.7 SMTPUTF8 is required")
    assert not is_smtputf8_refusal("5.6.0", "SMTPUTF8")


@settings(max_examples=200)
@given(st.text(max_size=20), st.text(alphabet="5.67 -", max_size=300))
def test_no_answer_raises(status: str, text: str) -> None:
    is_smtputf8_refusal(status, text)
