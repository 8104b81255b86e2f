"""Where aliases may be made, over the addy.io API: E22 (addy-api.md section 2.9)."""

import pytest

from tests.api.addy.conftest import Desk
from tests.api.addy.parentdesk import domain


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
