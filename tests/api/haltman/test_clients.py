"""Sessions of the real clients, word by word, and whether they understand what they get (haltman-api.md section 8)."""

import json
from collections.abc import Iterator, Mapping
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.addy.conftest import HOST
from tests.api.haltman.clients import understood
from tests.api.haltman.conftest import KEY, Desk
from tests.api.haltman.household import COUNTER, PASSWORD, chosen_here, give_password
from tests.api.haltman.table import ROWS
from tests.api.replay import DATA, Exchange, Memory, Session, sessions

FOLDER = DATA / "haltman-clients"
SESSIONS = sessions(FOLDER)
THINGS: Mapping[str, Any] = json.loads((FOLDER / "things.json").read_text())
KINDS = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "hex": r"[0-9a-f]{64}",
    "base64": r"[A-Za-z0-9_-]{43}",
}


@pytest.fixture
def chosen(tmp_path: Path) -> Mapping[str, Any]:
    return chosen_here(tmp_path)


@pytest.mark.parametrize("session", SESSIONS, ids=[one.name for one in SESSIONS])
async def test_a_session_goes_as_it_did(desk: Desk, session: Session) -> None:
    await give_password(desk)
    memory = Memory({"key": KEY, "password": PASSWORD, "counter": COUNTER}, KINDS, THINGS)
    jar: dict[str, str] = {}
    for exchange in session.exchanges:
        reads = await _carry_out(desk, exchange)
        memory.learn("code", (["", *await desk.codes()])[-1])
        response = await desk.client.send(_request(session, exchange, memory, jar))
        _keep(jar, response)
        where = f"{session.name}, {exchange.title}: {exchange.method} {response.request.url.raw_path.decode()}"
        assert response.status_code == exchange.status, f"{where}: {response.status_code} {response.text}"
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        wrong = list(memory.compare(json.loads(exchange.answer or ""), response.json()))
        assert not wrong, f"{where}\n{response.text}\n" + "\n".join(wrong)
        assert not reads or understood(session.name, response) == reads, where


async def _carry_out(desk: Desk, exchange: Exchange) -> str:
    """What stands before a request; what its client is to read in the answer."""
    reads = ""
    for word, rest in exchange.orders:
        match word:
            case "sql":
                await desk.sql(rest.replace("%", "%%"))
            case "reads":
                reads = rest
            case _:
                raise ValueError(word)
    return reads


def _request(session: Session, exchange: Exchange, memory: Memory, jar: Mapping[str, str]) -> httpx2.Request:
    """The request with these header fields and no others, but Host, Content-Length and Cookie."""
    own = {name.lower() for name, _ in exchange.headers}
    headers = [*((name, value) for name, value in session.headers if name.lower() not in own), *exchange.headers]
    if jar:
        headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in jar.items())))
    return httpx2.Request(
        exchange.method,
        HOST + memory.written(exchange.target),
        headers=[(name, memory.written(value)) for name, value in headers if value != "-"],
        content=memory.written_json(exchange.body).encode() or None,
    )


def _keep(jar: dict[str, str], response: httpx2.Response) -> None:
    """As browsers do, which take `__Host-` cookies only whole."""
    for text in response.headers.get_list("Set-Cookie"):
        ((name, morsel),) = SimpleCookie(text).items()
        assert morsel["secure"] and morsel["httponly"] and morsel["path"] == "/" and not morsel["domain"], text
        assert morsel["samesite"].lower() == "lax"
        if morsel.value and not morsel["expires"].endswith("1970 00:00:00 GMT"):
            jar[name] = morsel.value
        else:
            jar.pop(name, None)


def _asked() -> Iterator[tuple[str, str, int]]:
    for session in SESSIONS:
        for one in session.exchanges:
            yield one.method, one.target.partition("?")[0], one.status


def test_every_endpoint_succeeds_in_a_session() -> None:
    patterns = {(row.method, row.path, row.status): _shape(row.path) for row in ROWS}
    succeeded = {(method, _shape(path)) for method, path, status in _asked() if status < 300}
    assert [key for key in patterns if (key[0], patterns[key]) not in succeeded] == []


def _shape(path: str) -> str:
    """A path without what differs."""
    parts = ["{}" if part[:1] in "{<" or part.isdigit() or part == "new.example" else part for part in path.split("/")]
    return "/".join(parts)


def test_all_files_are_read() -> None:
    names = {f"{one.name}.txt" for one in SESSIONS}
    assert {path.name for path in FOLDER.iterdir()} == names | {"things.json", "README.md"}
