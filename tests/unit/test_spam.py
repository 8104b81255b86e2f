"""Scores in the words of spam filters."""

import pytest

from mailrelay.core.spam import Thresholds, read_score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("8.1", 8.1),
        (" -3", -3.0),
        ("0.00", 0.0),
        ("Yes, score=8.1 required=5.0 tests=BAYES_99", 8.1),
        ("No, hits=-1.9 required=5", -1.9),
        ("default: False [3.20 / 15.00]; MIME_GOOD(-0.10)[text/plain]", 3.2),
        ("default: True [-1 / 15.00]", -1.0),
        ("12.5 / 15.0", 12.5),
        ("", None),
        ("Yes", None),
        ("NaN", None),
        ("score=inf", None),
        ("1" * 400, None),
        ("1.2.3", None),
        ("12a", None),
        ("٣", None),
    ],
)
def test_the_score_is_found_in(text: str, score: float | None) -> None:
    assert read_score(text) == score


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(None, "none"), (5.9, "none"), (6.0, "tag"), (14.9, "tag"), (15.0, "reject"), (99.0, "reject"), (-5.0, "none")],
)
def test_thresholds_are_reached_on_the_dot(score: float | None, verdict: str) -> None:
    assert Thresholds(tag=6, reject=15).verdict(score) == verdict


def test_without_a_mark_between_there_is_only_refusal() -> None:
    assert Thresholds(tag=5, reject=5).verdict(5.0) == "reject"
