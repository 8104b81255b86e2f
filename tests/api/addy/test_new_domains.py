"""Bringing domains here over the addy.io API: E25 and its proof (addy-api.md sections 3.5 and 6)."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from mailrelay.core.errors import BadConfig
from mailrelay.core.facts import AccountId
from mailrelay.core.lookup import Answer, Mx
from mailrelay.core.ownership import proof
from mailrelay.flows.domainkeys import DomainKeys
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.manage_domains import Domains
from mailrelay.store.manage_keys import DkimFolder, init_secrets
from mailrelay.wiring.addy import application
from mailrelay.wiring.domaincheck import SigningKeys, checks
from tests.api.addy.conftest import Desk, settings
from tests.api.addy.fakedns import FakeDns
from tests.api.addy.parentdesk import audited, domain, errors

NOT_FOUND = "Verification record not found, please add the following TXT record to your domain: "


@pytest.fixture
def key(tmp_path: Path, desk: Desk) -> bytes:
    return read_secret(tmp_path / "secrets", "ownership.key")[0]


async def add(desk: Desk, key: bytes, name: str) -> httpx2.Response:
    """Bring a domain here, proved."""
    desk.dns.txt(name, "v=spf1 -all", proof(key, AccountId(desk.account), name))
    return await desk.post("domains", {"domain": name})


async def test_t_do_3_a_proved_domain_comes_here(desk: Desk, key: bytes) -> None:
    response = await add(desk, key, "random.example")
    assert response.status_code == 201
    made = response.json()["data"]
    assert (made["domain"], made["active"], made["catch_all"]) == ("random.example", True, True)
    assert made["domain_verified_at"] == made["created_at"]
    assert (made["domain_mx_validated_at"], made["domain_sending_verified_at"]) == (None, None)
    assert (made["aliases_count"], made["default_recipient"]) == (0, None)
    assert await audited(desk) == [("token:1", 1, "domain.add")]


async def test_its_keys_are_the_workers_to_make(desk: Desk, key: bytes, dsn: str, tmp_path: Path) -> None:
    folder = tmp_path / "dkim"
    await add(desk, key, "random.example")
    assert not folder.exists()
    jobs = await desk.sql("select kind, payload from job")
    assert jobs == [("domain_keys", {"domain_id": await desk.one("select id from domain where name like 'random%%'")})]
    database = Database(dsn, 1, 20.0, "test")
    await database.open()
    make = DomainKeys(Domains(database), SigningKeys(DkimFolder(folder), "relay.example"))
    await make(jobs[0][1])
    made = {path.name: path.read_bytes() for path in (folder / "random.example").iterdir()}
    assert sorted(made) == ["mr1.pem", "mr1e.pem"]
    await make(jobs[0][1])
    assert {path.name: path.read_bytes() for path in (folder / "random.example").iterdir()} == made
    gone = (await add(desk, key, "gone.example")).json()["data"]["id"]
    assert (await desk.delete(f"domains/{gone}")).status_code == 204
    await make((await desk.sql("select payload from job where payload <> %s::jsonb", json.dumps(jobs[0][1])))[0][0])
    await database.close()
    assert [path.name for path in folder.iterdir()] == ["random.example"]


async def test_its_stamps_come_by_themselves_once_its_records_are_published(
    desk: Desk, key: bytes, dsn: str, tmp_path: Path
) -> None:
    made = (await add(desk, key, "random.example")).json()["data"]
    folder = DkimFolder(tmp_path / "dkim")
    config = settings(dsn, tmp_path)
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    check = checks(config, database, [desk.dns])

    async def stamps(minutes: float) -> list[bool]:
        """After that time, whether mail comes here and whether it may be sent."""
        await check(datetime.now(UTC) + timedelta(minutes=minutes))
        shown = (await desk.get(f"domains/{made['id']}")).json()["data"]
        return [shown[name] is not None for name in ("domain_mx_validated_at", "domain_sending_verified_at")]

    assert await stamps(1) == [False, False]
    assert not folder.present("random.example")  # it was not due yet
    assert await stamps(3) == [False, False]
    desk.dns.answers["random.example", "MX"] = Answer((Mx(10, "mx.relay.example"),))
    assert await stamps(6) == [True, False]
    desk.dns.txt("random.example", "v=spf1 mx -all")
    desk.dns.txt("_dmarc.random.example", "v=DMARC1; p=reject")
    for selector, text in folder.texts("random.example"):
        desk.dns.txt(f"{selector}._domainkey.random.example", text)
    assert await stamps(10) == [True, True]
    await database.close()


async def test_a_domain_that_did_not_come_leaves_no_job(desk: Desk, key: bytes) -> None:
    await domain(desk, "random.example", account=2)
    assert (await add(desk, key, "random.example")).status_code == 422
    assert (await desk.post("domains", {"domain": "unproven.example"})).status_code == 404
    assert await desk.sql("select from job") == []


async def test_a_name_that_was_given_up_may_be_anybodys(desk: Desk, key: bytes) -> None:
    first = (await add(desk, key, "random.example")).json()["data"]["id"]
    await desk.alias("shop@random.example")
    assert (await desk.delete(f"domains/{first}")).status_code == 204
    await domain(desk, "random.example", account=2)
    await desk.sql("delete from domain where name = 'random.example'")
    again = (await add(desk, key, "random.example")).json()["data"]
    assert (again["id"] != first, again["aliases_count"]) == (True, 0)


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
    init_secrets(config.secrets)
    (config.secrets / "ownership.key").unlink()
    with pytest.raises(BadConfig, match=r"ownership\.key: is missing; `mailrelay secrets init` makes it"):
        application(config, Database(dsn, 1, 20.0, "test"), FakeDns())


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
