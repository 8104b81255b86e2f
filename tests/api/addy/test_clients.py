"""Sessions of the real clients, word by word, and whether they understand what they get (addy-api.md section 7)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.addy import household
from tests.api.addy.clients import CLIENTS, Invalid, Message, reads
from tests.api.addy.conftest import HOST, Desk
from tests.api.addy.test_resend import postfix, worker
from tests.api.replay import DATA, Exchange, Memory, Session, sessions

__all__ = ["postfix", "worker"]

FOLDER = DATA / "addy-clients"
SESSIONS = sessions(FOLDER)
THINGS: Mapping[str, Any] = json.loads((FOLDER / "things.json").read_text())
KINDS = {
    "time": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "proof": r"[0-9a-f]{40}",
    "token": r"[A-Za-z0-9]{40}[0-9a-f]{8}",
    "day": r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day",
}


@pytest.fixture
def chosen() -> Mapping[str, Any]:
    return household.CHOSEN


# Whoever has messages sent once more waits for a worker.
@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("session", SESSIONS, ids=[one.name for one in SESSIONS])
async def test_a_session_goes_as_it_did(desk: Desk, dsn: str, tmp_path: Path, session: Session) -> None:
    household.furnish(dsn, tmp_path / "secrets", "second-factor" in session.name)
    memory = Memory({**household.NAMES, "code": household.code()}, KINDS, THINGS)
    for exchange in session.exchanges:
        for order, rest in exchange.orders:
            name, _, record = rest.partition(" ")
            assert order == "dns"
            desk.dns.txt(name, memory.written(record))
        response = await desk.client.send(_request(session, exchange, memory))
        where = f"{session.name}, {exchange.title}: {exchange.method} {response.request.url.raw_path.decode()}"
        assert response.status_code == exchange.status, f"{where}: {response.status_code} {response.text}"
        wrong = list(_compared(exchange, response, memory))
        assert not wrong, f"{where}\n{response.text}\n" + "\n".join(wrong)
        _understood(session, exchange, response)


def _request(session: Session, exchange: Exchange, memory: Memory) -> httpx2.Request:
    """The request with these header fields and no others, but Host and Content-Length."""
    own = {name.lower() for name, _ in exchange.headers}
    headers = [*((name, value) for name, value in session.headers if name.lower() not in own), *exchange.headers]
    return httpx2.Request(
        exchange.method,
        HOST + memory.written(exchange.target),
        headers=[(name, memory.written(value)) for name, value in headers if value != "-"],
        content=memory.written_json(exchange.body).encode() or None,
    )


def _compared(exchange: Exchange, response: httpx2.Response, memory: Memory) -> Any:
    if exchange.answer is None:
        if response.content:
            yield f"{response.text!r} instead of nothing"
    elif exchange.is_text:
        assert response.headers["Content-Type"] != "application/json"
        # Messages have line ends of their own; in files it is this one.
        found = response.text.replace("\r\n", "\n").rstrip("\n") if "\r\n" in response.text else response.text
        if not memory.fits(exchange.answer, found):
            yield f"{response.text!r} instead of {exchange.answer!r}"
    else:
        assert response.headers["Content-Type"] == "application/json"
        yield from memory.compare(json.loads(exchange.answer), response.json())


def _understood(session: Session, exchange: Exchange, response: httpx2.Response) -> None:
    """Raises ValidationError if the client would stumble."""
    if exchange.is_text or not response.content:
        return
    if response.is_success:
        reader = reads(session.name.partition("-")[0], exchange.method, exchange.target)
        if reader is not None:
            reader.validate_json(response.content)
    elif "errors" in response.json():
        Invalid.model_validate_json(response.content)
    else:
        Message.model_validate_json(response.content)


def test_there_is_a_session_of_every_client() -> None:
    assert {one.name.partition("-")[0] for one in SESSIONS} == set(CLIENTS)
    assert all(one.exchanges for one in SESSIONS)


def test_all_files_are_read() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{one.name}.txt" for one in SESSIONS} | {
        "things.json", "key.asc", "README.md",
    }  # fmt: skip
