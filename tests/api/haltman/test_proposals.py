"""Domains that anybody proposes (haltman-api.md sections 3.15 and 7)."""

from datetime import datetime, timedelta

import pytest

from mailrelay.core.lookup import Answer, Mx
from mailrelay.core.notices import Code
from tests.api.haltman.conftest import Desk, later
from tests.api.haltman.dnsdesk import NEW, ask, domain, publish, publish_web, told, work


async def test_post_request_email_is_pending_until_its_records_are_right(desk: Desk) -> None:
    asked = await ask(desk)
    assert {name: asked[name] for name in ("http", "id", "target", "type", "status")} == {
        "http": 202,
        "id": 1,
        "target": NEW,
        "type": "EMAIL",
        "status": "PENDING",
    }
    ends = datetime.fromisoformat(asked["expires_at"])
    assert abs(ends - later(hours=24)) < timedelta(minutes=1)
    assert await domain(desk) == ()
    assert await told(desk, Code.DNR) == [NEW]
    assert await work(desk, 0.5) == 0  # it was looked at a moment ago
    publish(desk.dns)
    assert await work(desk, 1.1) == 1
    assert await domain(desk) == (False, True, False, True)
    asked = await ask(desk)
    assert (asked["http"], asked["status"], asked["id"]) == (200, "ACTIVE", 1)
    (text,) = await told(desk, Code.DNE)
    assert text.startswith(f"ACTIVE: the records of {NEW} (EMAIL, request 1) are right")
    assert "It is not switched on" in text


async def test_post_request_email_of_a_domain_that_is_ready_is_active_at_once(desk: Desk) -> None:
    publish(desk.dns)
    asked = await ask(desk, target=f" {NEW.upper()}.. ")
    assert (asked["http"], asked["status"], asked["target"]) == (200, "ACTIVE", NEW)
    assert await domain(desk) == (False, True, False, True)
    assert await desk.sql("select kind, payload ->> 'domain_id' is not null from job where kind = 'domain_keys'") == [
        ("domain_keys", True)
    ]
    assert await desk.sql("select type, status from dns_recheck order by type") == [("EMAIL", "OK"), ("SENDING", "OK")]
    actors = await desk.sql("select distinct actor from audit")
    assert actors == [("public",)]


async def test_post_request_ui(desk: Desk) -> None:
    assert (await ask(desk, "ui"))["http"] == 202
    publish_web(desk.dns)
    assert await work(desk, 1.1) == 1
    assert await domain(desk) == (False, False, True, True)
    assert await desk.sql("select type from dns_recheck") == [("UI",)]


@pytest.mark.parametrize("chosen", [{"haltman": {"onboarding": {"auto_approve": True}}}])
async def test_domains_are_switched_on_if_the_operator_wants_it(desk: Desk) -> None:
    publish(desk.dns)
    await ask(desk)
    assert await domain(desk) == (True, True, False, True)
    assert NEW in (await desk.get("domains")).json()


@pytest.mark.parametrize("chosen", [{"haltman": {"onboarding": {"auto_approve": True}}}])
async def test_a_web_interface_alone_switches_nothing_on(desk: Desk) -> None:
    """Else mail to mailboxes there would be caught here."""
    publish_web(desk.dns)
    await ask(desk, "ui")
    assert await domain(desk) == (False, False, True, True)


async def test_approval_of_a_known_domain_sets_one_flag_and_nothing_else(desk: Desk) -> None:
    await desk.sql("insert into domain (name, active, visible) values (%s, false, false)", NEW)
    publish(desk.dns)
    await ask(desk)
    assert await domain(desk) == (False, True, False, False)


async def test_d_20_a_request_for_an_approved_domain_takes_nothing_and_resets_nothing(desk: Desk) -> None:
    first = await ask(desk, target="alias.example")
    assert (first["http"], first["status"]) == (200, "ACTIVE")
    assert desk.dns.asked == []
    before = await desk.sql("select * from dns_request")
    again = await ask(desk, target="alias.example")
    assert (again["http"], again["id"]) == (200, first["id"])
    assert await desk.sql("select * from dns_request") == before
    assert await domain(desk, "alias.example") == (True, True, False, True)


async def test_d_20_a_failing_look_at_the_web_leaves_mail_alone(desk: Desk) -> None:
    assert (await ask(desk, "ui", "alias.example"))["http"] == 202
    await work(desk, 2)
    await work(desk, 25 * 60)
    assert await desk.one("select status from dns_request") == "EXPIRED"
    assert await domain(desk, "alias.example") == (True, True, False, True)


async def test_d_20_a_failing_look_at_an_unapproved_domain_takes_no_other_approval(desk: Desk) -> None:
    await desk.sql("insert into domain (name, ui_verified_at) values (%s, now())", NEW)
    assert (await ask(desk))["http"] == 202
    assert await domain(desk) == (True, False, True, True)


async def test_whoever_asks_again_meanwhile_prolongs_it_and_makes_no_more_questions(desk: Desk) -> None:
    first = await ask(desk)
    await desk.sql("update dns_request set expires_at = now() + interval '1 hour'")
    questions = len(desk.dns.asked)
    again = await ask(desk)
    assert (again["http"], again["id"]) == (202, first["id"])
    assert datetime.fromisoformat(again["expires_at"]) > later(hours=23)
    assert len(desk.dns.asked) == questions
    assert len(await told(desk, Code.DNR)) == 1


async def test_what_expired_begins_again(desk: Desk) -> None:
    await ask(desk)
    assert await work(desk, 24 * 60 + 1) == 1
    assert await desk.sql("select status, next_check_at, fail_reason is not null from dns_request") == [
        ("EXPIRED", None, True)
    ]
    assert [text.partition(":")[0] for text in await told(desk, Code.DNE)] == ["EXPIRED"]
    publish(desk.dns)
    assert await work(desk, 24 * 60 + 5) == 0  # nobody looks any more
    assert (await ask(desk))["status"] == "ACTIVE"


async def test_a_domain_that_was_removed_is_asked_for_anew(desk: Desk) -> None:
    publish(desk.dns)
    await ask(desk)
    await desk.sql("delete from domain where name = %s", NEW)
    desk.dns.answers.clear()
    assert (await ask(desk))["status"] == "PENDING"


@pytest.mark.parametrize("record", ["MX", "SPF", "DMARC", "DKIM"])
async def test_every_record_of_mail_is_needed(desk: Desk, record: str) -> None:
    publish(desk.dns)
    missing = {
        "MX": (NEW, "MX"),
        "SPF": (NEW, "TXT"),
        "DMARC": (f"_dmarc.{NEW}", "TXT"),
        "DKIM": (f"mr1._domainkey.{NEW}", "CNAME"),
    }
    desk.dns.answers[missing[record]] = Answer()  # type: ignore[index]
    assert (await ask(desk))["status"] == "PENDING"
    shown = (await desk.get(f"checkdns/{NEW}")).json()["email"]["missing"]
    assert {one["key"] for one in shown if not one["ok"]} == {record}


async def test_silence_of_dns_is_no_verdict(desk: Desk) -> None:
    publish(desk.dns)
    desk.dns.answers[NEW, "MX"] = None
    assert (await ask(desk))["status"] == "PENDING"
    reason, kept = (await desk.sql("select fail_reason, last_result from dns_request"))[0]
    assert "DNS gave no answer" in reason
    assert kept is None
    desk.dns.answers[NEW, "MX"] = Answer((Mx(10, "mx.relay.example"),))
    assert await work(desk, 1.1) == 1


@pytest.mark.parametrize("kind", ["email", "ui"])
@pytest.mark.parametrize(
    "target",
    [
        "",
        "https://part.example",
        "part.example/x",
        "part..example",
        "-part.example",
        "192.0.2.1",
        "2001:db8::1",
        "a" * 64 + ".example",
        "p\xe4rt.example",
        5,
        None,
        ["part.example"],
        "part.exam\x00ple",
    ],
)
async def test_post_request_bad_target(desk: Desk, kind: str, target: object) -> None:
    reply = await desk.post(f"request/{kind}", {"target": target})
    assert (reply.status_code, reply.json()["error"]) == (400, "target must be a domain name without scheme")
    assert await desk.sql("select from dns_request") == []


@pytest.mark.parametrize("kind", ["email", "ui"])
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "", "application/jsonx"])
async def test_post_request_unsupported_media_type(desk: Desk, kind: str, content_type: str) -> None:
    reply = await desk.ask("POST", f"request/{kind}", content=b"target=part.example", Content_Type=content_type)
    assert (reply.status_code, reply.json()["error"]) == (415, "unsupported_media_type")


async def test_post_request_invalid_json(desk: Desk) -> None:
    reply = await desk.ask("POST", "request/email", content=b"{", Content_Type="application/json; charset=utf-8")
    assert (reply.status_code, reply.json()["reason"]) == (400, "invalid_json")


@pytest.mark.parametrize("method", ["ui", "email", "status"])
async def test_banned_domains_and_those_below_them(desk: Desk, method: str) -> None:
    await desk.sql("insert into ban (type, value, reason) values ('domain', 'part.example', 'spam')")
    if method == "status":
        reply = await desk.get("checkdns/sub.part.example")
    else:
        reply = await desk.post(f"request/{method}", {"target": "sub.part.example"})
    assert (reply.status_code, reply.json()["error"]) == (403, "banned")
    ban = reply.json()["ban"]
    assert (ban["ban_type"], ban["ban_value"], ban["reason"]) == ("domain", "part.example", "spam")
    assert await desk.sql("select from dns_request") == []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("relay.example", "a domain of the service itself"),
        ("x.bounces.relay.example", "a domain of the service itself"),
        ("mx.relay.example", "a domain of the service itself"),
        ("localhost", "no mail domain"),
        ("own.example", "belongs to an account"),
        ("sub.own.example", "cannot be added"),
        ("inbox.example", "verified recipient"),
    ],
)
async def test_what_can_be_no_shared_domain_fails_whatever_it_publishes(desk: Desk, target: str, words: str) -> None:
    await desk.sql("insert into domain (name, account_id, verified_at) values ('own.example', 1, now())")
    publish(desk.dns, target)
    asked = await ask(desk, target=target)
    assert (asked["http"], asked["status"]) == (202, "FAILED")
    assert await domain(desk, target) == ()
    assert words in await desk.one("select fail_reason from dns_request")
    assert words in (await told(desk, Code.DNE))[0]
    assert await desk.sql("select mx_verified_at from domain where name = 'own.example'") == [(None,)]


# --- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "path", "where", "reason"),
    [
        ({"haltman": {"rates": {"req_ui_ip": 2}}}, "request/ui", "request_ui", "too_many_requests_ip"),
        ({"haltman": {"rates": {"req_ui_target": 2}}}, "request/ui", "request_ui", "too_many_requests_target"),
        ({"haltman": {"rates": {"req_email_ip": 2}}}, "request/email", "request_email", "too_many_requests_ip"),
        ({"haltman": {"rates": {"req_email_target": 2}}}, "request/email", "request_email", "too_many_requests_target"),
    ],
)
async def test_limits_of_requests(desk: Desk, path: str, where: str, reason: str) -> None:
    replies = [await desk.post(path, {"target": f"{NEW}{dots}"}) for dots in ("", ".", "..")]
    assert [reply.status_code for reply in replies] == [202, 202, 429]
    assert {name: replies[2].json()[name] for name in ("error", "where", "reason")} == {
        "error": "rate_limited",
        "where": where,
        "reason": reason,
    }
    other = await desk.post(path, {"target": "other.example"})
    assert other.status_code == (429 if reason.endswith("ip") else 202)


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"checkdns_target": 30}}}])
async def test_d_38_status_is_limited_by_target_alone(desk: Desk) -> None:
    for target in ("a.example", "b.example", "c.example"):  # together more than 60 within a minute
        replies = [await desk.get(f"checkdns/{target}") for _ in range(30)]
        assert {reply.status_code for reply in replies} == {404}
    reply = await desk.get("checkdns/A.example.")
    assert (reply.status_code, reply.json()["where"], reply.json()["reason"]) == (
        429,
        "checkdns",
        "too_many_requests_target",
    )
