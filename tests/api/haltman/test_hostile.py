"""Whatever is sent, no endpoint breaks down, and what it refuses has changed nothing."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from mailrelay import log
from mailrelay.api.haltman.endpoint import Endpoint
from tests.api.haltman.conftest import MAILBOX, Desk
from tests.api.haltman.household import give_password
from tests.api.haltman.table import ROWS, Row
from tests.api.haltman.test_every_endpoint import found

every = pytest.mark.parametrize("row", ROWS, ids=str)

# As JSON has them; half a surrogate pair can be written there.
VALUES = [
    *("null", "true", "0", "-1", "1e308", "-1e400", "9223372036854775807", "9223372036854775808", "1" + "0" * 400),
    *('""', '" "', r'"\u0000"', r'"a\u0000b@inbox.example"', r'"\ud800"', r'"\udc00@inbox.example"', "[]", "[[[]]]"),
    *('["a"]', "{}", '{"a":{"b":[]}}', '"' + "a" * 5000 + '"', '"' + "a" * 250 + '@inbox.example"'),
    *('"%00%ff"', '"İ@inbox.example"', '"K@inbox.example"', '"١٢٣٤٥٦"', '"1e3"', '"0x10"', '"a@b@c.example"'),
    *('"9999-12-31T23:59:59-23:59"', '"0001-01-01T00:00:00+23:59"', '"2026-02-30"', '"xn--a.example"', '"..."'),
    *('"192.0.2.1/99"', '"::ffff:192.0.2.1"', '"fe80::1%eth0"', '"\';drop table alias;--"', '"\\u202e\\n\\r\\t"'),
]
# As queries and forms have them.
TEXTS = [
    *("", "+", "%00", "%ff%fe", "%", "%zz", "a%00%40inbox.example", "%ed%a0%80", "1" * 400, "-1", "a" * 5000),
    *("%C4%B0%40inbox.example", "%D9%A1%D9%A2", "a%40b%40c.example", "9999-12-31T23%3A59%3A59-23%3A59", "NaN", "[]"),
]
COOKIES = [
    *("__Host-access=%zz", "__Host-access=%00", "__Host-access=a; __Host-access=b", "__Host-access", ";;;=;="),
    *("__Host-refresh=" + "a" * 4000, "__Host-access=eyJhbGciOiJub25lIn0.e30.", "__Host-access=a.b.c", "\xff=\xfe"),
    *("__Host-access=eyJ.\x7f.x; __Host-refresh=\xe4", "__Host-access=" + "." * 2000),
]


def _names(endpoint: Endpoint, row: Row) -> list[str]:
    """Members that it may read."""
    return list(dict.fromkeys([*(one.name for one in (*endpoint.query, *endpoint.body)), *row.asks]))


def _bodies(row: Row, names: list[str]) -> Iterator[bytes]:
    """With one member otherwise than it should be, with all, and with some that stand there twice."""
    for value in VALUES:
        for name in names:
            given = {key: json.dumps(text) for key, text in row.asks.items()} | {name: value}
            yield _object(given.items())
        yield _object((name, value) for name in names)
        yield _object(pair for name in names for pair in ((name, value), (name, '"b"')))
    yield from (b"[" * 10_000, b"{" * 10_000, b'{"a":', b"\xff\xfe", b"null", b'"text"', b"1", b"\x00", b'{"":{}}')


def _object(pairs: Any) -> bytes:
    return ("{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}").encode("utf-8")


def _texts(row: Row, names: list[str]) -> Iterator[str]:
    """The same in a query or form."""
    for text in TEXTS:
        for name in names:
            given = {key: quote(value) for key, value in row.asks.items()} | {name: text}
            yield "&".join(f"{key}={value}" for key, value in given.items())
            yield f"{name}={text}&{name}=b&{name}"
        yield "&".join(f"{name}={text}" for name in names)
    yield from ("&&&=&;", "=", "%00=%00", "a" * 3000, "&".join(f"a{number}=1" for number in range(2000)), "[]=1&a[b]=2")


class Asker:
    """Asks one endpoint, as somebody who may."""

    def __init__(self, desk: Desk, row: Row, admin: Desk) -> None:
        self.desk, self.row = desk, row
        self._who = {"open": desk, "key": desk.with_key(), "admin": admin}[row.access]
        self.statuses: set[int] = set()

    async def ask(self, query: str = "", content: bytes | None = None, kind: str = "json", **headers: str) -> None:
        await self.desk.sql("delete from request_window")
        _, target, _ = self.row.request({})
        target = target.partition("?")[0] + (f"?{query}" if query else "")
        before = await self._written()
        reply = await self._who.ask(
            self.row.method, target, content=content, Content_Type=f"application/{kind}", **headers
        )
        self.statuses.add(reply.status_code)
        await self._judge(reply, before, (query, content, headers))

    async def _judge(self, reply: httpx2.Response, before: Any, sent: Any) -> None:
        assert reply.status_code < 500, (reply.text, sent)
        if "html" in reply.headers["content-type"]:
            return
        body = reply.json()
        if reply.status_code >= 400:
            assert body["code"] == reply.status_code and body["error"] and body["message"], (body, sent)
            assert await self._written() == before, (body, sent)

    async def _written(self) -> Any:
        """What whoever is refused has not changed."""
        return await self.desk.sql("select (select count(*) from audit), (select count(*) from confirmation)")


async def asker(desk: Desk, row: Row) -> Asker:
    await give_password(desk)
    found(desk, row)
    return Asker(desk, row, await desk.admin())


@pytest.mark.parametrize("row", [one for one in ROWS if one.method in ("POST", "PATCH")], ids=str)
async def test_bodies(desk: Desk, row: Row) -> None:
    who = await asker(desk, row)
    names = _names(found(desk, row), row)
    for content in _bodies(row, names):
        await who.ask(content=content[:32_000])
    for text in _texts(row, names):
        await who.ask(content=text.encode(), kind="x-www-form-urlencoded")
    assert who.statuses & {400, 401, 403, 404, 409, 415} or not names


@every
async def test_queries(desk: Desk, row: Row) -> None:
    who = await asker(desk, row)
    for query in _texts(row, _names(found(desk, row), row)):
        await who.ask(query)


@pytest.mark.parametrize("row", [one for one in ROWS if "{" in one.path], ids=str)
async def test_paths(desk: Desk, row: Row) -> None:
    admin = await desk.admin()
    for text in (
        *(text for text in TEXTS if 0 < len(text) < 1000),
        "..",
        "%2e%2e",
        "%2F",
        "a%2Fb",
        "١",
        "1%00",
        "1%20",
    ):
        target = row.path.replace("{id}", text).replace("{target}", text)
        reply = await admin.ask(row.method, target, content=b"{}", Content_Type="application/json")
        assert reply.status_code in (400, 404, 405) or (
            row.path.startswith("/api/checkdns") and reply.status_code < 500
        )
        assert reply.json()["code"] == reply.status_code


@every
async def test_d_25_cookies_and_headers(desk: Desk, row: Row) -> None:
    await give_password(desk)
    method, target, content = row.request(row.asks)
    for headers in _headers():
        reply = await desk.client.request(method, target, content=content, headers=headers)
        assert reply.status_code < 500, (reply.text, headers)


def _headers() -> Iterator[list[tuple[bytes, bytes]]]:
    kind = (b"Content-Type", b"application/json")
    for cookie in COOKIES:
        yield [(b"Cookie", cookie.encode("latin-1")), (b"X-CSRF-Token", b"\xff"), kind]
    for key in (b"\xff" * 64, b"a" * 9000, b"\xc4\xb0" * 32, b"f" * 64 + b", " + b"f" * 64):
        yield [(b"X-API-Key", key), (b"X-Request-Id", key), (b"Origin", key), kind]
    for odd in (
        b"\xff",
        b"application/json; charset=\xff",
        b"multipart/form-data",
        b"application/x-www-form-urlencoded",
    ):
        yield [(b"Content-Type", odd), (b"Referer", b"http://[::1"), (b"Accept", odd)]
    yield [(b"User-Agent", b"\xff" * 5000), (b"X-Forwarded-For", b"\xff, a"), kind]


async def test_d_37_trouble_of_the_database_is_logged_without_the_values(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("info", "json")
    await desk.sql("alter table confirmation add constraint never check (false) not valid")
    reply = await desk.get("forward/subscribe?name=bob&domain=alias.example&to=secret.person@inbox.example")
    said = capsys.readouterr().err
    assert reply.status_code == 500 and "requestId" in reply.json()
    assert "secret.person" not in said and "secret.person" not in reply.text
    assert reply.json()["requestId"] in said and "CheckViolation" in said


async def test_d_37_a_log_that_cannot_be_written_tells_no_row(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    await desk.sql("alter table api_log add constraint never check (false) not valid")
    assert (await desk.with_key().get("alias/list")).status_code == 200
    said = capsys.readouterr().err
    assert "http.not_logged" in said and "CheckViolation" in said
    assert "inbox.example" not in said and "Failing row" not in said


async def test_d_37_accounts_that_go_are_logged_without_their_mailboxes(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("info", "json")
    await desk.get("forward/subscribe?name=shop&to=me@inbox.example")
    await desk.post("credentials/create", {"email": "me@inbox.example", "days": 1})
    await desk.sql("update account set state = 'deleting' where id = 2")
    statuses = [
        (await desk.post(path, {"token": code})).status_code
        for path, code in zip(("forward/confirm", "credentials/confirm"), await desk.codes(), strict=True)
    ]
    said = capsys.readouterr().err
    assert statuses == [503, 503]
    assert "http.conflict" in said and "http.unavailable" in said and "inbox.example" not in said


async def test_while_an_account_is_deleted_it_gets_nothing_new(desk: Desk) -> None:
    admin, codes = await desk.admin(), []
    for path in ("forward/subscribe?name=one&", "handle/subscribe?handle=two&"):
        assert (await desk.get(f"{path}to={MAILBOX}")).status_code == 200
        codes.append((await desk.codes())[-1])
    await desk.sql("update account set state = 'deleting' where id = 2")
    for reply in (
        await desk.get(f"forward/confirm?token={codes[0]}"),
        await desk.get(f"handle/confirm?token={codes[1]}"),
        await admin.post("admin/aliases", {"address": "three@alias.example", "goto": MAILBOX}),
        await admin.post("admin/handles", {"handle": "four", "address": MAILBOX}),
        await admin.post("admin/api-tokens", {"owner_email": MAILBOX}),
    ):
        assert (reply.status_code, reply.json()["error"]) == (503, "temporarily_unavailable")
        assert int(reply.headers["Retry-After"]) > 0
    assert await desk.sql("select from alias") == await desk.sql("select from handle") == []
