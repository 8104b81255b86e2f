"""Shared domains for administrators (haltman-api.md sections 1.5, 3.20 and 7.5)."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from mailrelay.core.lookup import Answer
from mailrelay.core.notices import Code
from mailrelay.store import directory
from mailrelay.store.database import Database
from mailrelay.wiring.domaincheck import incidents, recheck_job
from tests.api.haltman.conftest import Desk
from tests.api.haltman.dnsdesk import NEW, publish, publish_web, told

ALIAS = {"id": 1, "name": "alias.example", "active": 1, "active_mx": 1, "active_ui": 0, "visible": 1}
ALIAS2 = {**ALIAS, "id": 2, "name": "alias2.example"}


@pytest.fixture
async def admin(desk: Desk) -> Desk:
    return await desk.admin()


async def error(reply: Any) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]


async def test_get_list_newest_first(admin: Desk) -> None:
    reply = await admin.get("admin/domains")
    assert reply.json() == {"items": [ALIAS2, ALIAS], "pagination": {"total": 2, "limit": 50, "offset": 0}}
    assert reply.headers["cache-control"] == "no-store, private"
    reply = await admin.get("admin/domains?limit=1&offset=1")
    assert reply.json() == {"items": [ALIAS], "pagination": {"total": 2, "limit": 1, "offset": 1}}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("active=0", ["off.example"]),
        ("active=yes", ["hidden_example", "alias2.example", "alias.example"]),
        ("visible=false", ["hidden_example"]),
        ("name=ALIAS", ["alias2.example", "alias.example"]),
        ("name=2.", ["alias2.example"]),
        ("name=%25", []),
        ("name=_", []),
        ("name=off&active=1", []),
    ],
)
async def test_get_list_filters(admin: Desk, query: str, names: list[str]) -> None:
    await admin.sql(
        "insert into domain (name, active, visible) values ('off.example', false, true), ('hid.example', true, false)"
    )
    shown = (await admin.get(f"admin/domains?{query}")).json()
    assert [one["name"] for one in shown["items"]] == [name.replace("hidden_example", "hid.example") for name in names]
    assert shown["pagination"]["total"] == len(names)


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=201", "limit"), ("offset=-1", "offset"), ("active=", "active"), ("name=", "name")],
)
async def test_get_list_invalid_params(admin: Desk, query: str, field: str) -> None:
    reply = await admin.get(f"admin/domains?{query}")
    assert (*await error(reply), reply.json()["field"]) == (400, "invalid_params", field)


async def test_own_domains_of_accounts_are_none_of_them(admin: Desk) -> None:
    await admin.sql("insert into domain (name, account_id, verified_at) values ('own.example', 1, now())")
    assert (await admin.get("admin/domains")).json()["pagination"]["total"] == 2
    for method in ("GET", "PATCH", "DELETE"):
        assert await error(await admin.ask(method, "admin/domains/3", {"active": 0})) == (404, "domain_not_found")
    assert await error(await admin.post("admin/domains/3/recheckdns")) == (404, "domain_not_found")
    assert await error(await admin.post("admin/domains", {"name": "own.example"})) == (409, "domain_taken")


async def test_get_one(admin: Desk) -> None:
    assert (await admin.get("admin/domains/1")).json() == {"item": ALIAS}


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_domain_not_found(admin: Desk, method: str) -> None:
    reply = await admin.ask(method, "admin/domains/77", {"active": 0})
    assert (*await error(reply), reply.json()["id"]) == (404, "domain_not_found", 77)


@pytest.mark.parametrize("number", ["0", "x", "1.0", "0x1", "-1", "99999999999999999999"])
async def test_path_ids_are_digits(admin: Desk, number: str) -> None:
    reply = await admin.get(f"admin/domains/{number}")
    assert (*await error(reply), reply.json()["field"]) == (400, "invalid_params", "id")


async def test_post_adds_a_domain_that_waits_for_its_dns(admin: Desk) -> None:
    reply = await admin.post("admin/domains", {"name": f" {NEW.upper()} "})
    made = {"id": 3, "name": NEW, "active": 1, "active_mx": 0, "active_ui": 0, "visible": 1}
    assert (reply.status_code, reply.json()) == (201, {"ok": True, "created": True, "item": made})
    assert await admin.sql("select actor, action, object_id from audit") == [("admin:1", "domain.add", 3)]
    assert await admin.sql("select payload from job where kind = 'domain_keys'") == [({"domain_id": 3},)]
    assert NEW not in (await admin.get("domains")).json()


async def test_post_takes_flags(admin: Desk) -> None:
    reply = await admin.post("admin/domains", {"name": NEW, "active": False, "visible": "0", "active_mx": 1})
    assert {name: reply.json()["item"][name] for name in ("active", "visible", "active_mx")} == {
        "active": 0,
        "visible": 0,
        "active_mx": 0,
    }


@pytest.mark.parametrize(
    "document",
    [{}, {"name": ""}, {"name": 5}, {"name": None}, {"name": "localhost"}, {"name": "a_b.example"},
     {"name": "x.example1"}, {"name": "bounces.relay.example"}, {"name": "x.ex\x00ample"}, {"name": "a" * 254}],
)  # fmt: skip
async def test_post_invalid_name(admin: Desk, document: dict[str, Any]) -> None:
    reply = await admin.post("admin/domains", document)
    assert (*await error(reply), reply.json()["field"]) == (400, "invalid_params", "name")


async def test_post_invalid_flag(admin: Desk) -> None:
    reply = await admin.post("admin/domains", {"name": NEW, "active": "maybe"})
    assert (*await error(reply), reply.json()["field"]) == (400, "invalid_params", "active")
    assert set(reply.json()["constraints"]) == {"isInt", "min", "max"}


async def test_post_domain_taken(admin: Desk) -> None:
    reply = await admin.post("admin/domains", {"name": "Alias.example"})
    assert (*await error(reply), reply.json()["name"]) == (409, "domain_taken", "alias.example")
    assert "ok" not in reply.json()


async def test_post_at_the_home_of_a_verified_recipient(admin: Desk) -> None:
    assert await error(await admin.post("admin/domains", {"name": "inbox.example"})) == (409, "domain_taken")


async def test_fifty_who_add_one_name_at_once_add_it_once(admin: Desk) -> None:
    replies = await asyncio.gather(*(admin.post("admin/domains", {"name": NEW}) for _ in range(10)))
    assert sorted(reply.status_code for reply in replies) == [201] + [409] * 9
    assert await admin.one("select count(*) from domain where name = %s", NEW) == 1


async def test_post_banned(admin: Desk) -> None:
    await admin.sql("insert into ban (type, value) values ('domain', 'part.example')")
    assert await error(await admin.post("admin/domains", {"name": "sub.part.example"})) == (403, "banned")


async def test_patch_switches(admin: Desk) -> None:
    reply = await admin.patch("admin/domains/1", {"active": 0, "visible": False})
    item = {**ALIAS, "active": 0, "visible": 0}
    assert (reply.status_code, reply.json()) == (200, {"ok": True, "updated": True, "item": item})
    assert await admin.sql("select actor, action from audit") == [("admin:1", "domain.set")]
    await admin.patch("admin/domains/1", {"active": 0})
    assert await admin.one("select count(*) from audit") == 1  # nothing changed


async def test_patch_cannot_switch_on_the_home_of_a_verified_recipient(admin: Desk) -> None:
    """While it was off it was nobody's, and mailboxes there could be confirmed."""
    await admin.patch("admin/domains/2", {"active": 0})
    await admin.sql("insert into recipient (account_id, address, verified_at) values (1, 'bob@alias2.example', now())")
    reply = await admin.patch("admin/domains/2", {"active": 1})
    assert await error(reply) == (409, "domain_taken")
    assert "bob@alias2.example" in reply.json()["hint"]
    assert await admin.one("select active from domain where id = 2") is False
    await admin.sql("delete from recipient where address = 'bob@alias2.example'")
    assert (await admin.patch("admin/domains/2", {"active": 1})).status_code == 200


@pytest.mark.parametrize("document", [{}, {"active_mx": 1}, {"active": None}])
async def test_patch_empty(admin: Desk, document: dict[str, Any]) -> None:
    reply = await admin.patch("admin/domains/1", document)
    assert (*await error(reply), reply.json()["reason"]) == (400, "invalid_params", "empty_patch")


async def test_patch_renames_and_takes_approvals(admin: Desk) -> None:
    await admin.sql("update domain set ui_verified_at = now(), sending_verified_at = now() where id = 1")
    await admin.sql("insert into dns_recheck (domain_id, type) values (1, 'EMAIL')")
    await admin.sql("insert into alias (account_id, local_part, domain) values (2, 'a', 'alias.example')")
    reply = await admin.patch("admin/domains/1", {"name": NEW})
    assert reply.json()["item"] == {**ALIAS, "name": NEW, "active_mx": 0}
    assert await admin.sql("select sending_verified_at from domain where id = 1") == [(None,)]
    assert await admin.sql("select from dns_recheck") == []
    assert await admin.sql("select domain, domain_id, state from alias") == [("alias.example", None, "active")]
    reply = await admin.patch("admin/domains/1", {"name": "alias.example"})
    assert reply.json()["item"] == {**ALIAS, "active_mx": 0}
    assert await admin.sql("select domain_id, state from alias") == [(1, "active")]


async def test_patch_to_the_same_name_changes_nothing(admin: Desk) -> None:
    reply = await admin.patch("admin/domains/1", {"name": "ALIAS.example"})
    assert reply.json()["item"] == ALIAS


async def test_patch_domain_taken(admin: Desk) -> None:
    reply = await admin.patch("admin/domains/1", {"name": "alias2.example"})
    assert (*await error(reply), reply.json()["name"]) == (409, "domain_taken", "alias2.example")
    assert (await admin.get("admin/domains/1")).json()["item"] == ALIAS


@pytest.mark.parametrize(
    ("document", "status"),
    [({"active": 1}, 403), ({"visible": 0}, 403), ({"active": 0}, 200), ({"name": "x.part.example", "active": 0}, 403)],
)
async def test_patch_banned(admin: Desk, document: dict[str, Any], status: int) -> None:
    await admin.sql("insert into ban (type, value) values ('domain', 'alias.example'), ('domain', 'part.example')")
    assert (await admin.patch("admin/domains/1", document)).status_code == status


async def test_delete_keeps_aliases_without_mail_and_they_come_back_with_it(admin: Desk) -> None:
    await admin.sql(
        """insert into alias (account_id, local_part, domain, state, deleted_at)
           values (2, 'a', 'alias.example', 'active', null), (2, 'b', 'alias.example', 'deleted', now())"""
    )
    reply = await admin.delete("admin/domains/1")
    assert (reply.status_code, reply.json()) == (200, {"ok": True, "deleted": True, "item": ALIAS})
    kept = "select local_part, state, domain_id from alias order by local_part"
    assert await admin.sql(kept) == [("a", "active", None), ("b", "deleted", None)]
    database = Database(admin.conn.info.dsn, 1, 20.0, "test")
    await database.open()
    shared, _ = await directory.read_domains(database)
    await database.close()
    assert "alias.example" not in shared  # so mail to it is none of ours (D-15)
    again = (await admin.post("admin/domains", {"name": "alias.example"})).json()["item"]
    assert await admin.sql(kept) == [("a", "active", again["id"]), ("b", "deleted", again["id"])]
    assert await admin.sql("select action from audit order by id") == [("domain.remove",), ("domain.add",)]


async def test_aliases_of_a_removed_domain_are_not_given_to_the_account_that_brings_it(admin: Desk) -> None:
    await admin.sql("insert into alias (account_id, local_part, domain) values (2, 'a', 'alias.example')")
    await admin.delete("admin/domains/1")
    await admin.sql("insert into domain (name, account_id, verified_at) values ('alias.example', 1, now())")
    assert await admin.sql("select account_id, domain_id from alias") == [(2, None)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "domains"), ("GET", "domains/1"), ("POST", "domains"), ("PATCH", "domains/1"), ("DELETE", "domains/1"),
        ("POST", "domains/1/recheckdns"), ("POST", "domains/recheckdns/all"), ("GET", "dns-requests"),
        ("GET", "dns-requests/1"), ("POST", "dns-requests"), ("PATCH", "dns-requests/1"), ("DELETE", "dns-requests/1"),
    ],
)  # fmt: skip
async def test_all_of_it_is_for_administrators(desk: Desk, admin: Desk, method: str, path: str) -> None:
    assert await error(await desk.ask(method, f"admin/{path}", {})) == (401, "invalid_or_expired_session")
    if method != "GET":
        reply = await admin.ask(method, f"admin/{path}", {}, X_CSRF_Token="")
        assert await error(reply) == (403, "csrf_required")


# --- forced checks -------------------------------------------------------------------------------------------------


async def test_recheckdns_of_one_answers_the_report(admin: Desk) -> None:
    publish(admin.dns, "alias.example")
    await admin.sql("insert into dns_recheck (domain_id, type) values (1, 'SENDING')")
    reply = await admin.post("admin/domains/1/recheckdns")
    assert reply.status_code == 200
    report = reply.json()
    assert {name: report[name] for name in ("status", "scope", "target")} == {
        "status": "completed",
        "scope": "TARGET",
        "target": "alias.example",
    }
    assert [report[f"{name}_rechecks"] for name in ("processed", "successful", "failed")] == [1, 1, 0]
    assert report["duration_seconds"] >= 0
    (result,) = report["results"]
    next_check = result.pop("nextCheckAt")
    assert result == {
        "domain": "alias.example",
        "type": "EMAIL",
        "ok": True,
        "status": "OK",
        "consecutiveFailures": 0,
        "approvalColumn": "active_mx",
        "approvalValue": 1,
        "error": None,
    }
    assert abs((datetime.fromisoformat(next_check) - datetime.now(UTC)).total_seconds() - 4 * 3600) < 1500
    summary = report["summary"]
    (shown,) = summary.pop("domains")
    assert summary == {
        "totalDomains": 1,
        "adminEnabled": 1,
        "adminDisabled": 0,
        "emailValid": 1,
        "emailInvalid": 0,
        "uiValid": 0,
        "uiInvalid": 1,
        "bothValid": 0,
        "bothInvalid": 0,
    }
    assert shown["rechecks"]["EMAIL"]["status"] == "OK"
    assert await admin.one("select next_check_at <= now() from dns_recheck where type = 'SENDING'")  # the worker's
    assert any("alias.example was checked" in text for text in await told(admin))


async def test_recheckdns_approves_and_grades(admin: Desk) -> None:
    await admin.post("admin/domains", {"name": NEW})
    report = (await admin.post("admin/domains/3/recheckdns")).json()
    assert (report["failed_rechecks"], report["results"][0]["approvalValue"], report["results"][0]["ok"]) == (
        1,
        0,
        False,
    )
    assert "has no MX record" in report["results"][0]["error"]
    publish(admin.dns)
    assert (await admin.post("admin/domains/3/recheckdns")).json()["results"][0]["approvalValue"] == 1
    assert (await admin.get("admin/domains/3")).json()["item"]["active_mx"] == 1
    admin.dns.answers[NEW, "MX"] = Answer()
    report = (await admin.post("admin/domains/3/recheckdns")).json()
    assert (report["results"][0]["status"], report["results"][0]["approvalValue"]) == ("WARNING", 1)
    assert any(text.startswith(f"WARNING: {NEW} still gets mail here") for text in await told(admin))
    report = (await admin.post("admin/domains/3/recheckdns")).json()
    assert report["results"][0]["consecutiveFailures"] == 1  # so often it counts


async def test_recheckdns_looks_at_the_web_where_that_was_asked_for(admin: Desk) -> None:
    publish(admin.dns, "alias.example")
    publish_web(admin.dns, "alias.example")
    await admin.sql("insert into dns_recheck (domain_id, type, status) values (1, 'UI', 'INVALID')")
    report = (await admin.post("admin/domains/1/recheckdns")).json()
    assert [(one["type"], one["ok"], one["approvalColumn"]) for one in report["results"]] == [
        ("EMAIL", True, "active_mx"),
        ("UI", True, "active_ui"),
    ]
    assert report["summary"]["bothValid"] == 1
    assert (await admin.get("admin/domains/1")).json()["item"]["active_ui"] == 1


async def test_recheckdns_domain_not_found(admin: Desk) -> None:
    assert await error(await admin.post("admin/domains/77/recheckdns")) == (404, "domain_not_found")


async def test_recheckdns_invalid_domain_state(admin: Desk) -> None:
    await admin.sql("insert into domain (name) values ('192.0.2.1')")
    reply = await admin.post("admin/domains/3/recheckdns")
    assert (*await error(reply), reply.json()["id"], reply.json()["field"]) == (500, "invalid_domain_state", 3, "name")
    assert reply.json()["requestId"]


async def test_recheckdns_busy(admin: Desk) -> None:
    await admin.sql("insert into dns_run values (true, 'x.example', now(), now() + interval '1 minute')")
    busy = (409, "another check of domains is under way")
    assert await error(await admin.post("admin/domains/1/recheckdns")) == busy
    assert await error(await admin.post("admin/domains/recheckdns/all")) == busy
    await admin.sql("update dns_run set leased_until = now() - interval '1 second'")
    assert (await admin.post("admin/domains/1/recheckdns")).status_code == 200
    assert await admin.sql("select from dns_run") == []


async def test_d_43_recheckdns_all_answers_at_once_and_the_worker_does_it(admin: Desk) -> None:
    publish(admin.dns, "alias.example")
    reply = await admin.post("admin/domains/recheckdns/all")
    assert reply.status_code == 202
    document = reply.json()
    assert {name: document[name] for name in ("status", "scope", "target")} == {
        "status": "started",
        "scope": "ALL",
        "target": None,
    }
    assert admin.dns.asked == []
    assert (await admin.post("admin/domains/recheckdns/all")).status_code == 409
    assert (await admin.post("admin/domains/1/recheckdns")).status_code == 409
    await admin.sql("update dns_run set leased_until = now() - interval '1 second'")
    assert (await admin.post("admin/domains/recheckdns/all")).status_code == 409  # the worker is still to do it
    assert (await admin.post("admin/domains/2/recheckdns")).status_code == 200
    database = Database(admin.conn.info.dsn, 2, 20.0, "test")
    await database.open()
    ((payload,),) = await admin.sql("select payload from job where kind = 'domain_recheck'")
    await recheck_job(admin.config, database, [admin.dns])(payload)
    await database.close()
    await admin.sql("update job set finished_at = now() where kind = 'domain_recheck'")
    assert await admin.sql("select domain_id, type, status from dns_recheck order by 1, 2") == [
        (1, "EMAIL", "OK"),
    ]
    assert await admin.sql("select from dns_run") == []
    texts = await told(admin)
    assert [text for text in texts if text.startswith("All domains are checked now")]
    assert "2 domains were checked, as admin:1 wants it: 2 have wrong records." in texts
    assert (await admin.post("admin/domains/1/recheckdns")).status_code == 200


async def test_two_who_have_all_checked_at_once_have_it_done_once(admin: Desk) -> None:
    replies = await asyncio.gather(*(admin.post("admin/domains/recheckdns/all") for _ in range(5)))
    assert sorted(reply.status_code for reply in replies) == [202] + [409] * 4
    assert await admin.one("select count(*) from job where kind = 'domain_recheck'") == 1


async def test_operators_are_reminded_of_domains_with_wrong_records(admin: Desk) -> None:
    database = Database(admin.conn.info.dsn, 2, 20.0, "test")
    await database.open()
    remind = incidents(admin.config, database)
    assert await remind(datetime.now(UTC)) == 0
    await admin.sql(
        """insert into dns_recheck (domain_id, type, status, alert_state, last_error)
           values (1, 'EMAIL', 'WARNING', 'OPEN', 'alias.example has no MX record.')"""
    )
    for _ in range(3):  # every hour; that one a day goes out is the notice's own limit
        assert await remind(datetime.now(UTC)) == 1
    await database.close()
    (text,) = await told(admin, Code.DND)
    assert text.startswith("Checks of domains that fail: 1. alias.example (EMAIL) is WARNING")
