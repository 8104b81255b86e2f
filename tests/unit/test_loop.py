"""The marks of section 9.2 and when they mean a loop."""

from uuid import UUID

import pytest

from mailrelay.core.loop import is_loop, mark

KEY = bytes(range(32))
ALIAS = UUID("50c9e585-e7f5-41c4-9016-9014c15454bc")
OTHER = UUID("50c9e585-e7f5-41c4-9016-9014c15454bd")
MARK = b"v1; 10c03825a25dd8168c86"
FOREIGN = mark(OTHER, KEY).encode()


def test_vector_of_the_specification() -> None:
    assert mark(ALIAS, KEY).encode() == MARK


@pytest.mark.parametrize("values", [[MARK], [FOREIGN, MARK], [b" V1; 10C03825A25DD8168C86\t"]])
def test_our_own_mark_is_a_loop(values: list[bytes]) -> None:
    assert is_loop(values, ALIAS, [KEY])


@pytest.mark.parametrize("values", [[], [FOREIGN], [FOREIGN] * 5, [b"v1; 10c03825a25dd8168c8"], [b"\xff"]])
def test_a_few_marks_of_others_are_no_loop(values: list[bytes]) -> None:
    assert not is_loop(values, ALIAS, [KEY])


def test_more_than_five_marks_are_a_loop_whoever_made_them() -> None:
    assert is_loop([FOREIGN] * 6, ALIAS, [KEY])


def test_a_mark_made_with_the_previous_key_counts() -> None:
    assert is_loop([MARK], ALIAS, [bytes(32), KEY])
    assert not is_loop([MARK], ALIAS, [bytes(32)])
