"""Proposed domains: what DNS has to say, what is shown and kept of it (haltman-api.md sections 7.2 and 7.4)."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailrelay.core.domaincheck import best
from mailrelay.core.lookup import ABSENT, Answer, Mx, Question
from mailrelay.core.naming import ServiceNames
from mailrelay.core.onboarding import Look, Request, Wanted, entries, examine_mail, hindrance, mail_questions, overall
from mailrelay.core.webcheck import Hosting

SERVICE = ServiceNames("relay.example", "bounces.relay.example", "srs.relay.example", "mx.relay.example")
WANTED = Wanted(SERVICE, Hosting("www.relay.example"))
NAME = "part.example"
OURS = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
OTHER = b"v=DKIM1; k=ed25519; p=O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik="
AT = f"mr1._domainkey.{NAME}"
NAMED = "mr1._domainkey.relay.example"
NOW = datetime(2026, 1, 30, 8, tzinfo=UTC)
RIGHT: dict[Question, Answer | None] = {
    **dict.fromkeys(mail_questions(NAME, WANTED), Answer()),
    (NAME, "MX"): Answer((Mx(10, "mx.relay.example"),)),
    (NAME, "TXT"): Answer((b"V=SPF1  a:mx.relay.example   -all",)),
    (f"_dmarc.{NAME}", "TXT"): Answer((b"v=DMARC1; p=reject; rua=mailto:x@part.example",)),
    (AT, "CNAME"): Answer((NAMED,)),
    (AT, "TXT"): Answer((OURS,)),
    (NAMED, "TXT"): Answer((OURS,)),
}


def looked(**changes: Any) -> dict[str, str]:
    """States by key. mx, spf, dmarc, alias, key, ours: other answers."""
    places: dict[str, Question] = {
        "mx": (NAME, "MX"),
        "spf": (NAME, "TXT"),
        "dmarc": (f"_dmarc.{NAME}", "TXT"),
        "alias": (AT, "CNAME"),
        "key": (AT, "TXT"),
        "ours": (NAMED, "TXT"),
    }
    answers = RIGHT | {places[name]: answer for name, answer in changes.items()}
    return {found.key: found.state for found in examine_mail(NAME, WANTED, answers).findings}


def test_a_domain_is_right_when_its_four_records_are() -> None:
    assert looked() == dict.fromkeys(("MX", "SPF", "DMARC", "DKIM"), "right")
    assert examine_mail(NAME, WANTED, RIGHT).complete is True


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"alias": Answer(), "key": Answer((OURS,))}, "right"),  # published once more, or a CNAME that was flattened
        ({"alias": Answer(("other.example",)), "key": Answer((OTHER,))}, "wrong"),
        ({"alias": Answer(), "key": Answer((OTHER,))}, "wrong"),
        ({"alias": Answer(), "key": Answer((b"v=spf1",))}, "wrong"),
        ({"alias": Answer(), "key": Answer((OURS, OTHER))}, "wrong"),
        ({"alias": ABSENT, "key": ABSENT}, "missing"),
        ({"alias": None, "key": None}, "unknown"),
        ({"alias": Answer(), "key": None}, "unknown"),
        ({"alias": None, "key": Answer((OURS,))}, "right"),
        ({"alias": None, "key": Answer((OTHER,)), "ours": None}, "unknown"),
        ({"ours": None}, "right"),
    ],
)
def test_the_key_of_the_service_is_named_or_published(changes: dict[str, Any], state: str) -> None:
    assert looked(**changes)["DKIM"] == state


def test_silence_gives_no_verdict_and_one_resolver_never_counts_against_a_domain() -> None:
    silent = examine_mail(NAME, WANTED, dict.fromkeys(RIGHT))
    never = examine_mail(NAME, WANTED, dict.fromkeys(RIGHT, ABSENT))
    assert (silent.complete, never.complete) == (None, False)
    assert best([silent, never, examine_mail(NAME, WANTED, RIGHT)]).complete is True


def test_many_records_are_cut_and_say_so() -> None:
    many = Answer(tuple(Mx(10 + number, f"mx{number}.example") for number in range(30)))
    report = examine_mail(NAME, WANTED, RIGHT | {(NAME, "MX"): many})
    mx = entries(report)[0]
    assert (len(mx["found"]), mx["found_truncated"]) == (20, True)
    long = examine_mail(NAME, WANTED, RIGHT | {(NAME, "TXT"): Answer((b"v=spf1 " + b"x" * 600,))})
    spf = entries(long)[1]
    assert (len(spf["found"][0]), spf["found_truncated"]) == (512, True)
    exact = examine_mail(NAME, WANTED, RIGHT | {(NAME, "TXT"): Answer((b"v=spf1 " + b"x" * 505,))})
    assert entries(exact)[1]["found_truncated"] is False


def test_what_is_kept_is_small() -> None:
    texts = Answer(tuple(b"v=spf1 " + bytes([0xFF]) * 600 for _ in range(40)))
    report = examine_mail(NAME, WANTED, RIGHT | {(NAME, "TXT"): texts})
    kept = Look(report, [(9, 9), (9, 0)]).result(NOW, NOW + timedelta(minutes=1))
    assert len(json.dumps(kept)) <= 20_000
    assert (kept["truncated"], len(kept["missing"][1]["found"])) == (True, 3)
    small = Look(examine_mail(NAME, WANTED, RIGHT), [(9, 9)]).result(NOW, NOW + timedelta(minutes=1))
    assert (small["ok"], small["checked_at"], small["next_check_at"]) == (
        True,
        "2026-01-30T08:00:00.000Z",
        "2026-01-30T08:01:00.000Z",
    )
    assert small["dns_snapshot"]["resolvers"] == [{"resolver": 1, "questions": 9, "answers": 9}]
    assert "truncated" not in small


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("relay.example", "service itself"),
        ("sub.srs.relay.example", "service itself"),
        ("localhost", "no mail domain"),
        ("part.example1", "no mail domain"),
        ("relay.example.part.example", ""),
        (NAME, ""),
    ],
)
def test_what_can_be_no_shared_domain(target: str, words: str) -> None:
    assert (words in hindrance(target, SERVICE)) and bool(words) == bool(hindrance(target, SERVICE))


@pytest.mark.parametrize(
    ("status", "next_check", "expires", "due"),
    [
        ("PENDING", None, 1, True),
        ("PENDING", 0, 1, True),
        ("PENDING", 1, 2, False),
        ("PENDING", 0, 0, False),
        ("ACTIVE", 0, 1, False),
        ("EXPIRED", None, 1, False),
    ],
)
def test_when_a_request_is_due(status: str, next_check: int | None, expires: int, due: bool) -> None:
    minute = timedelta(minutes=1)
    at = None if next_check is None else NOW + next_check * minute
    request = Request(1, NAME, "UI", status, NOW, NOW, None, None, at, None, None, NOW + expires * minute)
    assert request.due(NOW) is due


def test_a_word_of_an_administrator_is_no_verdict_over_both() -> None:
    assert overall(["ON HOLD", "ACTIVE"]) == "ACTIVE"
