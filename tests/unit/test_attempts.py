"""Attempts: what fails counts, what does not is taken back, and trouble with that is no trouble of who succeeded."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from mailrelay.core.entrance import FAST, OF_CLIENT
from mailrelay.core.errors import Unavailable
from mailrelay.core.turnstile import Bucket
from mailrelay.flows.attempts import Attempts


class Counted:
    """A store in memory. hits: of every bucket."""

    def __init__(self, hits: int = 1, *, away: bool = False) -> None:
        self.hits, self.away = hits, away
        self.given_back: list[str] = []

    async def take(self, buckets: Sequence[Bucket]) -> Sequence[tuple[int, datetime]]:
        return [(self.hits, datetime.now(UTC)) for _ in buckets]

    async def give_back(self, buckets: Sequence[Bucket]) -> None:
        if self.away:
            raise Unavailable("database")
        self.given_back += [one.name for one in buckets]


@pytest.mark.parametrize("away", [False, True])
async def test_a_success_is_one_even_if_it_cannot_be_taken_back(away: bool) -> None:
    store = Counted(away=away)
    async with Attempts(store, {}).attempt((OF_CLIENT, ["192.0.2.1"]), (FAST, ["x"])) as tried:
        assert tried.refusal is None
        tried.failed = False
    assert len(store.given_back) == (0 if away else 2)


async def test_a_failure_stays_counted() -> None:
    store = Counted()
    async with Attempts(store, {}).attempt((OF_CLIENT, ["192.0.2.1"])):
        pass
    assert store.given_back == []


async def test_what_is_refused_or_raises_is_taken_back() -> None:
    full = Counted(hits=10**6)
    async with Attempts(full, {}).attempt((OF_CLIENT, ["192.0.2.1"])) as tried:
        assert tried.refusal is not None
    assert len(full.given_back) == 1
    store = Counted()
    with pytest.raises(KeyError):
        async with Attempts(store, {}).attempt((OF_CLIENT, ["192.0.2.1"])):
            raise KeyError("x")
    assert len(store.given_back) == 1
