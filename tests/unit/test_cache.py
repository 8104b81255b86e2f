"""Facts in memory: fresh while nothing changes, old when the database is away, and never past the hourly limit."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId, Facts, Usage
from mailrelay.core.inquiry import Inquiry, inquire
from mailrelay.core.judge import DefaultLimits
from mailrelay.core.realm import Shared
from mailrelay.flows.cache import FactsCache
from tests.unit.test_judge import ACCOUNT, ALIAS, R1

LIMITS = DefaultLimits(messages_per_hour=8)
FACTS = Facts(account=ACCOUNT, alias=ALIAS, account_default=R1)


class Watch:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def new_cache(watch: Watch | None = None, entries: int = 10) -> FactsCache:
    cache = FactsCache(entries, 300.0, watch or Watch())
    cache.trusted = True
    return cache


def about(local: str = "a1", sender: str = "x@shop.example") -> Inquiry:
    return inquire(
        Address(local, "alias.example"), Shared("alias.example"), sender, "", "192.0.2.1", lambda domain: domain
    )


def facts(account: int = 1, **more: Any) -> Facts:
    return replace(FACTS, account=replace(ACCOUNT, id=AccountId(account)), **more)


def keep(cache: FactsCache, what: Facts = FACTS, inquiry: Inquiry | None = None) -> None:
    cache.keep(inquiry or about(), what, LIMITS, cache.epoch)


def test_what_was_kept_is_found_by_address() -> None:
    cache = new_cache()
    keep(cache)
    assert cache.fresh(about()) is FACTS
    assert cache.fresh(about(sender="y@other.example")) is FACTS
    assert cache.fresh(about("b2")) is None


def test_entries_age_but_stay_for_bad_times() -> None:
    watch = Watch()
    cache = new_cache(watch)
    keep(cache)
    watch.now += 299.9
    assert cache.fresh(about()) is FACTS
    watch.now += 0.1
    assert cache.fresh(about()) is None
    assert cache.stale(about()) is FACTS


def test_nothing_is_fresh_while_changes_are_not_announced() -> None:
    cache = new_cache()
    keep(cache)
    cache.trusted = False
    assert cache.fresh(about()) is None
    assert cache.stale(about()) is FACTS


def test_facts_with_a_block_list_are_about_one_sender() -> None:
    cache = new_cache()
    keep(cache, facts(has_block_list=True))
    assert cache.fresh(about()) is not None
    assert cache.fresh(about(sender="blocked@bad.example")) is None
    assert cache.stale(about(sender="blocked@bad.example")) is None


def test_facts_that_changed_while_they_were_asked_for_are_not_kept() -> None:
    cache = new_cache()
    epoch = cache.epoch
    cache.forget_address("a1", "alias.example")
    cache.keep(about(), FACTS, LIMITS, epoch)
    assert len(cache) == 0


def test_forgetting_takes_what_it_names() -> None:
    cache = new_cache()
    keep(cache)
    keep(cache, inquiry=about("b2"))
    keep(cache, facts(2), about("c3"))
    cache.forget_address("a1", "alias.example")
    assert [cache.fresh(about(local)) is not None for local in ("a1", "b2", "c3")] == [False, True, True]
    cache.forget_account(AccountId(1))
    assert [cache.fresh(about(local)) is not None for local in ("a1", "b2", "c3")] == [False, False, True]
    cache.clear()
    assert len(cache) == 0


def test_forgetting_what_is_not_there_still_counts_as_a_change() -> None:
    cache = new_cache()
    before = cache.epoch
    cache.forget_address("x", "alias.example")
    cache.forget_account(AccountId(7))
    cache.clear()
    assert cache.epoch == before + 3


def test_the_least_recently_used_goes_first() -> None:
    cache = new_cache(entries=2)
    keep(cache, inquiry=about("a1"))
    keep(cache, inquiry=about("b2"))
    cache.fresh(about("a1"))
    keep(cache, inquiry=about("c3"))
    assert [cache.fresh(about(local)) is not None for local in ("a1", "b2", "c3")] == [True, False, True]


def test_a_cache_without_room_keeps_nothing() -> None:
    cache = new_cache(entries=0)
    keep(cache)
    assert len(cache) == 0


def test_nobodys_facts_are_not_kept() -> None:
    cache = new_cache()
    keep(cache, replace(FACTS, account=None))
    assert len(cache) == 0


def test_a_quarter_of_the_hourly_limit_is_answered_without_the_database() -> None:
    cache = new_cache()
    keep(cache)
    answers = 0
    while cache.fresh(about()) is not None:
        cache.count_answer(FACTS)
        answers += 1
    assert answers == 2


def test_the_quarter_is_the_accounts_whatever_the_address() -> None:
    cache = new_cache()
    keep(cache)
    keep(cache, inquiry=about("b2"))
    cache.count_answer(FACTS)
    cache.count_answer(FACTS)
    assert cache.fresh(about("b2")) is None
    assert cache.stale(about("b2")) is FACTS


def test_who_has_used_a_quarter_is_only_known_while_the_database_is_away() -> None:
    cache = new_cache()
    busy = facts(usage=Usage(messages=2))
    keep(cache, busy)
    assert cache.fresh(about()) is None
    assert cache.stale(about()) is busy


def test_without_a_limit_there_is_no_quarter() -> None:
    cache = new_cache()
    unlimited = replace(FACTS, account=replace(ACCOUNT, messages_per_hour=0), usage=Usage(messages=10**6))
    keep(cache, unlimited)
    for _ in range(1000):
        cache.count_answer(unlimited)
    assert cache.fresh(about()) is unlimited


_STEPS = st.tuples(
    st.sampled_from(["keep", "fresh", "count", "forget_address", "forget_account", "clear", "wait", "distrust"]),
    st.sampled_from(["a1", "b2", "c3", "d4"]),
    st.integers(1, 3),
)


@given(st.lists(_STEPS, max_size=40))
def test_any_history_leaves_a_cache_that_works(steps: list[tuple[str, str, int]]) -> None:
    watch = Watch()
    cache = new_cache(watch, entries=3)
    current: dict[str, Facts] = {}
    for step, local, account in steps:
        match step:
            case "keep":
                current[local] = facts(account)
                cache.keep(about(local), current[local], LIMITS, cache.epoch)
            case "fresh":
                assert cache.fresh(about(local)) in (None, current.get(local))
            case "count":
                cache.count_answer(facts(account))
            case "forget_address":
                cache.forget_address(local, "alias.example")
                assert cache.stale(about(local)) is None
            case "forget_account":
                cache.forget_account(AccountId(account))
                owners = [found.account for name in current if (found := cache.stale(about(name)))]
                assert all(owner is not None and owner.id != account for owner in owners)
            case "clear":
                cache.clear()
            case "wait":
                watch.now += 400
            case _:
                cache.trusted = not cache.trusted
        assert len(cache) <= 3
