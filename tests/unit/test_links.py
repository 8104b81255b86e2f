"""Signed links: the vectors of the spec, and that nothing about them can be changed."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core.links import (
    BANNER_SECONDS,
    FORM_SECONDS,
    ONE_CLICK_SECONDS,
    Action,
    Invalid,
    Links,
    Purpose,
    sign,
    verify,
)

KEY = bytes(range(32))
OLD_KEY = bytes(range(1, 33))
ALIAS = UUID("50c9e585-e7f5-41c4-9016-9014c15454bc")
EXPIRES = 1769817600
DEACTIVATE = f"/u/deactivate/{ALIAS}"
BLOCK = f"/u/block-email/{ALIAS}"
QUERY = f"expires={EXPIRES}&signature=291f57abdcf4b2743f6f8b272855d6b1b903f46cb257f998a7e7c58e99909522"
BLOCK_QUERY = (
    f"email=news%40shop.example&expires={EXPIRES}"
    "&signature=dde3ca42978d529800bd332bb00f59759798229fa0102c9f823c1d3425cbef34"
)
LINKS = Links("https://app.relay.example", KEY, EXPIRES - ONE_CLICK_SECONDS)


@pytest.mark.parametrize(
    ("action", "params", "link"),
    [
        pytest.param(Action.DEACTIVATE, {}, f"{DEACTIVATE}?{QUERY}", id="row-192-deactivate"),
        pytest.param(Action.BLOCK_EMAIL, {"email": "news@shop.example"}, f"{BLOCK}?{BLOCK_QUERY}", id="row-192-block"),
    ],
)
def test_the_vectors_of_the_spec(action: Action, params: dict[str, str], link: str) -> None:
    assert LINKS.one_click(action, ALIAS, params) == f"https://app.relay.example{link}"


def test_a_genuine_link_gives_its_parameters() -> None:
    assert verify(DEACTIVATE, QUERY, Purpose.POST_ACTION, (KEY,), EXPIRES) == {}
    assert verify(BLOCK, BLOCK_QUERY, Purpose.POST_ACTION, (KEY,), 0) == {"email": "news@shop.example"}


def test_a_link_dies_a_second_after_its_last() -> None:
    assert verify(DEACTIVATE, QUERY, Purpose.POST_ACTION, (KEY,), EXPIRES + 1) is Invalid.EXPIRED


def test_links_of_a_replaced_key_still_count() -> None:
    assert verify(DEACTIVATE, QUERY, Purpose.POST_ACTION, (OLD_KEY, KEY), EXPIRES) == {}
    assert verify(DEACTIVATE, QUERY, Purpose.POST_ACTION, (OLD_KEY,), EXPIRES) is Invalid.FORGED
    assert verify(DEACTIVATE, QUERY, Purpose.POST_ACTION, (), EXPIRES) is Invalid.FORGED


def test_the_link_of_a_banner_does_not_act_and_lives_a_year() -> None:
    path, _, query = LINKS.banner(Action.DEACTIVATE, ALIAS).removeprefix("https://app.relay.example").partition("?")
    assert verify(path, query, Purpose.POST_ACTION, (KEY,), EXPIRES) is Invalid.FORGED
    assert verify(path, query, Purpose.VIEW, (KEY,), LINKS.now + BANNER_SECONDS) == {}


def test_the_link_of_a_notification_opens_a_page_for_as_long_as_it_says() -> None:
    link = LINKS.page(Action.UNBLOCK, ALIAS, {"type": "email", "value": "news@shop.example"}, seconds=60)
    path, _, query = link.removeprefix("https://app.relay.example").partition("?")
    assert path == f"/u/unblock/{ALIAS}"
    for other in (Purpose.POST_ACTION, Purpose.VIEW):
        assert verify(path, query, other, (KEY,), LINKS.now) is Invalid.FORGED
    wanted = {"type": "email", "value": "news@shop.example"}
    assert verify(path, query, Purpose.NOTICE, (KEY,), LINKS.now + 60) == wanted
    assert verify(path, query, Purpose.NOTICE, (KEY,), LINKS.now + 61) is Invalid.EXPIRED


def test_the_button_of_a_page_acts_for_an_hour() -> None:
    link = LINKS.one_click(Action.DELETE, ALIAS, seconds=FORM_SECONDS)
    path, _, query = link.removeprefix("https://app.relay.example").partition("?")
    assert verify(path, query, Purpose.POST_ACTION, (KEY,), LINKS.now + 3600) == {}
    assert verify(path, query, Purpose.POST_ACTION, (KEY,), LINKS.now + 3601) is Invalid.EXPIRED


def test_the_order_and_the_spelling_of_escapes_do_not_matter() -> None:
    first, second, third = BLOCK_QUERY.replace("%40", "@").split("&")
    shuffled = "&".join((third, second, first))
    assert verify(BLOCK, shuffled, Purpose.POST_ACTION, (KEY,), 0) == {"email": "news@shop.example"}


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(BLOCK_QUERY.replace("news", "mews"), id="row-184-other-address"),
        pytest.param(BLOCK_QUERY.replace(str(EXPIRES), str(EXPIRES + 1)), id="row-184-later"),
        pytest.param(BLOCK_QUERY[:-1] + "5", id="row-184-other-signature"),
        pytest.param(BLOCK_QUERY[:-1], id="short-signature"),
        pytest.param(BLOCK_QUERY + "&extra=1", id="extra"),
        pytest.param(BLOCK_QUERY + "&email=a", id="twice"),
        pytest.param("email=news%40shop.example", id="unsigned"),
        pytest.param("", id="empty"),
        pytest.param("signature=%ff", id="no-utf-8"),
        pytest.param("a=" + "x" * 9999, id="long"),
        pytest.param("\udcff=1", id="surrogate"),
    ],
)
def test_a_changed_link_is_forged(query: str) -> None:
    assert verify(BLOCK, query, Purpose.POST_ACTION, (KEY,), 0) is Invalid.FORGED


def test_a_link_of_another_alias_or_action_is_forged() -> None:
    for path in (DEACTIVATE.replace("50c", "51c"), f"/u/delete/{ALIAS}", DEACTIVATE + "/"):
        assert verify(path, QUERY, Purpose.POST_ACTION, (KEY,), 0) is Invalid.FORGED


def test_a_genuine_signature_over_no_time_is_no_link() -> None:
    query = sign("/u", {}, Purpose.VIEW, -1, KEY)
    assert verify("/u", query, Purpose.VIEW, (KEY,), 0) is Invalid.FORGED


NAMES = st.text(max_size=20).filter(lambda name: name not in ("expires", "signature"))
TEXTS = st.dictionaries(NAMES, st.text(max_size=60), max_size=4)


@settings(max_examples=200)
@given(TEXTS, st.integers(0, 10**11))
def test_whatever_is_signed_comes_back(params: dict[str, str], expires: int) -> None:
    query = sign("/u/x", params, Purpose.VIEW, expires, KEY)
    assert query.isascii() and " " not in query
    assert verify("/u/x", query, Purpose.VIEW, (KEY,), 0) == params


@settings(max_examples=300)
@given(st.text(max_size=80) | st.just("\ud800"), st.text(alphabet="a=&%4+é\udc80", max_size=60))
def test_nothing_raises(path: str, query: str) -> None:
    assert verify(path, query, Purpose.VIEW, (KEY,), 0) is Invalid.FORGED
