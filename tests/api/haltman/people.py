"""What tests of sign-in, sessions and users share."""

from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any

import httpx2
from argon2 import PasswordHasher

from tests.api.addy.conftest import HOST
from tests.api.haltman.conftest import Desk

PASSWORD = " correct horse "  # passwords are not trimmed
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASH = CHEAP.hash(PASSWORD)
NEW_PASSWORD = "battery staple"

NO_SESSION = (401, "invalid_or_expired_session")


def said(reply: httpx2.Response) -> tuple[int, str]:
    """Status and error code."""
    return reply.status_code, reply.json().get("error", "")


def set_cookies(reply: httpx2.Response) -> dict[str, Any]:
    """What the browser is told, by name."""
    found: SimpleCookie = SimpleCookie()
    for line in reply.headers.get_list("Set-Cookie"):
        found.load(line)
    return dict(found)


def is_cleared(reply: httpx2.Response) -> bool:
    """Whether both cookies are gone after it."""
    gone = set_cookies(reply)
    never = "Thu, 01 Jan 1970 00:00:00 GMT"
    return {name: (one.value, one["expires"]) for name, one in gone.items()} == {
        "__Host-access": ("", never),
        "__Host-refresh": ("", never),
    }


class Browser:
    """Somebody with cookies, which are kept by hand: tests look at them, and change them."""

    def __init__(self, desk: Desk, ip: str = "192.0.2.1") -> None:
        transport = httpx2.ASGITransport(app=desk.app, client=(ip, 40000))
        self.desk = replace(desk, client=httpx2.AsyncClient(transport=transport, base_url=HOST))
        self.cookies: dict[str, str] = {}
        self.csrf: str | None = None
        self.agent = "test"

    async def ask(self, method: str, path: str, document: Any = None) -> httpx2.Response:
        headers = {"User-Agent": self.agent}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self.csrf is not None:
            headers["X-CSRF-Token"] = self.csrf
        reply = await self.desk.ask(method, path, document, content=None, **headers)
        self.desk.client.cookies.clear()
        for name, morsel in set_cookies(reply).items():
            self.cookies[name] = morsel.value
            if not morsel.value:
                del self.cookies[name]
        return reply

    async def sign_in(self, identifier: str = "root", password: str = PASSWORD, **more: Any) -> httpx2.Response:
        given = {"identifier": identifier, "password": password, **more}
        return await self.ask("POST", "auth/sign-in", given)

    async def signed_in(self, identifier: str = "root", password: str = PASSWORD) -> "Browser":
        reply = await self.sign_in(identifier, password)
        assert reply.status_code == 200, reply.text
        self.csrf = (await self.ask("GET", "auth/csrf")).json()["csrf_token"]
        return self
