"""What all endpoints that take a mailed code have in common (haltman-api.md sections 2.6, 2.9, 2.10 and 4.3)."""

from typing import Any

import pytest

from tests.api.haltman.conftest import Desk

CODE = "735915"
RESET = {"token": CODE, "new_password": "battery staple"}
POSTS = {
    "forward/confirm": {"token": CODE},
    "handle/confirm": {"token": CODE},
    "handle/unsubscribe/confirm": {"token": CODE},
    "handle/domain/disable/confirm": {"token": CODE},
    "handle/domain/enable/confirm": {"token": CODE},
    "credentials/confirm": {"token": CODE},
    "auth/reset-password": RESET,
}
GETS = [f"{path}?token={CODE}" for path in POSTS if path != "auth/reset-password"]
RULES = ("confirm_token", "handle_confirm_token", "cred_confirm_token", "auth_password_reset_confirm_token")


async def ask(desk: Desk, path: str) -> Any:
    return await (desk.get(path) if "?" in path else desk.post(path, POSTS[path]))


@pytest.mark.parametrize("path", [*POSTS, *GETS])
async def test_tries_are_counted_as_limits_count_clients(desk: Desk, path: str) -> None:
    desk.client._transport.client = ("2001:db8::25", 40000)  # type: ignore[attr-defined]
    assert (await ask(desk, path)).json()["error"] == "invalid_or_expired"
    subjects = await desk.sql("select distinct subject from request_window where name like 'guess%%network'")
    addresses = await desk.sql("select distinct subject from request_window where name like 'guess%%address'")
    assert (subjects, addresses) == ([("2001:db8::/64",)], [("2001:db8::/64",)])


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": dict.fromkeys(RULES, 50)}}])
@pytest.mark.parametrize("path", POSTS)
async def test_no_code_lies_in_the_table_of_limits(desk: Desk, path: str) -> None:
    await ask(desk, path)
    subjects = [
        subject for (subject,) in await desk.sql("select subject from request_window where name like '%%token'")
    ]
    assert len(subjects) == 1 and CODE not in subjects


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("sent", "rules"), [({}, {"isString", "minLength"}), ({"token": ""}, {"minLength"}), ({"token": " "}, set())]
)
async def test_a_body_without_a_code_is_told_so_everywhere(
    desk: Desk, path: str, sent: dict[str, Any], rules: set[str]
) -> None:
    rest = {name: value for name, value in POSTS[path].items() if name != "token"}
    reply = await desk.post(path, {**rest, **sent})
    body = reply.json()
    assert (reply.status_code, body["error"], body["field"]) == (400, "invalid_params", "token")
    assert set(body.get("constraints", {})) == rules


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("token", ["12345", "a" * 300])
async def test_what_is_no_code_is_told_so_everywhere(desk: Desk, path: str, token: str) -> None:
    reply = await desk.post(path, {**POSTS[path], "token": token})
    said = {name for name in reply.json() if name not in ("ok", "message", "code")}
    assert (reply.status_code, reply.json()["error"], said) == (400, "invalid_token", {"error"})
