"""What all endpoints have in common: paths, tokens, limits, bodies (addy-api.md section 1)."""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx2
import psycopg
import pytest

from mailrelay.api.addy.app import Addy
from mailrelay.api.addy.call import Call, body
from mailrelay.api.addy.endpoint import Endpoint, Handler
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.requests import Limit
from tests.api.addy.conftest import TOKEN, Desk
from tests.store.postgres import Cluster, database_of


async def echo(call: Call) -> Any:
    return body({"id": call.id, "input": dict(call.input), "url": call.url})


def refusing(error: Exception) -> Handler:
    """A handler whose story ended so, and who has no words for it."""

    async def refuse(_: Call) -> Any:
        raise error

    return refuse


async def break_down(_: Call) -> Any:
    raise RuntimeError("a secret of ours")


@pytest.fixture(autouse=True)
def echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints that only tests have."""
    more = (
        Endpoint("GET", "echo", echo, "echo"),
        Endpoint("POST", "echo", echo, "echo"),
        Endpoint("DELETE", "echo/{id}", echo, "echo"),
        Endpoint("PATCH", "echo/{id}/again", echo, "echo"),
        Endpoint("POST", "rare", echo, "rare", limit=Limit("rare", 2)),
        Endpoint("POST", "open", echo, "open", is_open=True, limit=Limit("open", 3), prefix="/api/auth"),
        Endpoint("GET", "broken", break_down, "broken"),
        Endpoint("GET", "absent", refusing(Absent("there is no alias hers@alias.example")), "absent"),
        Endpoint("GET", "clashing", refusing(Conflict("account 7 has private@inbox.example")), "clashing"),
    )
    before = Addy.__init__
    monkeypatch.setattr(Addy, "__init__", lambda self, endpoints, *rest: before(self, (*endpoints, *more), *rest))


def said(response: httpx2.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


async def raw(desk: Desk, scope: Mapping[str, Any]) -> int:
    """The status of a request that no client library would send."""
    transport = desk.client._transport
    assert isinstance(transport, httpx2.ASGITransport)
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await transport.app({**scope}, receive, send)
    return statuses[0]


UNAUTHENTICATED = (401, {"message": "Unauthenticated."})


# --- paths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["echo", "echo/"])
async def test_a_trailing_slash_is_the_same_path(desk: Desk, path: str) -> None:
    assert (await desk.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["foo", "Echo", "echo/1/2/3", "echo//", ""])
async def test_an_unknown_path_is_known_before_the_token(desk: Desk, path: str) -> None:
    desk.token = None
    expected = f"/api/v1/{path}".strip("/")
    assert said(await desk.get(f"/api/v1/{path}")) == (404, {"message": f"The route {expected} could not be found."})


async def test_another_method_names_those_that_there_are(desk: Desk) -> None:
    desk.token = None
    response = await desk.ask("PUT", "echo")
    words = "The PUT method is not supported for route api/v1/echo. Supported methods: GET, HEAD, POST."
    assert said(response) == (405, {"message": words})
    assert response.headers["Allow"] == "GET, HEAD, POST"


async def test_head_and_options(desk: Desk) -> None:
    assert (await desk.ask("HEAD", "echo")).status_code == 200
    options = await desk.ask("OPTIONS", "echo/x/again")
    assert (options.status_code, options.content, options.headers["Allow"]) == (200, b"", "PATCH")


async def test_preflights_are_answered_for_every_origin(desk: Desk) -> None:
    desk.token = None
    wanted = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization",
    }
    response = await desk.ask("OPTIONS", "echo", content=None, **wanted)
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE, PATCH, OPTIONS"
    assert response.headers["Access-Control-Allow-Headers"] == "authorization"
    assert response.headers["Access-Control-Max-Age"] == "0"


async def test_every_answer_says_that_it_is_not_to_be_kept(desk: Desk) -> None:
    for path in ("echo", "foo", "broken"):
        assert (await desk.get(path)).headers["Cache-Control"] == "no-cache, private"


async def test_ids_come_as_sent(desk: Desk) -> None:
    assert (await desk.delete("echo/A%20b")).json()["id"] == "A b"
    assert (await desk.patch("echo/x/again/")).json()["id"] == "x"


@pytest.mark.parametrize("path", ["echo%0A", "ec%09ho", "echo%3Fx", "echo%23x", "echo%5C", "echo/%0A"])
async def test_a_path_is_taken_as_it_is(desk: Desk, path: str) -> None:
    assert (await desk.get(path)).status_code != 200


async def test_octets_that_no_url_has_are_taken_for_what_they_look_like(desk: Desk) -> None:
    head = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "https", "path": "/api/v1/echo"}
    headers = [(b"host", b"relay.example"), (b"authorization", f"Bearer {TOKEN}".encode())]
    assert await raw(desk, {**head, "query_string": b"x=\xe4\xff", "headers": headers, "client": None}) == 200


# --- tokens --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    ["", "Basic abc", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {UUID(int=7)}|{TOKEN}", f"Bearer 1|{TOKEN}",
     f"Bearer x{TOKEN}", "Bearer " + "x" * 5000],
)  # fmt: skip
async def test_without_a_token_that_is_right_nobody_is_known(desk: Desk, header: str) -> None:
    response = await desk.ask("GET", "echo", Authorization=header)
    assert said(response) == UNAUTHENTICATED
    assert "X-RateLimit-Limit" not in response.headers


async def test_both_presentations_of_a_token(desk: Desk) -> None:
    row = await desk.one("select uuid from token")
    for header in (f"Bearer {row}|{TOKEN}", f"bearer {TOKEN}", f"Basic x, Bearer {TOKEN},more"):
        assert (await desk.ask("GET", "echo", Authorization=header)).status_code == 200
    await desk.sql("update token set hash = %s", hashlib.sha256(b"other").digest())
    assert said(await desk.ask("GET", "echo", Authorization=f"Bearer {row}|{TOKEN}")) == UNAUTHENTICATED


@pytest.mark.parametrize("change", ["expires_at = now() - interval '1 second'", "revoked_at = now()"])
async def test_tokens_end(desk: Desk, change: str) -> None:
    await desk.sql(f"update token set {change}")
    assert said(await desk.get("echo")) == UNAUTHENTICATED


async def test_use_is_noted(desk: Desk) -> None:
    await desk.get("echo")
    assert await desk.one("select last_used_at > now() - interval '1 minute' from token")


async def test_the_default_recipient_has_to_be_verified(desk: Desk) -> None:
    await desk.sql("update recipient set verified_at = null where account_id = 1")
    assert said(await desk.get("echo")) == (403, {"message": "Your email address is not verified."})


async def test_a_suspended_account_does_nothing(desk: Desk) -> None:
    await desk.sql("update account set state = 'suspended' where id = 1")
    assert (await desk.get("echo")).status_code == 403
    await desk.sql("update account set state = 'deleting' where id = 1")
    assert said(await desk.get("echo")) == UNAUTHENTICATED


# --- limits --------------------------------------------------------------------------------------------------------


async def test_sixty_requests_a_minute(desk: Desk) -> None:
    left = [(await desk.get("echo")).headers["X-RateLimit-Remaining"] for _ in range(60)]
    assert left == [str(number) for number in range(59, -1, -1)]
    response = await desk.get("echo")
    assert said(response) == (429, {"message": "Too Many Attempts."})
    assert response.headers["X-RateLimit-Limit"] == "60"
    assert response.headers["X-RateLimit-Remaining"] == "0"
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    opened = await desk.one("select extract(epoch from opened_at) from request_window")
    assert 60 <= int(response.headers["X-RateLimit-Reset"]) - float(opened) <= 61
    await desk.sql("update request_window set opened_at = opened_at - interval '60 seconds'")
    assert (await desk.get("echo")).headers["X-RateLimit-Remaining"] == "59"


async def test_headers_tell_of_the_tighter_limit(desk: Desk) -> None:
    responses = [await desk.post("rare") for _ in range(3)]
    assert [one.status_code for one in responses] == [200, 200, 429]
    assert [one.headers["X-RateLimit-Limit"] for one in responses] == ["2", "2", "2"]
    assert (await desk.get("echo")).headers["X-RateLimit-Remaining"] == "56"


async def test_an_account_without_requests_left_takes_none_from_others(desk: Desk) -> None:
    secret = "another"
    await desk.sql(
        "insert into token (account_id, kind, hash) values (2, 'addy', %s)", hashlib.sha256(secret.encode()).digest()
    )
    for _ in range(3):
        await desk.post("rare")
    assert (await desk.post("rare", Authorization=f"Bearer {secret}")).status_code == 200


async def test_requests_at_once_are_all_counted(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.get("echo") for _ in range(70)))
    assert sorted(one.status_code for one in answers) == [200] * 60 + [429] * 10


async def test_without_a_token_the_client_is_counted(desk: Desk) -> None:
    desk.token = None
    answers = [await desk.post("/api/auth/open") for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]


async def test_whoever_guesses_tokens_has_to_wait(desk: Desk) -> None:
    answers = [await desk.get("echo", Authorization="Bearer guess") for _ in range(61)]
    assert {one.status_code for one in answers[:60]} == {401}
    assert answers[60].status_code == 429
    assert (await desk.get("echo")).status_code == 200


# --- input ---------------------------------------------------------------------------------------------------------


async def test_query_and_body_are_one_input_and_the_body_wins(desk: Desk) -> None:
    answer = await desk.post(
        "echo?a=1&filter[x]=%20y%20&b=", {"a": " 2 ", "c": ["", {"d": "\u200b "}], "password": " p "}
    )
    assert answer.json()["input"] == {
        "a": "2", "filter": {"x": "y"}, "b": None, "c": [None, {"d": None}], "password": " p ",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("filter%5Bactive%5D%3D=true", {"filter": {"active": "true"}}),
        ("filter[a]=1&filter[a]=2", {"filter": {"a": "2"}}),
        ("ids[]=a&ids[]=b", {"ids": {"0": "a", "1": "b"}}),
        ("page=2", {"page": "2"}),
        ("page=2&page[number]=3", {"page": {"number": "3"}}),
        ("a[b=1&=x&[c]=2", {"a_b": "1", "_c]": "2"}),
        ("x=%ff%00", {"x": "\ufffd\x00"}),
    ],
)
async def test_brackets_in_queries(desk: Desk, query: str, expected: Any) -> None:
    found = (await desk.get(f"echo?{query}")).json()["input"]
    assert found == expected


@pytest.mark.parametrize(
    "content",
    [b"{", b'{"a": NaN}', b"\xff", b'{"a": ' + b"9" * 5000 + b"}", b"[" * 100_000, b'{"a":' * 20_000],
)
async def test_what_is_no_json_is_a_bad_request(desk: Desk, content: bytes) -> None:
    response = await desk.ask("POST", "echo", content=content)
    assert response.status_code == 400
    assert set(response.json()) == {"message"}


@pytest.mark.parametrize("content", [b"", b" ", b"[1]", b'"x"', b"null"])
async def test_what_is_no_object_says_nothing(desk: Desk, content: bytes) -> None:
    assert (await desk.ask("POST", "echo", content=content)).json()["input"] == {}


async def test_forms(desk: Desk) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await desk.ask("POST", "echo", content=b"ids[0]=a&b=+c", **form)).json()["input"] == {
        "ids": {"0": "a"},
        "b": "c",
    }
    parts = b'--x\r\nContent-Disposition: form-data; name="ids[]"\r\n\r\nzwei\r\n--x--\r\n'
    multi = {"Content-Type": "multipart/form-data; boundary=x"}
    assert (await desk.ask("POST", "echo", content=parts, **multi)).json()["input"] == {"ids": {"0": "zwei"}}


async def test_a_megabyte_is_too_much(desk: Desk) -> None:
    response = await desk.ask("POST", "echo", content=b'{"a":"' + b"x" * 1_048_576 + b'"}')
    assert response.status_code == 413


async def test_a_bug_of_ours_tells_nothing(desk: Desk) -> None:
    assert said(await desk.get("broken")) == (500, {"message": "Server Error"})


@pytest.mark.parametrize(("path", "status"), [("absent", 404), ("clashing", 409)])
async def test_words_for_operators_reach_no_client(desk: Desk, path: str, status: int) -> None:
    response = await desk.get(path)
    assert response.status_code == status
    assert list(response.json()) == ["message"]
    assert "@" not in response.text
    assert "account" not in response.text


async def test_without_a_database_it_is_our_trouble(desk: Desk, cluster: Cluster, dsn: str) -> None:
    name = database_of(dsn)
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as operator:
        operator.execute(f"alter database {name} allow_connections false".encode())
        operator.execute("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s", (name,))
        response = await desk.get("echo")
        operator.execute(f"alter database {name} allow_connections true".encode())
    assert said(response) == (503, {"message": "Service Unavailable"})
    assert int(response.headers["Retry-After"]) > 0
    assert (await desk.get("echo")).status_code == 200


HEAD = b'--x\r\nContent-Disposition: form-data; name="a'
NESTED = b"--x%d\r\nContent-Type: multipart/mixed; boundary=x%d\r\n\r\n"
MULTI, FORM = "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (MULTI, HEAD + b";" * 900_000 + b'"\r\n\r\nx'),
        (MULTI, b"".join(NESTED % (n, n + 1) for n in range(9999))),
        (MULTI, b"--x\r\n\r\n" * 130_000),
        (MULTI, b"--x\r\n" + b"a:b\r\n" * 180_000),
        (FORM, b"a[b]" + b"[]" * 450_000),
        (FORM, b"a" + b"[" * 900_000 + b"]"),
        ("application/json", b'{"a":' * 150_000),
        ("application/json", b'{"a":' + b"9" * 900_000 + b"}"),
    ],
)  # fmt: skip
async def test_a_body_takes_no_longer_than_it_should(desk: Desk, kind: str, content: bytes) -> None:
    begun = time.process_time()
    response = await desk.ask("POST", "echo", content=content, **{"Content-Type": kind})
    assert response.status_code in (200, 400)
    assert time.process_time() - begun < 1


async def test_parts_of_a_form(desk: Desk) -> None:
    content = (
        b"preamble\r\n--x y\r\n"
        b'content-disposition: form-data; name="ids[]"\r\nContent-Type: text/plain\r\n\r\n\xc3\xa4\r\n--x\r\n\r\n'
        b"--x y\r\nContent-Disposition: form-data; name=plain\r\n\r\n\r\n"
        b'--x y\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nx\r\n'
        b"--x y\r\nContent-Disposition: form-data\r\n\r\nx\r\n"
        b'--x y--\r\nContent-Disposition: form-data; name="late"\r\n\r\nx\r\n'
    )
    headers = {"Content-Type": 'multipart/form-data; boundary="x y"'}
    found = (await desk.ask("POST", "echo", content=content, **headers)).json()["input"]
    assert found == {"ids": {"0": "ä\r\n--x"}, "plain": None}


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 71])
async def test_parts_without_a_boundary_are_a_bad_request(desk: Desk, kind: str) -> None:
    content = b"--x\r\n\r\n" + b"x" * 100
    assert (await desk.ask("POST", "echo", content=content, **{"Content-Type": kind})).status_code == 400


async def test_all_addresses_of_one_line_are_one_client(desk: Desk) -> None:
    head = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "https", "path": "/api/auth/open"}
    request = {**head, "query_string": b"", "headers": [(b"host", b"relay.example")]}
    statuses = [await raw(desk, {**request, "client": (f"2001:db8:0:1::{number}", 1)}) for number in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert await raw(desk, {**request, "client": ("2001:db8:0:2::1", 1)}) == 200
    for number in range(4):
        assert await raw(desk, {**request, "client": (f"198.51.100.{number}", 1)}) == 200
