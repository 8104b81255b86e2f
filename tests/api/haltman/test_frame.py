"""What holds for every request (haltman-api.md section 2)."""

import asyncio
from typing import Any

import pytest

from mailrelay.api.haltman.app import Haltman, Site
from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.endpoint import Endpoint, Rule, by_member, by_origin
from mailrelay.api.haltman.gate import Gate
from mailrelay.api.haltman.replies import answer
from tests.api.haltman.conftest import Desk

NO_STORE = {"cache-control": "no-store, private", "pragma": "no-cache", "referrer-policy": "no-referrer"}


class Sample:
    """Endpoints of a test: one that counts how often it ran, with limits, and one that echoes."""

    def __init__(self) -> None:
        self.runs = 0
        limits = (
            Rule("first", 5, 60, by_origin, "sample", "too_many_requests_ip"),
            Rule("second", 2, 60, by_member("to"), "sample", "too_many_requests_to"),
        )
        self.endpoints = (
            Endpoint("GET", "sample/run", self._run, "runs", rules=limits),
            Endpoint("POST", "sample/echo/{id}", self._echo, "echoes"),
            Endpoint(
                "GET", "sample/safe", self._run, "runs", safe=True, caching={"Cache-Control": "public, max-age=10"}
            ),
        )

    async def _run(self, call: Call) -> Any:
        self.runs += 1
        return answer({"ok": True})

    async def _echo(self, call: Call) -> Any:
        return answer({"id": call.number(), "body": call.body, "base": call.base_url, "cookies": call.cookies})


@pytest.fixture
def sample(desk: Desk) -> Sample:
    """In place of the desk's endpoints."""
    made = Sample()
    gate = desk.app._gate
    site = Site("https://relay.example", ("https://mail.own.example",), bot_secret="s3cret")
    app = Haltman(made.endpoints, Gate(gate.turnstile, gate.keys, gate.sessions, {}), site, desk.app._clock)
    desk.client._transport.app = app  # type: ignore[attr-defined]
    return made


async def test_unknown_paths_answer_in_the_manner_of_the_api(desk: Desk) -> None:
    reply = await desk.get("nothing/here")
    assert reply.status_code == 404
    assert reply.json() == {"error": "not_found", "message": "There is nothing here.", "code": 404}
    assert {name: reply.headers[name] for name in NO_STORE} == NO_STORE
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "etag" not in reply.headers


async def test_all_below_admin_is_guarded_before_it_is_unknown(desk: Desk) -> None:
    assert (await desk.get("admin/nothing")).json()["error"] == "invalid_or_expired_session"
    admin = await desk.admin()
    assert (await admin.get("admin/nothing")).status_code == 404
    assert (await admin.post("admin/nothing", {}, X_CSRF_Token="")).json()["error"] == "csrf_required"
    assert (await admin.post("admin/nothing", {}, X_CSRF_Token="wrong")).json()["error"] == "invalid_csrf_token"


@pytest.mark.parametrize(("sent", "echoed"), [("abc-1._", True), ("a b", False), ("x" * 129, False), ("", False)])
async def test_request_ids_are_echoed_if_they_are_sane(desk: Desk, sent: str, echoed: bool) -> None:
    reply = await desk.get("nothing", X_Request_Id=sent)
    assert (reply.headers["x-request-id"] == sent) is echoed
    assert reply.headers["x-request-id"]


async def test_the_global_limit_answers_in_json(desk: Desk, sample: Sample) -> None:
    replies = [await desk.get("nothing") for _ in range(301)]
    assert {reply.status_code for reply in replies[:300]} == {404}
    last = replies[-1]
    assert last.status_code == 429
    assert last.json()["where"] == "global" and last.json()["reason"] == "too_many_requests_ip"
    assert 1 <= int(last.headers["retry-after"]) <= 60
    assert last.json()["retry_after_seconds"] == int(last.headers["retry-after"])


@pytest.mark.parametrize("path", ["sample/run/", "Sample/Run", "/api/sample/run/", "/API/sample/run"])
async def test_d_01_no_spelling_escapes_a_limit(desk: Desk, sample: Sample, path: str) -> None:
    for _ in range(5):
        await desk.get("sample/run")
    assert (await desk.get(path)).status_code in (404, 429)
    assert sample.runs == 5


async def test_d_01_head_executes_nothing(desk: Desk, sample: Sample) -> None:
    reply = await desk.ask("HEAD", "sample/run")
    assert reply.status_code == 405 and reply.headers["allow"] == "GET"
    assert sample.runs == 0
    assert (await desk.ask("HEAD", "sample/safe")).status_code == 200


async def test_a_refused_request_is_not_counted_by_the_rules_behind(desk: Desk, sample: Sample) -> None:
    for _ in range(5):
        await desk.get("sample/run?to=other@inbox.example")
    reply = await desk.get("sample/run?to=you@inbox.example")
    assert reply.json()["reason"] == "too_many_requests_ip" or reply.json()["reason"] == "too_many_requests_to"
    assert await desk.one("select count(*) from request_window where subject = 'you@inbox.example'") == 0


async def test_equal_requests_at_once_are_all_counted(desk: Desk, sample: Sample) -> None:
    replies = await asyncio.gather(*(desk.get("sample/run?to=a@inbox.example") for _ in range(8)))
    assert sorted(reply.status_code for reply in replies) == [200] * 2 + [429] * 6


async def test_bots_are_counted_by_the_source_that_they_name(desk: Desk, sample: Sample) -> None:
    for n in range(7):
        assert (await desk.get("sample/run", X_Bot_Auth_Token="s3cret", X_Bot_Source=f"chat:{n}")).status_code == 200
    assert sample.runs == 7
    replies = [await desk.get("sample/run", X_Bot_Auth_Token="wrong", X_Bot_Source=f"chat:{n}") for n in range(7)]
    assert [reply.status_code for reply in replies].count(429) == 2


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b'"text"', 400), (b"[1]", 200), (b"", 200), (b"  ", 200), (b'{"a": NaN}', 400), (b"\xff", 400)],
)
async def test_bodies_that_are_no_json(desk: Desk, sample: Sample, content: bytes, status: int) -> None:
    reply = await desk.ask("POST", "sample/echo/7", content=content, Content_Type="application/json")
    assert reply.status_code == status
    if status == 400:
        assert reply.json()["error"] == "invalid_params" and reply.json()["reason"] == "invalid_json"


async def test_d_42_bodies_that_are_too_large(desk: Desk, sample: Sample) -> None:
    reply = await desk.ask("POST", "sample/echo/7", content=b"x" * 32_769, Content_Type="application/json")
    assert reply.status_code == 413 and reply.json()["error"] == "payload_too_large"


async def test_an_empty_body_of_a_get_that_says_json_is_no_mistake(desk: Desk, sample: Sample) -> None:
    assert (await desk.ask("GET", "sample/run", content=b"", Content_Type="application/json")).status_code == 200


@pytest.mark.parametrize("number", ["0", "-1", "0x10", "1e3", "1.0", "١", "9" * 30, "%20"])
async def test_ids_are_decimal_digits(desk: Desk, sample: Sample, number: str) -> None:
    reply = await desk.post(f"sample/echo/{number}", {})
    assert reply.status_code == 400
    assert {"error": "invalid_params", "field": "id"}.items() <= reply.json().items()


async def test_d_25_cookies_that_cannot_be_decoded_are_ignored(desk: Desk, sample: Sample) -> None:
    reply = await desk.post("sample/echo/1", {}, Cookie="a=%zz; b=%ff; c=ok; c=second; d=%20")
    assert reply.json()["cookies"] == {"c": "ok", "d": " "}


async def test_allowed_origins_get_cors_headers_and_their_own_links(desk: Desk, sample: Sample) -> None:
    reply = await desk.post("sample/echo/1", {}, Origin="https://mail.own.example")
    assert reply.headers["access-control-allow-origin"] == "https://mail.own.example"
    assert reply.headers["access-control-allow-credentials"] == "true"
    assert reply.json()["base"] == "https://mail.own.example"
    other = await desk.post("sample/echo/1", {}, Origin="https://evil.example", Referer="https://evil.example/x")
    assert "access-control-allow-origin" not in other.headers
    assert other.json()["base"] == "https://relay.example"
    referred = await desk.post("sample/echo/1", {}, Referer="https://mail.own.example/console?x")
    assert referred.json()["base"] == "https://mail.own.example"


async def test_preflights(desk: Desk, sample: Sample) -> None:
    wanted = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "x-csrf-token"}
    reply = await desk.ask("OPTIONS", "sample/run", content=None, Origin="https://relay.example", **wanted)
    assert reply.status_code == 204 and reply.content == b""
    assert reply.headers["access-control-allow-methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
    assert reply.headers["access-control-allow-headers"] == "x-csrf-token"
    assert (
        await desk.ask("OPTIONS", "sample/run", content=None, Origin="https://evil.example", **wanted)
    ).status_code == 404


async def test_banned_clients_are_told_so_before_anything_is_counted(desk: Desk, sample: Sample) -> None:
    await desk.sql("insert into ban (type, value, reason) values ('ip', '192.0.2.0/24', 'spam')")
    reply = await desk.get("sample/run")
    assert reply.status_code == 403
    body = reply.json()
    assert body["error"] == "banned" and body["ban"]["banned_at"].endswith("Z")
    assert (body["ban"]["ban_type"], body["ban"]["ban_value"], body["ban"]["reason"]) == ("ip", "192.0.2.0/24", "spam")
    assert await desk.one("select hits from ban") == 1
    assert await desk.one("select count(*) from request_window") == 0


async def test_caching_of_what_is_public(desk: Desk, sample: Sample) -> None:
    assert (await desk.get("sample/safe")).headers["cache-control"] == "public, max-age=10"
    assert (await desk.get("sample/run")).headers["cache-control"] == "no-store, private"
