"""Patterns of owners, and where a bad one goes wrong."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.rules.pattern import BadPattern, compiled


def refused(pattern: str) -> tuple[str, int | None]:
    with pytest.raises(BadPattern) as raised:
        compiled(pattern, ignores_case=False)
    return str(raised.value), raised.value.position


@pytest.mark.parametrize(
    ("pattern", "reason", "position"),
    [
        ("(a", "missing )", 0),
        ("(a(b)(c", "missing )", 5),
        (r"a\((?i:b", "missing )", 3),
        (r"[(](", "missing )", 3),
        (r"[^](](", "missing )", 5),
        (r"\Q((\E(", "missing )", 6),
        ("a)b", "unexpected )", 1),
        (r"(a)[)]\))(", "unexpected )", 8),
        ("éé[a", "missing ]: [a", 2),
        ("ab[cd", "missing ]: [cd", 2),
        ("z-a[z-a]", "invalid character class range: z-a", 4),
        ("[[:foo:]]", "invalid character class range: [:foo:]", 1),
        (r"a\pX", r"invalid character class range: \pX", 1),
        (r"\\1\1", r"invalid escape sequence: \1", 3),
        (r"\Q\8\E\8", r"invalid escape sequence: \8", 6),
        ("a\\", "trailing \\", 1),
        (r"a\**b**", "bad repetition operator: **", 5),
        ("a*|*", "no argument for repetition operator: *", 3),
        (r"\{2000}a{2000}", "invalid repetition size: {2000}", 8),
        ("(((a{100}){100}))", "invalid repetition size: {100}", 10),
        ("a(?=b)", "invalid perl operator: (?=", 1),
        ("a(?<!b)", "invalid perl operator: (?<!", 1),
        ("x" * 201, "a pattern has at most 200 characters", 200),
        (r"(?:\pL{0,100}){0,10}", "pattern too large - compile failed", None),
        ("\ud800", "half of a surrogate pair", None),
    ],
)
def test_a_bad_pattern_is_told_with_its_place(pattern: str, reason: str, position: int | None) -> None:
    assert refused(pattern) == (reason, position)


@given(st.text(r"()[]{}\*+?|^$.,-:=!<>PQEip019aé", max_size=30))
def test_any_pattern_is_compiled_or_refused(pattern: str) -> None:
    position: int | None = 0
    try:
        compiled(pattern, ignores_case=True).search("any text é".encode())
    except BadPattern as error:
        position = error.position
    assert position is None or 0 <= position <= len(pattern)


def test_refusing_is_quick_however_often_the_fragment_stands_there() -> None:
    begun = time.process_time()
    assert refused(r"\Q" + "{1001}" * 31 + r"\Ea{1001}")[1] == 191
    assert time.process_time() - begun < 0.5
