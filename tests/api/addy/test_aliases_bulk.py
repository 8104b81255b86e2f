"""Several aliases at once: addy-api.md section 6, "Bulk" (T-AB), from T-AB-3 on; N01, N02; and bad input."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.addy.conftest import Desk

SHARED, OWN = "alias.example", "johndoe.alias.example"
NONE_FOUND = {"message": "No aliases found"}
EVERY = ["activate", "deactivate", "delete", "restore", "forget", "recipients", "pin", "unpin"]
NO_UUID = "The recipient_ids.0 must be a valid UUID."


async def several(desk: Desk, count: int = 2, **columns: Any) -> list[UUID]:
    return [await desk.alias(f"a{n}@{OWN}", **columns) for n in range(count)]


async def ask(desk: Desk, action: str, ids: list[Any], **more: Any) -> Any:
    sent = [str(one) if isinstance(one, UUID) else one for one in ids]
    return await desk.post(f"aliases/{action}/bulk", {"ids": sent, **more})


def check(answer: Any, ids: list[UUID], message: str) -> None:
    said = {"message": message, "ids": [str(one) for one in ids]}
    assert (answer.status_code, answer.json()) == (200, {**said, "data": said})


async def states(desk: Desk, *ids: UUID) -> list[Any]:
    found = dict(await desk.sql("select uuid, state from alias"))
    return [found.get(one) for one in ids]


async def test_t_ab_3(desk: Desk) -> None:
    ids = await several(desk, state="inactive")
    check(await ask(desk, "activate", [ids[1], None, ids[0]]), ids[::-1], "2 aliases activated successfully")
    assert await states(desk, *ids) == ["active"] * 2
    again = await ask(desk, "activate", [*ids])
    assert (again.status_code, again.json()) == (404, NONE_FOUND)


async def test_t_ab_4(desk: Desk) -> None:
    mine = await desk.alias(f"a@{OWN}", state="inactive")
    theirs = await desk.alias("a@stranger.alias.example", account=2, state="inactive")
    check(await ask(desk, "activate", [mine, theirs]), [mine], "1 alias activated successfully")
    assert await states(desk, mine, theirs) == ["active", "inactive"]


async def test_t_ab_5(desk: Desk) -> None:
    ids = await several(desk)
    check(await ask(desk, "deactivate", [*ids, None]), ids, "2 aliases deactivated successfully")
    assert await states(desk, *ids) == ["inactive"] * 2
    assert (await ask(desk, "deactivate", [*ids])).status_code == 404


async def test_t_ab_6(desk: Desk) -> None:
    ids = await several(desk)
    check(await ask(desk, "delete", [None, *ids]), ids, "2 aliases deleted successfully")
    assert await states(desk, *ids) == ["deleted"] * 2
    assert await desk.one("select count(*) from alias where deleted_at is not null") == 2
    assert (await ask(desk, "delete", [*ids])).status_code == 404


async def test_t_ab_7(desk: Desk) -> None:
    ids = await several(desk, state="deleted", deleted_at="now")
    check(await ask(desk, "restore", [*ids, None]), ids, "2 aliases restored successfully")
    assert await states(desk, *ids) == ["active"] * 2
    assert (await ask(desk, "restore", [*ids])).status_code == 404


async def test_t_ab_8(desk: Desk) -> None:
    ids = await several(desk)
    await desk.attach(ids[0], await desk.recipient("r@inbox.example"))
    check(await ask(desk, "forget", [*ids, None]), ids, "2 aliases forgotten successfully")
    assert await desk.one("select count(*) from alias") == 0
    shared = await desk.alias(f"s@{SHARED}", description="text")
    own = await desk.alias(f"o@{OWN}", state="deleted", deleted_at="now")
    check(await ask(desk, "forget", [own, shared]), [own, shared], "2 aliases forgotten successfully")
    assert await desk.sql("select uuid, state, account_id, description from alias") == [
        (shared, "forgotten", None, None)
    ]


async def test_t_ab_9(desk: Desk) -> None:
    ids = await several(desk)
    old, first, second = [await desk.recipient(f"r{n}@inbox.example") for n in range(3)]
    await desk.attach(ids[0], old)
    sent = [str(second), str(first)]
    answer = await ask(desk, "recipients", [*ids, None], recipient_ids=sent)
    check(answer, ids, "recipients updated for 2 aliases successfully")
    found = (await desk.post("aliases/get/bulk", {"ids": [str(one) for one in ids]})).json()["data"]
    assert [[one["id"] for one in alias["recipients"]] for alias in found] == [sent, sent]
    nothing: tuple[dict[str, Any], ...] = ({"recipient_ids": []}, {})
    for more in nothing:
        await desk.attach(ids[1], old)
        check(await ask(desk, "recipients", [*ids], **more), ids, "recipients updated for 2 aliases successfully")
        assert await desk.one("select count(*) from alias_recipient") == 0


async def test_t_ab_10(desk: Desk) -> None:
    mine = await desk.alias(f"a@{OWN}", state="deleted", deleted_at="now")
    theirs = await desk.alias("a@stranger.alias.example", account=2)
    recipient = await desk.recipient("r@inbox.example")
    answer = await ask(desk, "recipients", [mine, theirs], recipient_ids=[str(recipient)])
    check(answer, [mine], "recipients updated for 1 alias successfully")
    assert await desk.one("select count(*) from alias_recipient") == 1


@pytest.mark.parametrize(("action", "before"), [("pin", False), ("unpin", True)])
async def test_n01_and_n02(desk: Desk, action: str, before: bool) -> None:
    ids = await several(desk, pinned=before)
    ids.append(await desk.alias(f"old@{OWN}", state="deleted", deleted_at="now", pinned=before))
    other = await desk.alias(f"other@{OWN}", pinned=not before)
    check(await ask(desk, action, [*ids, other]), ids, f"3 aliases {action}ned successfully")
    assert await desk.sql("select distinct pinned from alias") == [(not before,)]
    assert (await ask(desk, action, [ids[0]])).json() == NONE_FOUND


async def test_deleted_ones_are_only_spoken_of_when_there_is_no_other(desk: Desk) -> None:
    first, second = await several(desk, state="deleted", deleted_at="now")
    answer = await ask(desk, "activate", [first])
    message = "You need to restore this alias before you can activate it"
    assert (answer.status_code, answer.json()) == (422, {"message": message, "ids": [str(first)]})
    active = await desk.alias(f"active@{OWN}")
    answer = await ask(desk, "activate", [second, active, first])
    message = "You need to restore these aliases before you can activate them"
    assert (answer.status_code, answer.json()) == (422, {"message": message, "ids": [str(second), str(first)]})
    inactive = await desk.alias(f"inactive@{OWN}", state="inactive")
    check(await ask(desk, "activate", [first, inactive]), [inactive], "1 alias activated successfully")
    assert await states(desk, first, second) == ["deleted"] * 2


@pytest.mark.parametrize("action", EVERY)
async def test_others_aliases_are_not_found(desk: Desk, action: str) -> None:
    theirs = [
        await desk.alias(
            f"{state}{pinned:d}@stranger.alias.example", account=2, state=state, deleted_at=at, pinned=pinned
        )
        for state, at in (("active", None), ("inactive", None), ("deleted", "now"))
        for pinned in (False, True)
    ]
    before = await desk.sql("select * from alias order by id")
    answer = await ask(desk, action, [*theirs, uuid4()])
    assert (answer.status_code, answer.json()) == (404, NONE_FOUND)
    assert await desk.sql("select * from alias order by id") == before
    assert await desk.one("select count(*) from audit") == 0


@pytest.mark.parametrize("action", EVERY)
@pytest.mark.parametrize(
    ("ids", "wrong"),
    [
        (None, {"ids": ["The ids field is required."]}),
        ([], {"ids": ["The ids field is required."]}),
        ([None], {"ids": ["The ids field is required."]}),
        ("x", {"ids": ["The ids must be an array."]}),
        (7, {"ids": ["The ids must be an array."]}),
        (["x"] * 26, {"ids": ["The ids may not have more than 25 items."]}),
        (["x"] * 10_000, {"ids": ["The ids may not have more than 25 items."]}),
        (["x", "a\0"], {f"ids.{n}": [f"The ids.{n} must be a valid UUID."] for n in (0, 1)}),
        ([["x"], {"a": 1}, 7], {f"ids.{n}": [f"The ids.{n} must be a valid UUID."] for n in (0, 1, 2)}),
        (["\ud800"], {"ids.0": ["The ids.0 must be a valid UUID."]}),
        ([str(UUID(int=7))] * 2, {f"ids.{n}": [f"The ids.{n} field has a duplicate value."] for n in (0, 1)}),
    ],
)
async def test_ids_that_are_none(desk: Desk, action: str, ids: Any, wrong: dict[str, Any]) -> None:
    answer = await desk.post(f"aliases/{action}/bulk", {"ids": ids})
    assert (answer.status_code, answer.json()["errors"]) == (422, wrong)


@pytest.mark.parametrize(
    ("sent", "wrong"),
    [
        ([str(uuid4())] * 11, {"recipient_ids": ["The recipient ids may not have more than 10 items."]}),
        ([str(UUID(int=7))], {"recipient_ids": ["Invalid Recipient"]}),
        (["foo"], {"recipient_ids": ["Invalid Recipient"], "recipient_ids.0": [NO_UUID]}),
        ([["x"]], {"recipient_ids": ["Invalid Recipient"], "recipient_ids.0": [NO_UUID]}),
        ("x", {"recipient_ids": ["The recipient ids must be an array."]}),
        (None, {"recipient_ids": ["The recipient ids must be an array."]}),
    ],
)
async def test_recipients_that_are_none_change_nothing(desk: Desk, sent: Any, wrong: dict[str, Any]) -> None:
    alias = await desk.alias(f"a@{OWN}")
    await desk.attach(alias, await desk.recipient("r@inbox.example"))
    answer = await ask(desk, "recipients", [alias], recipient_ids=sent)
    assert answer.status_code == 422
    assert answer.json()["errors"] == wrong
    assert await desk.one("select count(*) from alias_recipient") == 1


async def test_a_recipient_named_twice(desk: Desk) -> None:
    alias = await desk.alias(f"a@{OWN}")
    recipient = str(await desk.recipient("r@inbox.example"))
    answer = await ask(desk, "recipients", [alias], recipient_ids=[recipient, recipient])
    doubled = {f"recipient_ids.{n}": [f"The recipient_ids.{n} field has a duplicate value."] for n in (0, 1)}
    assert (answer.status_code, answer.json()["errors"]) == (422, doubled)


async def test_all_of_them_share_twelve_a_minute(desk: Desk) -> None:
    alias = await desk.alias(f"a@{OWN}")
    for n in range(12):
        answer = await ask(desk, EVERY[n % len(EVERY)], [uuid4()])
        assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (404, str(11 - n))
    answer = await ask(desk, "delete", [alias])
    assert (answer.status_code, answer.json()) == (429, {"message": "Too Many Attempts."})
    assert await states(desk, alias) == ["active"]
