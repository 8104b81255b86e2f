"""Domains over the addy.io API: E22 to E32 (addy-api.md sections 3.5 and 6)."""

import asyncio
import re
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from mailrelay.core.errors import BadConfig
from mailrelay.core.facts import AccountId
from mailrelay.core.ownership import proof
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.wiring.addy import application
from tests.api.addy.conftest import Desk, settings
from tests.api.addy.fakedns import FakeDns
from tests.api.addy.parentdesk import DANGEROUS, HEAVY, NESTED, NO_REGEX, audited, domain, errors

NOT_FOUND = "Verification record not found, please add the following TXT record to your domain: "


@pytest.fixture
def key(tmp_path: Path, desk: Desk) -> bytes:
    return read_secret(tmp_path / "secrets", "ownership.key")[0]


async def add(desk: Desk, key: bytes, name: str) -> httpx2.Response:
    """Bring a domain here, proved."""
    desk.dns.txt(name, "v=spf1 -all", proof(key, AccountId(desk.account), name))
    return await desk.post("domains", {"domain": name})


async def test_t_do_1_all_domains_newest_first(desk: Desk) -> None:
    for name in ("one.example", "two.example", "three.example"):
        await domain(desk, name)
    await domain(desk, "strange.example", account=2)
    response = await desk.get("domains")
    assert response.status_code == 200
    assert [one["domain"] for one in response.json()["data"]] == ["three.example", "two.example", "one.example"]
    assert list(response.json()) == ["data"]


async def test_t_do_2_one_domain_with_all_its_fields(desk: Desk) -> None:
    owner = str(await desk.one("select uuid from account where id = 1"))
    recipient = await desk.recipient("two@inbox.example")
    number = await domain(desk)
    await desk.sql("update domain set default_recipient_id = 3 where uuid = %s", number)
    await desk.alias("a@own.example")
    await desk.alias("b@own.example", state="inactive")
    await desk.sql("update alias set state = 'deleted', deleted_at = now() where local_part = 'b'")
    response = await desk.get(f"domains/{str(number).upper()}")
    assert response.status_code == 200
    assert list(response.json()) == ["data"]
    found = response.json()["data"]
    embedded = found.pop("default_recipient")
    assert (embedded["id"], embedded["email"], embedded["aliases"]) == (str(recipient), "two@inbox.example", [])
    assert "aliases_count" not in embedded
    stamps = {name: found.pop(name) for name in ("domain_verified_at", "created_at", "updated_at")}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", stamp) for stamp in stamps.values())
    assert found == {
        "id": str(number),
        "user_id": owner,
        "domain": "own.example",
        "description": None,
        "from_name": None,
        "aliases": [],
        "aliases_count": 1,
        "active": True,
        "catch_all": True,
        "auto_create_regex": None,
        "domain_mx_validated_at": None,
        "domain_sending_verified_at": None,
    }


async def test_t_do_3_a_proved_domain_comes_here_with_keys(desk: Desk, key: bytes, tmp_path: Path) -> None:
    response = await add(desk, key, "random.example")
    assert response.status_code == 201
    made = response.json()["data"]
    assert (made["domain"], made["active"], made["catch_all"]) == ("random.example", True, True)
    assert made["domain_verified_at"] == made["created_at"]
    assert (made["domain_mx_validated_at"], made["domain_sending_verified_at"]) == (None, None)
    assert (made["aliases_count"], made["default_recipient"]) == (0, None)
    assert sorted(path.name for path in (tmp_path / "dkim" / "random.example").iterdir()) == ["mr1.pem", "mr1e.pem"]
    assert await audited(desk) == [("token:1", 1, "domain.add")]


@pytest.mark.parametrize("name", ["random.example", "RANDOM.Example"])
async def test_t_do_4_a_domain_is_here_once(desk: Desk, key: bytes, name: str) -> None:
    await domain(desk, "random.example")
    desk.dns.txt("random.example", proof(key, AccountId(1), "random.example"))
    assert errors(await desk.post("domains", {"domain": name})) == {"domain": ["The domain has already been taken."]}


@pytest.mark.parametrize("name", ["random.example", "sub.random.example", "up.example"])
async def test_a_domain_of_somebody_else_and_its_neighbourhood_are_taken(desk: Desk, key: bytes, name: str) -> None:
    for other in ("random.example", "below.up.example"):
        await domain(desk, other, account=2)
    assert errors(await add(desk, key, name)) == {"domain": ["The domain has already been taken."]}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("random.", id="T-DO-5"),
        pytest.param("https://random.example", id="T-DO-6"),
        "random",
        "random.example.",
        "-random.example",
        "random-.example",
        "random.e",
        "a_b.example",
        "random..example",
        "münchen.example",
        "\N{KELVIN SIGN}.example",
        "a" * 64 + ".example",
        "random.example/x",
        "random.example\r\nX-Header: 1",
        "random.-example",
    ],
)
async def test_t_do_5_t_do_6_what_is_no_domain_name(desk: Desk, name: str) -> None:
    assert errors(await desk.post("domains", {"domain": name})) == {"domain": ["Invalid domain name."]}
    assert desk.dns.asked == []


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "The domain field is required."),
        ({"domain": " "}, "The domain field is required."),
        ({"domain": ["random.example"]}, "The domain must be a string."),
        ({"domain": 5}, "The domain must be a string."),
        ({"domain": "random.exam\x00ple"}, "The domain must be a string."),
        ({"domain": "\ud800.example"}, "The domain must be a string."),
        ({"domain": f"{'a.' * 50}example"}, "The domain may not be greater than 100 characters."),
    ],
)
async def test_its_first_failure_ends_the_validation(desk: Desk, document: object, message: str) -> None:
    response = await desk.post("domains", document)
    assert errors(response) == {"domain": [message]}
    assert response.json()["message"] == message


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("alias.example", id="T-DO-7"),
        pytest.param("subdomain.alias.example", id="T-DO-8"),
        "deep.below.ALIAS2.example",
        "johndoe.alias.example",
        "relay.example",
        "bounces.relay.example",
        "x.srs.relay.example",
        "mx.relay.example",
    ],
)
async def test_t_do_7_t_do_8_domains_of_the_installation(desk: Desk, key: bytes, name: str) -> None:
    assert errors(await add(desk, key, name)) == {"domain": ["The domain cannot be a local one."]}


@pytest.mark.parametrize("name", ["inbox.example", "INBOX.example"])
async def test_the_home_of_a_verified_recipient_does_not_come_here(desk: Desk, key: bytes, name: str) -> None:
    message = "The domain must not already be used by a verified recipient."
    assert errors(await add(desk, key, name)) == {"domain": [message]}


async def test_the_home_of_an_unverified_recipient_may(desk: Desk, key: bytes) -> None:
    await desk.recipient("x@new.example", verified=False)
    assert (await add(desk, key, "new.example")).status_code == 201


# --- the proof -----------------------------------------------------------------------------------------------------


def refused(response: httpx2.Response) -> str:
    """The text to publish."""
    assert response.status_code == 404
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text.startswith(NOT_FOUND)
    return response.text.removeprefix(NOT_FOUND)


async def test_without_its_record_the_text_to_publish_is_told(desk: Desk, key: bytes) -> None:
    wanted = refused(await desk.post("domains", {"domain": "random.example"}))
    assert re.fullmatch("aa-verify=[0-9a-f]{40}", wanted)
    assert wanted == proof(key, AccountId(1), "random.example")
    assert await desk.sql("select from domain where name = 'random.example'") == []
    await domain(desk, "another.example")  # the original's text changed with the number of domains
    assert refused(await desk.post("domains", {"domain": "Random.EXAMPLE"})) == wanted
    desk.dns.txt("random.example", f" {wanted} ")
    assert (await desk.post("domains", {"domain": "random.example"})).status_code == 201


def test_without_its_key_the_api_says_what_makes_it(dsn: str, tmp_path: Path) -> None:
    config = settings(dsn, tmp_path / "old")
    with pytest.raises(BadConfig, match=r"ownership\.key: is missing; `mailrelay secrets init` makes it"):
        application(config, Database(dsn, 1, 3.0, "test"), FakeDns())


async def test_trouble_with_dns_is_told_as_a_missing_record(desk: Desk, key: bytes) -> None:
    desk.dns.fails("random.example")
    assert refused(await desk.post("domains", {"domain": "random.example"})) == proof(
        key, AccountId(1), "random.example"
    )


@pytest.mark.parametrize("wrong", ["another account", "another domain", "cut", "a text around it"])
async def test_the_text_of_something_else_proves_nothing(desk: Desk, key: bytes, wrong: str) -> None:
    right = proof(key, AccountId(1), "random.example")
    texts = {
        "another account": proof(key, AccountId(2), "random.example"),
        "another domain": proof(key, AccountId(1), "random2.example"),
        "cut": right[:-1],
        "a text around it": f"x {right}",
    }
    desk.dns.txt("random.example", texts[wrong])
    assert refused(await desk.post("domains", {"domain": "random.example"})) == right


async def test_polling_twice_a_minute_stays_within_the_limit_of_six(desk: Desk) -> None:
    for left in (5, 4, 3, 2, 1, 0):
        response = await desk.post("domains", {"domain": "random.example"})
        refused(response)
        assert (response.headers["x-ratelimit-limit"], response.headers["x-ratelimit-remaining"]) == ("6", str(left))
    response = await desk.post("domains", {"domain": "random.example"})
    assert (response.status_code, response.json()) == (429, {"message": "Too Many Attempts."})
    assert (await desk.get("domains")).status_code == 200


async def test_of_fifty_who_prove_a_domain_at_once_one_gets_it(desk: Desk, key: bytes) -> None:
    await desk.sql(
        """with made as (insert into account (name) select 'racer' || n from generate_series(1, 50) n returning id),
                boxes as (insert into recipient (account_id, address, verified_at)
                          select id, 'r' || id || '@inbox.example', now() from made returning id, account_id)
           insert into token (account_id, kind, name, hash)
           select id, 'addy', 'Race', sha256(('race' || id)::bytea) from made"""
    )
    await desk.sql(
        """update account set default_recipient_id = r.id from recipient r
           where r.account_id = account.id and account.id > 2"""
    )
    accounts = [row[0] for row in await desk.sql("select id from account where id > 2")]
    desk.dns.txt("won.example", *(proof(key, AccountId(account), "won.example") for account in accounts))
    asks = (
        desk.post("domains", {"domain": "won.example"}, Authorization=f"Bearer race{account}") for account in accounts
    )
    responses = await asyncio.gather(*asks)
    assert sorted(response.status_code for response in responses) == [201] + [422] * 49
    for response in responses:
        if response.status_code == 422:
            assert errors(response) == {"domain": ["The domain has already been taken."]}
    assert await desk.one("select count(*) from domain where name = 'won.example'") == 1


# --- changes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "column", "before"),
    [
        pytest.param("active-domains", "active", False, id="T-DO-9"),
        pytest.param("catch-all-domains", "catch_all", False, id="T-DO-11"),
    ],
)
async def test_t_do_9_t_do_11_switched_on(desk: Desk, path: str, column: str, before: bool) -> None:
    number = await domain(desk, "own.example", **{column: before})
    for sent in (str(number), str(number).upper()):
        response = await desk.post(f"{path}/", {"id": sent})
        assert (response.status_code, response.json()["data"][column]) == (200, True)
    assert await desk.one(f"select {column} from domain where uuid = %s", number) is True
    assert await audited(desk) == [("token:1", 1, "domain.set")]  # the second time there was nothing to change


@pytest.mark.parametrize(
    ("path", "column"),
    [
        pytest.param("active-domains", "active", id="T-DO-10"),
        pytest.param("catch-all-domains", "catch_all", id="T-DO-12"),
    ],
)
async def test_t_do_10_t_do_12_switched_off(desk: Desk, path: str, column: str) -> None:
    number = await domain(desk)
    response = await desk.delete(f"{path}/{number}")
    assert (response.status_code, response.content) == (204, b"")
    shown = (await desk.get(f"domains/{number}")).json()["data"]
    assert shown[column] is False
    assert (await desk.delete(f"{path}/{number}")).status_code == 204
    assert (await desk.get(f"domains/{number}")).json()["data"] == shown


async def test_its_time_of_change_moves_only_with_a_change(desk: Desk) -> None:
    number = await domain(desk)
    before = await desk.one("select updated_at from domain where uuid = %s", number)
    await desk.patch(f"domains/{number}", {})
    await desk.post("active-domains", {"id": str(number)})
    await desk.patch(f"domains/{number}", {"description": None})
    assert await desk.one("select updated_at from domain where uuid = %s", number) == before
    await desk.patch(f"domains/{number}", {"description": "Changed"})
    assert await desk.one("select updated_at from domain where uuid = %s", number) > before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("description", "The new description", id="T-DO-13"),
        pytest.param("from_name", "John Doe", id="T-DO-14"),
        pytest.param("auto_create_regex", "^prefix", id="T-DO-15"),
        ("auto_create_regex", r"^a\/b$"),
        ("description", "ü" * 200),
        ("from_name", "ü" * 50),
    ],
)
async def test_t_do_13_t_do_14_t_do_15_fields_change_one_by_one(desk: Desk, field: str, value: str) -> None:
    number = await domain(desk, description="Old", from_name="Old", auto_create_regex="old")
    old = {"description": "Old", "from_name": "Old", "auto_create_regex": "old"}
    response = await desk.patch(f"domains/{number}", {field: value})
    assert response.status_code == 200
    assert {name: response.json()["data"][name] for name in old} == {**old, field: value}
    response = await desk.patch(f"domains/{number}", {field: ""})
    assert {name: response.json()["data"][name] for name in old} == {**old, field: None}
    details = await desk.sql("select detail from audit order by id")
    shown = value if field == "auto_create_regex" else "changed"
    assert [row[0][field] for row in details] == [shown, None if field == "auto_create_regex" else "changed"]


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        pytest.param({"auto_create_regex": "///"}, {"auto_create_regex": [NO_REGEX]}, id="T-DO-16"),
        ({"auto_create_regex": "(?=x)"}, {"auto_create_regex": [NO_REGEX]}),
        ({"auto_create_regex": "[a"}, {"auto_create_regex": [NO_REGEX]}),
        pytest.param({"auto_create_regex": DANGEROUS[0]}, {"auto_create_regex": [HEAVY]}, id="T-DO-17-1"),
        pytest.param({"auto_create_regex": DANGEROUS[1]}, {"auto_create_regex": [HEAVY]}, id="T-DO-17-2"),
        pytest.param({"auto_create_regex": DANGEROUS[2]}, {"auto_create_regex": [NESTED]}, id="T-DO-17-3"),
        pytest.param({"auto_create_regex": DANGEROUS[3]}, {"auto_create_regex": [HEAVY]}, id="T-DO-17-4"),
        ({"auto_create_regex": "((a+)+"}, {"auto_create_regex": [NO_REGEX, NESTED]}),
        (
            {"auto_create_regex": "a" * 101},
            {"auto_create_regex": ["The auto create regex may not be greater than 100 characters."]},
        ),
        ({"auto_create_regex": ["a"]}, {"auto_create_regex": ["The auto create regex must be a string."]}),
        (
            {"auto_create_regex": 5, "from_name": "x" * 51, "description": ["x"]},
            {
                "description": ["The description must be a string."],
                "from_name": ["The from name may not be greater than 50 characters."],
                "auto_create_regex": ["The auto create regex must be a string."],
            },
        ),
        ({"description": "x" * 201}, {"description": ["The description may not be greater than 200 characters."]}),
        ({"description": "x\x00"}, {"description": ["The description must be a string."]}),
    ],
)
async def test_t_do_16_t_do_17_what_a_change_cannot_have(
    desk: Desk, given: dict[str, object], messages: dict[str, list[str]]
) -> None:
    number = await domain(desk)
    found = errors(await desk.patch(f"domains/{number}", {**given, "unknown": 1}))
    assert (found, list(found)) == (messages, list(messages))
    assert await audited(desk) == []


async def test_t_do_18_a_domain_goes_with_its_aliases_for_good(desk: Desk, key: bytes) -> None:
    number = await domain(desk)
    kept = await desk.alias("shop@alias.example")
    alias = await desk.alias("shop@own.example")
    gone = await desk.alias("old@own.example")
    await desk.attach(alias, await desk.recipient("two@inbox.example"))
    await desk.sql("update alias set state = 'deleted', deleted_at = now() where uuid = %s", gone)
    assert (await desk.delete(f"domains/{str(number).upper()}")).status_code == 204
    assert [row[0] for row in await desk.sql("select uuid from alias")] == [kept]
    assert await desk.one("select count(*) from alias_recipient") == 0
    assert await audited(desk) == [("token:1", 1, "domain.remove")]
    assert (await desk.delete(f"domains/{number}")).status_code == 404
    assert (await add(desk, key, "own.example")).json()["data"]["aliases_count"] == 0


async def test_t_do_19_a_verified_recipient_becomes_the_default(desk: Desk) -> None:
    number, recipient = await domain(desk), await desk.recipient("two@inbox.example")
    response = await desk.patch(f"domains/{number}/default-recipient", {"default_recipient": str(recipient).upper()})
    assert response.status_code == 200
    assert response.json()["data"]["default_recipient"]["id"] == str(recipient)
    assert await desk.one("select default_recipient_id from domain where uuid = %s", number) == 3


async def test_t_do_20_an_unverified_recipient_does_not(desk: Desk) -> None:
    number = await domain(desk)
    unverified = await desk.recipient("two@inbox.example", verified=False)
    strange = await desk.one("select uuid from recipient where id = 2")
    for sent in (str(unverified), str(strange), str(uuid4()), "nonsense"):
        response = await desk.patch(f"domains/{number}/default-recipient", {"default_recipient": sent})
        message = f"No query results for model [App\\Models\\Recipient] {sent}"
        assert (response.status_code, response.json()) == (404, {"message": message})
    assert await desk.one("select default_recipient_id from domain where uuid = %s", number) is None


@pytest.mark.parametrize("document", [{"default_recipient": ""}, {"default_recipient": None}, {}])
async def test_t_do_21_no_default_recipient(desk: Desk, document: object) -> None:
    number = await domain(desk, default_recipient_id=1)
    response = await desk.patch(f"domains/{number}/default-recipient", document)
    assert (response.status_code, response.json()["data"]["default_recipient"]) == (200, None)


async def test_a_default_recipient_is_a_string(desk: Desk) -> None:
    number = await domain(desk)
    response = await desk.patch(f"domains/{number}/default-recipient", {"default_recipient": [1]})
    assert errors(response) == {"default_recipient": ["The default recipient must be a string."]}


async def test_what_belongs_to_others_is_not_there(desk: Desk) -> None:
    strange = await domain(desk, "strange.example", account=2)
    shared = await desk.one("select uuid from domain where name = 'alias.example'")
    before = await desk.sql("select * from domain order by id")
    for sent in (str(strange), str(shared), str(uuid4()), "foo", "1", "%00"):
        echoed = "\x00" if sent == "%00" else sent
        answers = [
            await desk.get(f"domains/{sent}"),
            await desk.patch(f"domains/{sent}", {"description": "mine"}),
            await desk.delete(f"domains/{sent}"),
            await desk.patch(f"domains/{sent}/default-recipient", {"default_recipient": "nonsense"}),
            await desk.delete(f"active-domains/{sent}"),
            await desk.delete(f"catch-all-domains/{sent}"),
            await desk.post("active-domains", {"id": sent}) if sent != "%00" else None,
        ]
        for response in answers:
            if response is not None:
                message = f"No query results for model [App\\Models\\Domain] {echoed}"
                assert (response.status_code, response.json()) == (404, {"message": message})
    assert await desk.sql("select * from domain order by id") == before


async def test_the_body_of_a_toggle_names_it(desk: Desk) -> None:
    assert errors(await desk.post("active-domains", {})) == {"id": ["The id field is required."]}
    assert errors(await desk.post("active-domains", {"id": 5})) == {"id": ["The id must be a string."]}


# --- where aliases may be made ---------------------------------------------------------------------------------------


async def test_the_options_are_usernames_own_and_shared_domains_backwards(desk: Desk) -> None:
    response = await desk.get("domain-options")
    assert response.status_code == 200
    assert response.json() == {
        "data": ["alias2.example", "alias.example", "johndoe.alias2.example", "johndoe.alias.example"],
        "sharedDomains": ["alias.example", "alias2.example"],
        "defaultAliasDomain": "alias.example",
        "defaultAliasFormat": "random_characters",
    }
    await domain(desk)
    await desk.sql("insert into username (account_id, name) values (1, 'second')")
    await desk.sql("update account set default_alias_domain = 'own.example', default_alias_format = 'uuid'")
    found = (await desk.get("domain-options")).json()
    assert found["data"] == [
        *("alias2.example", "alias.example", "own.example"),
        *("second.alias2.example", "second.alias.example", "johndoe.alias2.example", "johndoe.alias.example"),
    ]
    assert (found["defaultAliasDomain"], found["defaultAliasFormat"]) == ("own.example", "uuid")


async def test_where_mail_would_be_dropped_no_alias_is_offered(desk: Desk) -> None:
    await domain(desk, active=False)
    await desk.sql("insert into domain (name, account_id) values ('unproved.example', 1)")
    await desk.sql("insert into username (account_id, name, active) values (1, 'second', false)")
    assert (await desk.get("domain-options")).json()["data"] == [
        *("alias2.example", "alias.example", "johndoe.alias2.example", "johndoe.alias.example")
    ]


@pytest.mark.parametrize("chosen", [{"addy": {"shared_domains": False}}])
async def test_shared_domains_may_be_kept_from_users(desk: Desk, chosen: object) -> None:
    found = (await desk.get("domain-options")).json()
    assert found["data"] == ["johndoe.alias2.example", "johndoe.alias.example"]
    assert (found["sharedDomains"], found["defaultAliasDomain"]) == ([], "johndoe.alias.example")
    await desk.sql("update account set is_admin = true")
    found = (await desk.get("domain-options")).json()
    assert (len(found["data"]), found["sharedDomains"]) == (4, ["alias.example", "alias2.example"])


@pytest.mark.parametrize("chosen", [{"addy": {"username_domains": False}}])
async def test_subdomains_may_be_kept_from_users(desk: Desk, chosen: object) -> None:
    assert (await desk.get("domain-options")).json()["data"] == ["alias2.example", "alias.example"]
