"""Making rules: what is refused is named, all of it, and nothing of it is stored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from mailrelay.core.errors import Absent, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, Owned
from mailrelay.core.rules.model import RuleId
from mailrelay.core.rules.record import NewRule, RuleRecord
from mailrelay.flows.manage.rules import BadRule, RuleWish, add, replace, wish
from tests.unit.fakes import NOW

ME, YOU = UUID(int=1), UUID(int=2)
JOHN = Named("johndoe")
MINE = Owned(AccountId(1), UUID(int=9))
FROM_SHOP: Mapping[str, object] = {"type": "sender", "match": "ends with", "values": ["@shop.example"]}
BLOCK: Mapping[str, object] = {"type": "block", "value": True}
STORED: Mapping[str, object] = {
    "name": "no shops",
    "conditions": [FROM_SHOP],
    "actions": [BLOCK],
    "operator": "OR",
    "forwards": True,
    "replies": False,
    "sends": True,
    "active": False,
    "order": 3,
}


@dataclass
class Shelf:
    """Keeps what is added."""

    added: list[NewRule] = field(default_factory=list)

    async def recipients(self, owner: Named | AccountId) -> Mapping[str, UUID]:
        assert owner in (JOHN, MINE.account)
        return {"me@inbox.example": ME, "you@inbox.example": YOU}

    async def add(self, owner: Named | AccountId, new: NewRule, actor: str) -> RuleRecord:
        assert owner == JOHN
        self.added.append(new)
        return RuleRecord(
            id=RuleId(1),
            uuid=ME,
            account="johndoe",
            position=new.position,
            name=new.name,
            active=new.active,
            forwards=new.forwards,
            replies=new.replies,
            sends=new.sends,
            operator=new.operator,
            conditions=new.conditions,
            actions=new.actions,
            faults=(),
            applied=0,
            last_applied=None,
            created_at=NOW,
            updated_at=NOW,
        )

    async def replace(self, which: Owned, new: NewRule, actor: str) -> RuleRecord:
        assert which == MINE
        return await self.add(JOHN, new, actor)


def test_the_stored_form_is_a_wish() -> None:
    assert wish(STORED) == RuleWish(
        "no shops", [FROM_SHOP], [BLOCK], "OR", forwards=True, sends=True, active=False, position=3
    )


def test_defaults_are_those_of_the_api() -> None:
    plain = wish({"name": "r", "conditions": [FROM_SHOP], "actions": [BLOCK]})
    assert plain == RuleWish("r", [FROM_SHOP], [BLOCK], "AND", False, False, False, True, 0)


def test_what_the_api_tells_besides_is_no_mistake() -> None:
    told = {
        "id": str(ME),
        "user_id": str(YOU),
        "applied": 7,
        "last_applied": None,
        "created_at": "2026-01-01 00:00:00",
        "updated_at": "2026-01-01 00:00:00",
    }
    assert wish({**STORED, **told}) == wish(STORED)


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        ("name", None),
        ("name", 7),
        ("operator", "XOR"),
        ("operator", ["AND"]),
        ("operator", None),
        ("forwards", 1),
        ("replies", "true"),
        ("sends", None),
        ("active", "no"),
        ("order", True),
        ("order", 1.5),
        ("order", 2**31),
        ("stop", True),
    ],
)
def test_a_field_that_cannot_be_is_named(field_name: str, value: object) -> None:
    with pytest.raises(Malformed, match=f"^{field_name}: "):
        wish({**STORED, field_name: value})


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(Malformed) as caught:
        wish({"operator": "XOR", "frob": 1, "sends": 1})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["frob", "sends", "name", "operator"]


@pytest.mark.parametrize("document", [None, [], "rule", 7])
def test_a_rule_is_an_object(document: object) -> None:
    with pytest.raises(Malformed, match="JSON object"):
        wish(document)


async def test_only_known_keys_are_stored_and_the_match_is_spelled_out() -> None:
    shelf = Shelf()
    conditions = [{"type": "subject", "values": ["x"], "note": "mine"}, {**FROM_SHOP, "id": 3}]
    await add(shelf, JOHN, RuleWish("r", conditions, [{**BLOCK, "note": "mine"}], position=4), "cli:tester")
    [new] = shelf.added
    assert new.conditions == [{"type": "subject", "match": "is exactly", "values": ["x"]}, FROM_SHOP]
    assert new.actions == [BLOCK]
    assert (new.name, new.operator, new.active, new.position) == ("r", "AND", True, 4)


async def test_a_recipient_may_be_named_by_its_mailbox() -> None:
    shelf = Shelf()
    actions = [{"type": "forwardTo", "value": "Me@Inbox.example"}, {"type": "forwardTo", "value": str(YOU)}]
    await add(shelf, JOHN, RuleWish("r", [FROM_SHOP], actions), "cli:tester")
    assert [one["value"] for one in shelf.added[0].actions] == [str(ME), str(YOU)]


@pytest.mark.parametrize(
    ("value", "error"), [("her@inbox.example", Absent), ("a b@inbox.example", Malformed), (str(UUID(int=3)), Malformed)]
)
async def test_who_is_no_verified_recipient_gets_nothing(value: str, error: type[Exception]) -> None:
    shelf = Shelf()
    with pytest.raises(error):
        await add(shelf, JOHN, RuleWish("r", [FROM_SHOP], [{"type": "forwardTo", "value": value}]), "cli:tester")
    assert shelf.added == []


@pytest.mark.parametrize("name", ["", "x" * 51, "two\nlines", "nul\0", "\ud800", "next\x85line", "\u2028"])
async def test_a_name_is_one_short_line(name: str) -> None:
    shelf = Shelf()
    with pytest.raises(Malformed, match=r"^name: "):
        await add(shelf, JOHN, RuleWish(name, [FROM_SHOP], [BLOCK]), "cli:tester")
    assert shelf.added == []


@pytest.mark.parametrize("name", ["x", "x" * 50, "\N{WOMAN}\u200d\N{GIRL} café\u00a0"])
async def test_any_other_name_is_fine(name: str) -> None:
    shelf = Shelf()
    await add(shelf, JOHN, RuleWish(name, [FROM_SHOP], [BLOCK]), "cli:tester")
    assert shelf.added[0].name == name


async def test_a_pattern_that_is_refused_is_named_with_its_place() -> None:
    pattern = {"type": "subject", "match": "matches regex", "values": ["fine", "ab(?=x)"]}
    with pytest.raises(Malformed) as caught:
        await add(Shelf(), JOHN, RuleWish("r", [FROM_SHOP, pattern], [BLOCK]), "cli:tester")
    [line] = str(caught.value).splitlines()
    assert line.startswith("conditions.1.values.1: ")
    assert line.endswith(", behind 2 characters")


async def test_everything_that_is_wrong_is_told_one_a_line() -> None:
    conditions = [{"type": "weather", "match": "is", "values": ["sun", "sun"]}]
    actions = [{"type": "dance", "value": "x" * 51}]
    with pytest.raises(Malformed) as caught:
        await add(Shelf(), JOHN, RuleWish("", conditions, actions), "cli:tester")
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "name",
        "conditions.0.type",
        "conditions.0.values.0",
        "conditions.0.values.1",
        "actions.0.type",
        "actions.0.value",
    ]


@pytest.mark.parametrize("conditions", [None, [], {}, "x", [None], [7], [[]], [FROM_SHOP] * 6])
@pytest.mark.parametrize("actions", [None, 7, [None], [{"type": ["forwardTo"]}], [{"type": "forwardTo", "value": 7}]])
async def test_any_json_is_refused_in_words(conditions: Any, actions: Any) -> None:
    shelf = Shelf()
    with pytest.raises(Malformed) as caught:
        await add(shelf, JOHN, RuleWish("r", conditions, actions), "cli:tester")
    assert "conditions" in str(caught.value)
    assert "actions" in str(caught.value)
    assert shelf.added == []


async def test_a_replacement_is_checked_like_a_new_rule() -> None:
    shelf = Shelf()
    await replace(shelf, MINE, RuleWish("r", [FROM_SHOP], [{"type": "forwardTo", "value": str(ME)}]), "account:1")
    assert [new.actions for new in shelf.added] == [[{"type": "forwardTo", "value": str(ME)}]]
    with pytest.raises(BadRule) as caught:
        await replace(shelf, MINE, RuleWish("r", [FROM_SHOP], []), "account:1")
    assert [(problem.path, problem.kind) for problem in caught.value.problems] == [("actions", "required")]
    assert len(shelf.added) == 1


async def test_recipients_are_only_asked_for_where_they_matter() -> None:
    @dataclass
    class Deaf(Shelf):
        async def recipients(self, owner: Named | AccountId) -> Mapping[str, UUID]:
            raise AssertionError("nobody asked about recipients")

    await add(Deaf(), JOHN, RuleWish("r", [FROM_SHOP], [BLOCK]), "cli:tester")
