"""Every endpoint of the description is served as the table has it, and only those."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from mailrelay.api.haltman.endpoint import NO_STORE, Access, Endpoint
from mailrelay.api.haltman.openapi import document
from mailrelay.store.database import Database
from mailrelay.store.manage_keys import init_secrets
from mailrelay.wiring import haltman
from tests.api.addy.conftest import settings
from tests.api.addy.fakedns import FakeDns
from tests.api.haltman.conftest import Desk
from tests.api.haltman.table import ROWS, Row

# What every endpoint may answer, or all with the same access (sections 2.9 and 3).
COMMON = {
    *((400, "invalid_params"), (403, "banned"), (404, "not_found"), (408, "request_timeout")),
    *((413, "payload_too_large"), (429, "rate_limited"), (500, "internal_error"), (503, "temporarily_unavailable")),
}
SERVED = 91

every = pytest.mark.parametrize("row", ROWS, ids=str)
of_admins = pytest.mark.parametrize("row", [one for one in ROWS if one.access == "admin"], ids=str)
of_keys = pytest.mark.parametrize("row", [one for one in ROWS if one.access == "key"], ids=str)


Served = Mapping[tuple[str, str], Endpoint]


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """All that are there, without a database behind them."""
    folder = tmp_path_factory.mktemp("endpoints")
    config = settings("", folder, {"haltman": {"default_domain": "alias.example"}})
    init_secrets(config.secrets)
    app = haltman.application(config, Database("", 1, 1.0, "test"), FakeDns())
    return {(one.method, one.full_path): one for one in app.endpoints}


def found(desk: Desk, row: Row) -> Endpoint:
    (endpoint,) = [one for one in desk.app.endpoints if (one.method, one.full_path) == (row.method, served(row))]
    return endpoint


def served(row: Row) -> str:
    """The path as endpoints have it."""
    return re.sub(r"\{\w+\}", "{id}", row.path)


async def send(desk: Desk, row: Row, **headers: str) -> Any:
    method, target, content = row.request(row.asks)
    return await desk.ask(method, target, content=content, Content_Type="application/json", **headers)


def test_the_table_has_all_of_section_3() -> None:
    assert len({(row.method, row.path) for row in ROWS}) == len(ROWS) == SERVED
    sections = {row.section for row in ROWS}
    assert sections == {*(f"3.{number}" for number in range(1, 25)), "9.4"}


def test_nothing_else_is_served(endpoints: Served) -> None:
    paths = ("/confirm", "/api/remove/alias", "/api/remove/handle")  # behind links in mails, for people
    pages = {(method, path) for method in ("GET", "POST") for path in paths}
    assert endpoints.keys() == {(one.method, served(one)) for one in ROWS} | pages


@every
def test_it_is_declared_as_it_is_described(endpoints: Served, row: Row) -> None:
    endpoint = endpoints[row.method, served(row)]
    assert endpoint.access is Access(row.access)
    assert (endpoint.status, *endpoint.also) == (row.status, *row.also)
    assert dict(endpoint.caching) == dict(row.caching)
    assert endpoint.safe or endpoint.method != "GET" or row.access == "open"


@every
def test_its_error_codes_are_declared(endpoints: Served, row: Row) -> None:
    assert set(endpoints[row.method, served(row)].errors) - COMMON == set(row.errors) - COMMON


@every
def test_its_limits_are_declared(endpoints: Served, row: Row) -> None:
    rules = endpoints[row.method, served(row)].rules
    declared = [(rule.limit, rule.seconds, rule.where, rule.reason, rule.delay_ms) for rule in rules]
    assert declared == [(one.limit, one.seconds, one.where, one.reason, one.step_ms) for one in row.rules]
    for rule, rate in zip(rules, row.rules, strict=True):
        assert rate.name in ("*", rule.name)


def test_all_are_in_the_document(endpoints: Served) -> None:
    paths = document(list(endpoints.values()), "")["paths"]
    described = {
        (method.upper(), path, status)
        for path, methods in paths.items()
        for method, operation in methods.items()
        for status in operation["responses"]
    }
    assert {(row.method, served(row), str(row.status)) for row in ROWS} <= described


# --- who may ----------------------------------------------------------------------------------------------------------


@of_admins
async def test_it_is_for_administrators_alone(desk: Desk, row: Row) -> None:
    admin = await desk.admin()
    for cookie in ("", "__Host-access=wrong", admin.headers["Cookie"].replace("__Host-access", "__Host-refresh")):
        nobody = await send(desk, row, Cookie=cookie)
        assert (nobody.status_code, nobody.json()["error"]) == (401, "invalid_or_expired_session")
    if row.method != "GET":
        for token, code in (("", "csrf_required"), (" ", "csrf_required"), ("wrong", "invalid_csrf_token")):
            reply = await send(admin, row, X_CSRF_Token=token)
            assert (reply.status_code, reply.json()["error"]) == (403, code)
    await desk.sql("update account set is_admin = false")
    reply = await send(admin, row)
    assert (reply.status_code, reply.json()["error"]) == (403, "forbidden")


@pytest.mark.parametrize("row", [one for one in ROWS if one.access == "admin" and one.method == "GET"], ids=str)
async def test_whoever_only_looks_needs_no_csrf_token(desk: Desk, row: Row) -> None:
    reply = await send(await desk.admin(), row, X_CSRF_Token="wrong")
    assert reply.status_code in (200, 404), reply.text


@of_keys
async def test_it_is_for_holders_of_a_key(desk: Desk, row: Row) -> None:
    keys = {"": "missing_api_key", "  ": "missing_api_key", "f" * 64: "invalid_or_expired_api_key"}
    for key, code in {**keys, **dict.fromkeys(("short", "!" * 64), "invalid_api_key_format")}.items():
        reply = await send(desk, row, X_API_Key=key)
        assert (reply.status_code, reply.json()["error"]) == (401, code)


@pytest.mark.parametrize("row", [one for one in ROWS if "{id}" in one.path], ids=str)
async def test_its_id_is_that_of_something(desk: Desk, row: Row) -> None:
    admin = await desk.admin()

    async def ask(number: str) -> Any:
        method, target, content = row.request({**row.asks, "id": number})
        return await admin.ask(method, target, content=content, Content_Type="application/json")

    for number in ("0", "-1", "0x10", "1e3", "1.0", "x", "9" * 40):
        reply = await ask(number)
        assert reply.status_code == 400, (number, reply.text)
        assert {"error": "invalid_params", "field": "id", "code": 400}.items() <= reply.json().items()
    reply = await ask("999999")
    code = next(code for status, code in row.errors if status == 404)
    assert reply.status_code == 404
    assert {"error": code, "id": 999_999, "code": 404}.items() <= reply.json().items()


# --- what is kept by nobody -------------------------------------------------------------------------------------------


def keeps_nothing(reply: Any) -> bool:
    return {name: reply.headers.get(name) for name in NO_STORE} == dict(NO_STORE) and "etag" not in reply.headers


@pytest.mark.parametrize("row", [one for one in ROWS if one.caching == NO_STORE], ids=str)
async def test_no_answer_is_kept(desk: Desk, row: Row) -> None:
    """Neither of a success nor of any refusal, on its way or in the handler (section 2.4)."""
    asker = {"open": desk, "key": desk.with_key(), "admin": await desk.admin()}[row.access]
    replies = [await send(asker, row), await send(desk, row), await send(desk, row, Origin="https://evil.example")]
    method, target, _ = row.request(row.asks)
    if method != "GET":
        replies.append(await asker.ask(method, target, content=b"{", Content_Type="application/json"))
        replies.append(await asker.ask(method, target, content=b"x" * 40_000, Content_Type="application/json"))
    await desk.sql("insert into ban (type, value) values ('ip', '192.0.2.1')")
    replies.append(await send(asker, row))
    assert replies[-1].status_code == 403
    assert [reply.status_code for reply in replies if not keeps_nothing(reply)] == []


# --- methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [one for one in ROWS if one.method == "GET" and one.rates], ids=str)
async def test_d_01_head_runs_no_get_that_does_something(desk: Desk, row: Row) -> None:
    asker = desk.with_key() if row.access == "key" else desk
    target = row.request(row.asks)[1]
    written = "select (select count(*) from confirmation), (select count(*) from job)"
    before = await desk.sql(written)
    reply = await asker.ask("HEAD", target)
    assert reply.content == b""
    assert reply.status_code == ((await asker.get(target)).status_code if found(desk, row).safe else 405)
    if not found(desk, row).safe:
        assert await desk.sql(written) == before


@pytest.mark.parametrize("path", sorted({row.path for row in ROWS}))
async def test_other_methods_are_not_there(desk: Desk, path: str) -> None:
    rows = [row for row in ROWS if row.path == path]
    admin = await desk.admin()
    codes = {"not_found", *(code for row in ROWS if row.path in (path, f"{path}/{{id}}") for _, code in row.errors)}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {row.method for row in rows}:
        reply = await admin.ask(method, rows[0].request({})[1])
        assert reply.status_code == 404 and reply.json()["error"] in codes
