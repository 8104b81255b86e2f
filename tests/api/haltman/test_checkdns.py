"""How far proposed domains are (haltman-api.md section 7.4)."""

import json

import pytest

from mailrelay.core.lookup import Answer, Mx
from tests.api.haltman.conftest import Desk
from tests.api.haltman.dnsdesk import NEW, WEB, ask, domain, publish, work

# What is told of the four records while nothing fits.
MISSING = [
    {
        "key": "MX",
        "type": "MX",
        "name": NEW,
        "expected": {"host": "mx.relay.example", "priority": 10},
        "found": [
            {"exchange": "mx.elsewhere.example", "priority": 10},
            {"exchange": "mx.relay.example", "priority": 20},
        ],
        "ok": False,
        "found_truncated": False,
    },
    {
        "key": "SPF",
        "type": "TXT",
        "name": NEW,
        "expected": "v=spf1 a:mx.relay.example ~all",
        "found": ["v=spf1 -all"],
        "ok": False,
        "found_truncated": False,
    },
    {
        "key": "DMARC",
        "type": "TXT",
        "name": f"_dmarc.{NEW}",
        "expected": "v=DMARC1; p=none; adkim=r; aspf=r",
        "found": [],
        "ok": False,
        "found_truncated": False,
    },
    {
        "key": "DKIM",
        "type": "CNAME",
        "name": f"mr1._domainkey.{NEW}",
        "expected": "mr1._domainkey.relay.example",
        "found": [],
        "ok": False,
        "found_truncated": False,
    },
]


async def test_get_checkdns_tells_every_record(desk: Desk) -> None:
    desk.dns.answers[NEW, "MX"] = Answer((Mx(20, "mx.relay.example"), Mx(10, "mx.elsewhere.example")))
    desk.dns.txt(NEW, "v=spf1 -all", "unrelated")
    asked = await ask(desk)
    reply = await desk.get(f"checkdns/{NEW.upper()}.")
    assert reply.headers["cache-control"] == "no-store, private"
    document = reply.json()
    email = document.pop("email")
    summary = document.pop("summary")
    assert document == {"target": f"{NEW}.", "normalized_target": NEW, "ui": None}
    assert {name: summary[name] for name in ("has_ui", "has_email", "overall_status", "expires_at_min")} == {
        "has_ui": False,
        "has_email": True,
        "overall_status": "PENDING",
        "expires_at_min": asked["expires_at"],
    }
    assert summary["last_checked_at_max"] == email["last_checked_at"] is not None
    assert summary["next_check_at_min"] == email["next_check_at"] is not None
    assert (email["status"], email["id"], email["expires_at"]) == ("PENDING", 1, asked["expires_at"])
    assert email["missing"] == MISSING


async def test_get_checkdns_tells_passed_records_as_well(desk: Desk) -> None:
    publish(desk.dns)
    await ask(desk)
    document = (await desk.get(f"checkdns/{NEW}")).json()
    assert document["summary"]["overall_status"] == "ACTIVE"
    assert document["summary"]["next_check_at_min"] is None
    assert [(one["key"], one["ok"]) for one in document["email"]["missing"]] == [
        ("MX", True),
        ("SPF", True),
        ("DMARC", True),
        ("DKIM", True),
    ]


async def test_get_checkdns_of_what_nobody_looked_at(desk: Desk) -> None:
    await desk.sql(
        """insert into dns_request (target, type, expires_at, next_check_at)
           values (%s, 'UI', now() + interval '1 day', now() + interval '1 minute')""",
        NEW,
    )
    document = (await desk.get(f"checkdns/{NEW}")).json()
    assert document["ui"]["missing"] == [
        {"key": "CNAME", "type": "CNAME", "name": NEW, "expected": WEB, "found": [], "ok": False}
    ]
    assert (document["email"], document["ui"]["last_checked_at"], desk.dns.asked) == (None, None, [])


@pytest.mark.parametrize("chosen", [{"haltman": {"onboarding": {"ui_addresses": ["192.0.2.80"]}}}])
async def test_get_checkdns_tells_addresses_where_they_would_do(desk: Desk) -> None:
    desk.dns.answers[NEW, "CNAME"] = Answer(("edge.example",))
    desk.dns.answers["edge.example", "A"] = Answer(("192.0.2.81",))
    await ask(desk, "ui")
    (shown,) = (await desk.get(f"checkdns/{NEW}")).json()["ui"]["missing"]
    assert (shown["expected_ips"], shown["found_ips"]) == (["192.0.2.80"], ["192.0.2.81"])
    assert (shown["chain_reason"], shown["found"], shown["ok"]) == ("authorized_ip_not_found", ["edge.example"], False)
    desk.dns.answers["edge.example", "A"] = Answer(("192.0.2.80",))
    assert await work(desk, 1.1) == 1


async def test_get_checkdns_not_found(desk: Desk) -> None:
    reply = await desk.get(f"checkdns/{NEW}")
    assert (reply.status_code, reply.json()["error"], reply.json()["target"]) == (404, "not_found", NEW)


@pytest.mark.parametrize("target", ["192.0.2.1", "a..b", "-x.example", "x%00.example", "p%C3%A4rt.example"])
async def test_get_checkdns_bad_target(desk: Desk, target: str) -> None:
    reply = await desk.get(f"checkdns/{target}")
    assert (reply.status_code, reply.json()["error"]) == (400, "target must be a domain name without scheme")


async def test_a_read_looks_again_when_that_is_due_and_at_most_once_a_minute(desk: Desk) -> None:
    await ask(desk)
    publish(desk.dns)
    assert (await desk.get(f"checkdns/{NEW}")).json()["email"]["status"] == "PENDING"
    await desk.sql("update dns_request set next_check_at = now() - interval '1 second'")
    assert (await desk.get(f"checkdns/{NEW}")).json()["email"]["status"] == "ACTIVE"
    assert await domain(desk) == (False, True, False, True)


async def test_reads_make_no_requests(desk: Desk) -> None:
    await ask(desk)
    assert (await desk.get(f"checkdns/{NEW}")).json()["ui"] is None
    assert await desk.one("select count(*) from dns_request") == 1


@pytest.mark.parametrize(
    ("ui", "email", "overall"),
    [
        ("PENDING", "FAILED", "PENDING"),
        ("FAILED", "EXPIRED", "FAILED"),
        ("ACTIVE", "EXPIRED", "EXPIRED"),
        ("ACTIVE", "ACTIVE", "ACTIVE"),
    ],
)
async def test_overall_status(desk: Desk, ui: str, email: str, overall: str) -> None:
    await desk.sql(
        """insert into dns_request (target, type, status, expires_at, next_check_at)
           select %s, type, status, now() + interval '1 day', now() + interval '1 day'
           from (values ('UI', %s), ('EMAIL', %s)) x (type, status)""",
        NEW,
        ui,
        email,
    )
    assert (await desk.get(f"checkdns/{NEW}")).json()["summary"]["overall_status"] == overall


@pytest.mark.parametrize(
    "written", [5, "x", [], {"missing": 5}, {"missing": [5, {"key": "MX"}, {"key": []}]}, {"missing": {}}]
)
async def test_whatever_administrators_wrote_the_status_is_readable(desk: Desk, written: object) -> None:
    await ask(desk)
    await desk.sql("update dns_request set last_result = %s::jsonb", json.dumps(written))
    missing = (await desk.get(f"checkdns/{NEW}")).json()["email"]["missing"]
    assert [one["key"] for one in missing] == ["MX", "SPF", "DMARC", "DKIM"]
