"""What a refresh token is worth, and when failures are too many."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from mailrelay.core.entrance import FAST, HEAVY, OF_CLIENT, counted, refused
from mailrelay.core.facts import AccountId
from mailrelay.core.sessions import (
    GRACE,
    REFRESH_OCTETS,
    Held,
    Renewal,
    Standing,
    refresh_hash,
    refresh_token,
)
from mailrelay.core.signin import Visitor

NOW = datetime(2026, 1, 30, 8, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
VISITOR = Visitor("192.0.2.1", "192.0.2.0/24", "Browser")
RENEWAL = Renewal(NOW, "192.0.2.1", "Browser", in_force=True)


def held(status: str = "active", **more: Any) -> Held:
    given = {"expires_at": NOW + SECOND, "may_act": True, "renewal": None, **more}
    return Held(AccountId(1), UUID(int=1), status, **given)


@pytest.mark.parametrize(
    ("one", "standing"),
    [
        (held(), Standing.GOOD),
        (held(expires_at=NOW), Standing.OVER),
        (held(may_act=False), Standing.OVER),
        (held("revoked"), Standing.OVER),
        (held("reuse_detected"), Standing.OVER),
        (held("rotated"), Standing.REUSED),
        (held("rotated", renewal=RENEWAL), Standing.JUST_RENEWED),
        (held("rotated", renewal=RENEWAL, expires_at=NOW), Standing.REUSED),
        (held("rotated", renewal=RENEWAL, may_act=False), Standing.REUSED),
        (held("rotated", renewal=Renewal(NOW - GRACE, "192.0.2.1", "Browser", in_force=True)), Standing.JUST_RENEWED),
        (held("rotated", renewal=Renewal(NOW - GRACE - SECOND, "192.0.2.1", "Browser", True)), Standing.REUSED),
        (held("rotated", renewal=Renewal(NOW, "192.0.2.2", "Browser", in_force=True)), Standing.REUSED),
        (held("rotated", renewal=Renewal(NOW, "192.0.2.1", "Another", in_force=True)), Standing.REUSED),
        (held("rotated", renewal=Renewal(NOW, "192.0.2.1", "Browser", in_force=False)), Standing.REUSED),
    ],
)
def test_what_a_refresh_token_is_worth(one: Held, standing: Standing) -> None:
    assert one.standing(VISITOR, NOW) is standing


def test_clients_that_nobody_knows_are_not_the_same() -> None:
    renewal = Renewal(NOW, "", "Browser", in_force=True)
    assert held("rotated", renewal=renewal).standing(Visitor("", "", "Browser"), NOW) is Standing.REUSED


def test_refresh_tokens_have_43_characters() -> None:
    token = refresh_token(bytes(REFRESH_OCTETS))
    assert (token, len(refresh_hash(token) or b"")) == ("A" * 43, 32)


@pytest.mark.parametrize(
    "token", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "\n", "A" * 42 + "é", "A" * 42 + "+"]
)
def test_other_text_is_no_refresh_token(token: str) -> None:
    assert refresh_hash(token) is None


def test_limits_can_be_others_or_off_and_the_first_that_is_over_counts() -> None:
    limits = [(OF_CLIENT, ["a"]), (HEAVY, ["b"]), (FAST, ["b"])]
    entries = counted(limits, {"auth_login_fail_fast_identifier_ip": 0, "auth_login_fail_ip": 1})
    assert [(one.limit, one.bucket.limit) for one in entries] == [(OF_CLIENT, 1), (HEAVY, 3)]
    assert refused(entries, [(1, NOW), (3, NOW)]) is None
    over = refused(entries, [(2, NOW), (4, NOW)])
    assert over is not None
    assert (over.limit, over.ends_at) == (OF_CLIENT, NOW + timedelta(seconds=900))


def test_subjects_of_several_parts_do_not_run_together() -> None:
    one, other = (counted([(FAST, parts)], {}) for parts in (["a", "bc"], ["ab", "c"]))
    assert one[0].bucket.subject != other[0].bucket.subject
