"""New aliases: addy-api.md E13 and section 6, "Alias creation" (T-AN); what is refused, and who wins a race."""

import asyncio
import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.addy.conftest import Desk

SHARED, SECOND, OWN = "alias.example", "alias2.example", "johndoe.alias.example"
TWO_WORDS = r"^[a-z]+[._-][a-z]+\d{1,3}$"
LOCAL = "local_part_without_extension"
TAKEN = {"message": "That alias already exists.", "errors": {LOCAL: ["That alias already exists."]}}
LIMIT = "You have reached your hourly limit for creating new aliases"


async def aliases(desk: Desk) -> int:
    count: int = await desk.one("select count(*) from alias")
    return count


async def made(desk: Desk, **document: Any) -> dict[str, Any]:
    answer = await desk.post("aliases", document)
    assert answer.status_code == 201, answer.text
    assert list(answer.json()) == ["data"]
    shape: dict[str, Any] = answer.json()["data"]
    return shape


async def errors(desk: Desk, **document: Any) -> dict[str, Any]:
    """What is wrong; nothing may have been made."""
    before = await aliases(desk)
    answer = await desk.post("aliases", document)
    assert answer.status_code == 422, answer.text
    assert await aliases(desk) == before
    assert await desk.one("select count(*) from rate_window where kind = 'new_alias'") == 0
    found: dict[str, Any] = answer.json()["errors"]
    return found


async def test_t_an_1(desk: Desk) -> None:
    sent = {"domain": "Alias2.Example", "description": "shop", "local_part": "not-required-for-shared-alias"}
    alias = await made(desk, **sent)
    assert await aliases(desk) == 1
    assert re.fullmatch("[0-9a-z]{8}", alias["local_part"])
    assert alias == {
        "id": alias["id"],
        "user_id": str(await desk.one("select uuid from account where id = 1")),
        "aliasable_id": None,
        "aliasable_type": None,
        "local_part": alias["local_part"],
        "extension": None,
        "domain": SECOND,
        "email": f"{alias['local_part']}@{SECOND}",
        "active": True,
        "pinned": False,
        "description": "shop",
        "from_name": None,
        "attached_recipients_only": False,
        "emails_forwarded": 0,
        "emails_blocked": 0,
        "emails_replied": 0,
        "emails_sent": 0,
        "recipients": [],
        "last_forwarded": None,
        "last_blocked": None,
        "last_replied": None,
        "last_sent": None,
        "created_at": alias["created_at"],
        "updated_at": alias["created_at"],
        "deleted_at": None,
    }
    assert (await desk.get(f"aliases/{alias['id']}")).json()["data"] == alias


async def test_t_an_2(desk: Desk) -> None:
    ids = [str(await desk.recipient(f"r{n}@inbox.example")) for n in (2, 1)]
    alias = await made(desk, domain=SECOND, recipient_ids=[ids[0], ids[1].upper(), ids[0]])
    assert [recipient["id"] for recipient in alias["recipients"]] == ids
    assert (await desk.get(f"aliases/{alias['id']}")).json()["data"] == alias


async def test_t_an_3(desk: Desk) -> None:
    alias = await made(desk, domain=SECOND, format="uuid", local_part="given")
    assert alias["local_part"] == alias["id"]
    assert UUID(alias["id"]).version == 4


@pytest.mark.parametrize(
    ("sent", "local", "extension"),
    [
        pytest.param("valid-local-part", "valid-local-part", None, id="t_an_4"),
        pytest.param("valid-local-part+extension", "valid-local-part", "extension", id="t_an_5"),
        pytest.param("  Some.ONE+Ex+Te ", "some.one", "Ex+Te", id="case"),
        pytest.param("none+", "none", None, id="empty-extension"),
        pytest.param("a" * 50, "a" * 50, None, id="fifty"),
        pytest.param("x+ü\U0001f600", "x", "ü\U0001f600", id="unicode-extension"),
    ],
)
async def test_custom_names_below_a_username(desk: Desk, sent: str, local: str, extension: str | None) -> None:
    alias = await made(desk, domain=OWN, format="custom", local_part=sent)
    assert (alias["local_part"], alias["extension"]) == (local, extension)
    assert alias["email"] == f"{local}@{OWN}"
    assert alias["aliasable_type"] == "App\\Models\\Username"
    assert alias["aliasable_id"] == str(await desk.one("select uuid from username where name = 'johndoe'"))


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param("invalid-local-part.", id="t_an_6"),
        *(
            ".a",
            "a..b",
            "a b",
            "a@b",
            "a(b",
            "a,b",
            "a;b",
            "a:b",
            "a<b>",
            "a[b]",
            "a\\b",
            'a"b',
            '"quoted"',
            "ü",
            "\u212a",
        ),
        *("a\0b", "a\ud800b", "a+\0", "a+\ud800", "a+\r\nBcc: x@evil.example", "a+" + "e" * 255),
        *(["list"], {"a": "b"}, 7, True),
    ],
)
async def test_names_that_cannot_be(desk: Desk, sent: Any) -> None:
    assert await errors(desk, domain=OWN, format="custom", local_part=sent) == {LOCAL: ["Invalid alias local part."]}


@pytest.mark.parametrize("sent", [None, "", " ", "+ext"])
async def test_a_custom_name_is_required(desk: Desk, sent: Any) -> None:
    required = {LOCAL: ["The local part without extension field is required."]}
    assert await errors(desk, domain=OWN, format="custom", local_part=sent) == required
    assert await errors(desk, domain=OWN, format="custom") == required


async def test_a_custom_name_has_fifty_characters(desk: Desk) -> None:
    assert await errors(desk, domain=OWN, format="custom", local_part="a" * 51 + "+1") == {
        LOCAL: ["The local part without extension may not be greater than 50 characters."]
    }


@pytest.mark.parametrize("state", ["active", "deleted", "forgotten"])
async def test_t_an_7(desk: Desk, state: str) -> None:
    account = None if state == "forgotten" else 1
    extension = None if state == "forgotten" else "1"
    await desk.sql(
        "insert into alias (account_id, local_part, domain, extension, state, deleted_at)"
        " values (%s, 'exists', %s, %s, %s, case when %s <> 'active' then now() end)",
        *(account, OWN, extension, state, state),
    )
    before = await aliases(desk)
    answer = await desk.post("aliases", {"domain": OWN, "format": "custom", "local_part": "EXISTS+2"})
    assert (answer.status_code, answer.json()) == (422, TAKEN)
    assert await aliases(desk) == before


@pytest.mark.parametrize(
    "format",
    [
        pytest.param("random_words", id="t_an_8"),
        pytest.param("random_male_name", id="t_an_9"),
        pytest.param("random_female_name", id="t_an_10"),
        pytest.param("random_noun", id="t_an_11"),
    ],
)
async def test_words_by_lot(desk: Desk, format: str) -> None:
    alias = await made(desk, domain=SECOND, format=format)
    assert re.fullmatch(TWO_WORDS, alias["local_part"])
    assert "." in alias["local_part"]
    assert alias["local_part"] != alias["id"]


async def test_t_an_12(desk: Desk) -> None:
    await desk.sql("insert into username (account_id, name) values (1, 'john')")
    domain = await desk.one(
        "insert into domain (account_id, name, verified_at) values (1, 'john.example', now()) returning uuid"
    )
    alias = await made(desk, domain="john.example")
    assert (alias["aliasable_type"], alias["aliasable_id"]) == ("App\\Models\\Domain", str(domain))
    custom = await made(desk, domain="john.example", format="custom", local_part="postmaster")
    assert custom["email"] == "postmaster@john.example"


async def test_the_account_s_choices_are_used(desk: Desk) -> None:
    await desk.sql("update account set default_alias_format = 'random_words', alias_separator = '_' where id = 1")
    assert re.fullmatch(r"[a-z]+_[a-z]+\d{1,3}", (await made(desk, domain=SHARED))["local_part"])
    assert re.fullmatch(r"[a-z]+_[a-z]+\d{1,3}", (await made(desk, domain=SHARED, format=""))["local_part"])
    await desk.sql("update account set default_alias_format = 'custom' where id = 1")
    assert re.fullmatch("[0-9a-z]{8}", (await made(desk, domain=SHARED, format=None))["local_part"])
    await desk.sql("update account set alias_separator = 'random' where id = 1")
    drawn = [(await made(desk, domain=SHARED, format="random_noun"))["local_part"] for _ in range(30)]
    assert {char for local in drawn for char in local if not char.isalnum()} == {".", "_", "-"}


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ({}, {"domain": ["The domain field is required."]}),
        ({"domain": "nowhere.example"}, {"domain": ["The selected domain is invalid."]}),
        ({"domain": "stranger.alias.example"}, {"domain": ["The selected domain is invalid."]}),
        ({"domain": "johndoe.nowhere.example"}, {"domain": ["The selected domain is invalid."]}),
        ({"domain": "x.johndoe.alias.example"}, {"domain": ["The selected domain is invalid."]}),
        ({"domain": "unproven.example"}, {"domain": ["The selected domain is invalid."]}),
        ({"domain": "strange.example"}, {"domain": ["The selected domain is invalid."]}),
        ({"domain": "relay.example"}, {"domain": ["The selected domain is invalid."]}),
        ({"domain": "' or 1=1 --"}, {"domain": ["The selected domain is invalid."]}),
        ({"domain": "a" * 5000}, {"domain": ["The selected domain is invalid."]}),
        ({"domain": [SHARED]}, {"domain": ["The domain must be a string.", "The selected domain is invalid."]}),
        ({"domain": "a\0b"}, {"domain": ["The domain must be a string.", "The selected domain is invalid."]}),
        ({"domain": "\ud800"}, {"domain": ["The domain must be a string.", "The selected domain is invalid."]}),
        ({"domain": SHARED, "description": ["x"]}, {"description": ["The description must be a string."]}),
        ({"domain": SHARED, "description": "a\0b"}, {"description": ["The description must be a string."]}),
        (
            {"domain": SHARED, "description": "ü" * 201},
            {"description": ["The description may not be greater than 200 characters."]},
        ),
        ({"domain": SHARED, "format": "words"}, {"format": ["The selected format is invalid."]}),
        ({"domain": SHARED, "format": ["uuid"]}, {"format": ["The selected format is invalid."]}),
        ({"domain": SHARED, "recipient_ids": "x"}, {"recipient_ids": ["The recipient ids must be an array."]}),
        (
            {"domain": SHARED, "recipient_ids": ["x"] * 11},
            {"recipient_ids": ["The recipient ids may not have more than 10 items."]},
        ),
        ({"domain": SHARED, "recipient_ids": ["x", "y", None]}, {"recipient_ids": ["Invalid Recipient"]}),
        ({"domain": SHARED, "recipient_ids": [[["x"]], {"a": 1}]}, {"recipient_ids": ["Invalid Recipient"]}),
        ({"domain": SHARED, "recipient_ids": [str(uuid4())] * 10}, {"recipient_ids": ["Invalid Recipient"]}),
    ],
)
async def test_what_is_refused(desk: Desk, document: dict[str, Any], wrong: dict[str, Any]) -> None:
    await desk.sql("insert into domain (account_id, name) values (1, 'unproven.example')")
    await desk.sql("insert into domain (account_id, name, verified_at) values (2, 'strange.example', now())")
    assert await errors(desk, **document) == wrong


async def test_recipients_are_verified_ones_of_one_s_own(desk: Desk) -> None:
    mine = await desk.recipient("r@inbox.example")
    unverified = await desk.recipient("u@inbox.example", verified=False)
    theirs = await desk.one("select uuid from recipient where account_id = 2")
    for other in (unverified, theirs):
        wrong = await errors(desk, domain=SHARED, recipient_ids=[str(mine), str(other)])
        assert wrong == {"recipient_ids": ["Invalid Recipient"]}


async def test_ten_thousand_recipients_are_too_many(desk: Desk) -> None:
    wrong = await errors(desk, domain=SHARED, recipient_ids=[str(uuid4()) for _ in range(10_000)])
    assert wrong == {"recipient_ids": ["The recipient ids may not have more than 10 items."]}


async def test_all_that_is_wrong_is_said_in_order(desk: Desk) -> None:
    document = {"recipient_ids": 1, "local_part": "a.", "format": "custom", "description": 1, "domain": "x"}
    answer = await desk.post("aliases", document)
    assert answer.json() == {
        "message": "The selected domain is invalid. (and 3 more errors)",
        "errors": {
            "domain": ["The selected domain is invalid."],
            "description": ["The description must be a string."],
            "recipient_ids": ["The recipient ids must be an array."],
            LOCAL: ["Invalid alias local part."],
        },
    }


async def test_no_custom_names_on_shared_domains_unless_the_operator_wants_them(desk: Desk) -> None:
    wrong = await errors(desk, domain=SHARED, format="custom", local_part="shop")
    assert wrong == {"format": ["The selected format is invalid."]}


@pytest.mark.parametrize("chosen", [{"addy": {"custom_on_shared_domains": True}}])
class TestCustomOnSharedDomains:
    """Ruling D7, the other way."""

    async def test_the_operator_wants_them(self, desk: Desk) -> None:
        assert (await made(desk, domain=SHARED, format="custom", local_part="Shop+1"))["email"] == f"shop@{SHARED}"

    async def test_names_of_the_operator_are_taken(self, desk: Desk) -> None:
        for name in ("postmaster", "Abuse", "security"):
            answer = await desk.post("aliases", {"domain": SHARED, "format": "custom", "local_part": name})
            assert (answer.status_code, answer.json()) == (422, TAKEN)

    async def test_handles_have_their_name_everywhere(self, desk: Desk) -> None:
        await desk.sql("insert into handle (account_id, local_part) values (2, 'jd')")
        answer = await desk.post("aliases", {"domain": SHARED, "format": "custom", "local_part": "jd"})
        assert (answer.status_code, answer.json()) == (422, TAKEN)
        assert (await made(desk, domain=OWN, format="custom", local_part="jd"))["email"] == f"jd@{OWN}"

    async def test_a_forgotten_name_never_comes_back(self, desk: Desk) -> None:
        alias = await made(desk, domain=SHARED, format="custom", local_part="shop")
        assert (await desk.delete(f"aliases/{alias['id']}/forget")).status_code == 204
        answer = await desk.post("aliases", {"domain": SHARED, "format": "custom", "local_part": "shop"})
        assert (answer.status_code, answer.json()) == (422, TAKEN)


@pytest.mark.parametrize("name", ["b-" + "a" * 34, "r-" + "a" * 16, "srs0=x=y"])
async def test_names_that_mean_something_else_are_taken(desk: Desk, name: str) -> None:
    assert await errors(desk, domain=OWN, format="custom", local_part=name) == TAKEN["errors"]


async def test_banned_names_are_taken(desk: Desk) -> None:
    await desk.sql("insert into ban (type, value) values ('name', 'paypal')")
    assert await errors(desk, domain=OWN, format="custom", local_part="PayPal") == TAKEN["errors"]
    await desk.sql("update ban set expires_at = now() - interval '1 second'")
    assert (await made(desk, domain=OWN, format="custom", local_part="PayPal"))["local_part"] == "paypal"


async def test_of_fifty_who_want_a_name_at_once_exactly_one_gets_it(desk: Desk) -> None:
    document = {"domain": OWN, "format": "custom", "local_part": "shop"}
    answers = await asyncio.gather(*(desk.post("aliases", document) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 49
    assert all(answer.json() == TAKEN for answer in answers if answer.status_code == 422)
    assert await aliases(desk) == 1
    assert await desk.one("select sum(amount)::int from rate_window where kind = 'new_alias'") == 1
    assert await desk.one("select count(*) from audit where action = 'alias.create'") == 1


@pytest.mark.parametrize("chosen", [{"limits": {"new_aliases_per_hour": 3}}])
async def test_the_hourly_limit_holds_for_many_at_once(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.post("aliases", {"domain": SHARED}) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 9
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.text == LIMIT
    assert refused.headers["content-type"].startswith("text/plain")
    assert await aliases(desk) == 3


async def test_mail_and_api_share_the_hourly_limit(desk: Desk) -> None:
    window = "insert into rate_window values (1, 'new_alias', '', date_trunc('minute', now()) - %s::interval, %s)"
    await desk.sql(window, "20 minutes", 99)
    await desk.sql(window, "61 minutes", 50)
    assert (await desk.post("aliases", {"domain": "nowhere.example"})).status_code == 422  # counts for nothing
    await made(desk, domain=SHARED)
    answer = await desk.post("aliases", {"domain": SHARED})
    assert (answer.status_code, answer.text) == (429, LIMIT)
    answer = await desk.post("aliases", {"domain": "nowhere.example"})
    assert answer.status_code == 422  # what is invalid is said first


async def test_an_account_may_have_a_limit_of_its_own_or_none(desk: Desk) -> None:
    await desk.sql("insert into rate_window values (1, 'new_alias', '', date_trunc('minute', now()), 1)")
    await desk.sql("update account set new_aliases_per_hour = 1 where id = 1")
    assert (await desk.post("aliases", {"domain": SHARED})).status_code == 429
    await desk.sql("update account set new_aliases_per_hour = 0 where id = 1")
    await made(desk, domain=SHARED)
    assert await desk.one("select sum(amount)::int from rate_window where kind = 'new_alias'") == 2


async def test_texts_are_kept_as_they_are(desk: Desk) -> None:
    text = "x'); drop table alias; -- %s {a} \r\n\u202e<script>\U0001f600"
    alias = await made(desk, domain=OWN, description=text)
    assert alias["description"] == text
    assert (await desk.get(f"aliases/{alias['id']}")).json()["data"]["description"] == text


async def test_unknown_fields_and_form_bodies(desk: Desk) -> None:
    content = b"domain=alias.example&format=uuid&description=+a+b+&id=7&recipient_ids[]="
    answer = await desk.ask(
        "POST", "aliases/", None, content=content, **{"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"] == {"recipient_ids": ["Invalid Recipient"]}
    content = content.removesuffix(b"&recipient_ids[]=")
    answer = await desk.ask(
        "POST", "aliases/", None, content=content, **{"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 201
    assert answer.json()["data"]["description"] == "a b"


async def test_inactive_domains_and_usernames_are_no_options(desk: Desk) -> None:
    await desk.sql("update username set active = false where id = 1")
    assert await errors(desk, domain=OWN) == {"domain": ["The selected domain is invalid."]}
    await desk.sql("update domain set active = false where name = %s", SECOND)
    assert await errors(desk, domain=SECOND) == {"domain": ["The selected domain is invalid."]}


async def test_shared_domains_without_their_records_are_no_options(desk: Desk) -> None:
    """As for strangers (haltman-api.md 1.5): nobody gets an address whose mail goes elsewhere."""
    await desk.sql("update domain set mx_verified_at = null where name = %s", SECOND)
    for name in (SECOND, f"johndoe.{SECOND}"):
        assert await errors(desk, domain=name) == {"domain": ["The selected domain is invalid."]}
    assert (await desk.get("domain-options")).json()["data"] == [SHARED, OWN]


async def test_domains_that_strangers_are_not_shown_are_options(desk: Desk) -> None:
    before = (await desk.get("domain-options")).json()
    await desk.sql("update domain set visible = false where name = %s", SECOND)
    assert (await desk.get("domain-options")).json() == before
    assert (await made(desk, domain=SECOND))["domain"] == SECOND
