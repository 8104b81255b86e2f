"""What links ask for, and the story behind their pages, with a store that remembers."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core.blocklist import Entry
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.held import HeldId
from mailrelay.core.links import Action, Links
from mailrelay.core.oneclick import (
    AliasSight,
    HeldSight,
    Wish,
    action_of,
    counted_for,
    wish,
)
from mailrelay.core.verp import EmailType
from mailrelay.flows.oneclick import Acted, Declined, OneClick, Trouble
from tests.unit.onelink import ABOUT, ACTIVE, HELD, NOW, VISITOR, Memory, Sender


def no_suffix(domain: str) -> bool:
    return False


# --- wishes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", list(Action))
def test_a_wish_becomes_a_link_and_comes_back(action: Action) -> None:
    entries = {
        Action.BLOCK_EMAIL: Entry("email", "news@shop.example"),
        Action.BLOCK_DOMAIN: Entry("domain", "shop.example"),
        Action.UNBLOCK: Entry("domain", "co.example"),
    }
    wanted = Wish(action, ABOUT, entries.get(action))
    link = Links("", b"k" * 32, 0).page(action, ABOUT, wanted.params)
    path = link.partition("?")[0]
    assert action_of(path) is action
    assert wish(path, wanted.params, no_suffix) == wanted


def test_what_is_undone_is_what_was_done() -> None:
    entry = Entry("email", "news@shop.example")
    assert Wish(Action.BLOCK_EMAIL, ABOUT, entry).undo == Wish(Action.UNBLOCK, ABOUT, entry)
    assert Wish(Action.DELETE, ABOUT).undo == Wish(Action.RESTORE, ABOUT)
    assert Wish(Action.SEND, ABOUT).undo is None


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (f"/u/block-email/{ABOUT}", {}),
        (f"/u/block-email/{ABOUT}", {"email": "news"}),
        (f"/u/block-domain/{ABOUT}", {"domain": "example"}),
        (f"/u/unblock/{ABOUT}", {"type": "ip", "value": "192.0.2.1"}),
        (f"/u/unblock/{ABOUT}", {"type": "email"}),
        (f"/u/resign/{ABOUT}", {}),
        ("/u/deactivate/1", {}),
        (f"/u/deactivate/{ABOUT}/", {}),
        (f"/U/deactivate/{ABOUT}", {}),
    ],
)
def test_what_no_link_asks_for_is_malformed(path: str, params: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        wish(path, params, no_suffix)


@settings(max_examples=200)
@given(st.sampled_from(list(Action)), st.dictionaries(st.sampled_from(["email", "domain", "type", "value"]), st.text()))
def test_signed_nonsense_is_malformed_at_worst(action: Action, params: dict[str, str]) -> None:
    with suppress(Malformed):
        wish(f"/u/{action}/{ABOUT}", params, no_suffix)


@pytest.mark.parametrize(
    ("ip", "subject"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", ""),
    ],
)
def test_one_customer_counts_as_one(ip: str, subject: str) -> None:
    assert counted_for(ip) == subject


# --- the story ------------------------------------------------------------------------------------------------------


async def test_unknown_clients_are_not_counted_together() -> None:
    store = Memory(wait=17)
    assert await OneClick(store, Sender()).admit("") == 0
    assert await OneClick(store, Sender()).admit("2001:db8::9") == 17
    assert store.asked == ["2001:db8::/64"]


async def test_only_what_changed_can_be_undone() -> None:
    wanted, story = Wish(Action.DEACTIVATE, ABOUT), OneClick(Memory(), Sender())
    assert await story.act(wanted, VISITOR) == Acted(ACTIVE, True, wanted.undo)
    assert await story.act(wanted, VISITOR) == Acted(AliasSight("a1@alias.example", "inactive"), False, None)


@pytest.mark.parametrize("action", [Action.DELETE, Action.ACTIVATE])
async def test_a_deleted_alias_is_neither_deleted_nor_activated(action: Action) -> None:
    story = OneClick(Memory(AliasSight("a1@alias.example", "deleted")), Sender())
    assert await story.look(Wish(action, ABOUT), from_banner=False) == Declined(Trouble.DELETED)
    assert await story.act(Wish(action, ABOUT), VISITOR) == Declined(Trouble.DELETED)


async def test_nothing_is_known_about_strangers_ids() -> None:
    for action in (Action.DEACTIVATE, Action.SEND):
        assert await OneClick(Memory(None), Sender()).look(Wish(action, ABOUT), from_banner=True) == Declined(
            Trouble.UNKNOWN
        )
        assert await OneClick(Memory(None), Sender()).act(Wish(action, ABOUT), VISITOR) == Declined(Trouble.UNKNOWN)


async def test_banner_links_want_a_login_if_the_owner_does() -> None:
    sight = AliasSight("a1@alias.example", "active", asks_login=True)
    story = OneClick(Memory(sight), Sender())
    assert await story.look(Wish(Action.DEACTIVATE, ABOUT), from_banner=True) == Declined(Trouble.LOGIN)
    assert await story.look(Wish(Action.DEACTIVATE, ABOUT), from_banner=False) == sight


async def test_what_cannot_come_back_says_why() -> None:
    story = OneClick(Memory(conflict="its name is taken by now"), Sender())
    assert await story.act(Wish(Action.RESTORE, ABOUT), VISITOR) == Declined(
        Trouble.IMPOSSIBLE, "its name is taken by now"
    )


# --- sending --------------------------------------------------------------------------------------------------------

SEND = Wish(Action.SEND, ABOUT)


async def test_a_held_message_is_sent_by_whoever_has_its_link() -> None:
    sender = Sender()
    assert await OneClick(Memory(HELD), sender).act(SEND, VISITOR) == Acted(HELD, True, None)
    assert sender.actors == ["link:192.0.2.7"]


async def test_what_was_sent_is_not_sent_again() -> None:
    sender = Sender()
    sent = HeldSight(HeldId(5), "", EmailType.REPLY, None, "released", False, NOW)
    assert await OneClick(Memory(sent), sender).act(SEND, VISITOR) == Acted(sent, False, None)
    assert sender.actors == []


@pytest.mark.parametrize("changed", [{"state": "discarded"}, {"kept": False}], ids=["discarded", "not kept"])
async def test_what_is_not_there_any_more_cannot_be_sent(changed: dict[str, Any]) -> None:
    sender = Sender()
    acted = await OneClick(Memory(replace(HELD, **changed)), sender).act(SEND, VISITOR)
    assert acted == Declined(Trouble.IMPOSSIBLE, "its text is not kept any more")
    assert sender.actors == []


async def test_trouble_is_for_later() -> None:
    with pytest.raises(Unavailable):
        await OneClick(Memory(HELD), Sender(Unavailable("busy"))).act(SEND, VISITOR)
