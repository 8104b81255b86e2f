"""The OpenAPI document is made of what is served."""

from typing import Any, NotRequired

import pytest
from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import FLAG, Field, one_of, text, whole
from mailrelay.api.haltman.endpoint import Access, Endpoint
from mailrelay.api.haltman.messages import SENTENCES
from mailrelay.api.haltman.openapi import document
from mailrelay.api.haltman.replies import answer
from tests.api.haltman.conftest import Desk


class Thing(TypedDict):
    id: int
    note: NotRequired[str | None]


async def nothing(_: Call) -> Any:
    return answer({})


ENDPOINTS = (
    Endpoint("GET", "things", nothing, "9.1 all", list[Thing], query=(
        Field("limit", whole(1, 200)), Field("active", FLAG), Field("kind", one_of("a", "b")),
        Field("to", required=True),
    )),
    Endpoint("PATCH", "admin/things/{id}", nothing, "9.2 one", Thing, 201, access=Access.ADMIN, body=(
        Field("name", text(1, 5), required=True), Field("active", FLAG),
    ), errors=((404, "alias_not_found"), (409, "alias_taken"))),
    Endpoint("POST", "keys/things", nothing, "9.3 one", Thing, also=(202,), access=Access.KEY),
)  # fmt: skip


def test_answers_refer_to_their_types() -> None:
    made = document(ENDPOINTS, "https://relay.example")
    assert made["components"]["schemas"]["Thing"]["required"] == ["id"]
    responses = made["paths"]["/api/admin/things/{id}"]["patch"]["responses"]
    assert responses["201"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Thing"}
    assert {"200", "202"} <= set(made["paths"]["/api/keys/things"]["post"]["responses"])


def test_errors_name_their_codes() -> None:
    responses = document(ENDPOINTS, "")["paths"]["/api/admin/things/{id}"]["patch"]["responses"]

    def codes(status: str) -> list[str]:
        found: list[str] = responses[status]["content"]["application/json"]["schema"]["allOf"][1]["properties"][
            "error"
        ]["enum"]
        return found

    assert codes("404") == ["alias_not_found", "not_found"]
    assert codes("409") == ["alias_taken"]
    assert codes("403") == ["banned", "csrf_required", "forbidden", "invalid_csrf_token"]
    assert codes("401") == ["invalid_or_expired_session"]


def test_requests_say_what_is_checked() -> None:
    paths = document(ENDPOINTS, "")["paths"]
    parameters = {one["name"]: one for one in paths["/api/things"]["get"]["parameters"]}
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 200}
    assert parameters["kind"]["schema"] == {"type": "string", "enum": ["a", "b"]}
    assert parameters["active"]["schema"]["enum"] == ["0", "1", "true", "false", "yes", "no", "on", "off"]
    assert parameters["to"]["required"] is True
    body = paths["/api/admin/things/{id}"]["patch"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["name"]
    assert body["properties"]["name"] == {"type": "string", "minLength": 1, "maxLength": 5}


def test_security_is_named() -> None:
    paths = document(ENDPOINTS, "")["paths"]
    assert paths["/api/things"]["get"]["security"] == []
    assert paths["/api/keys/things"]["post"]["security"] == [{"key": []}]
    assert paths["/api/admin/things/{id}"]["patch"]["security"] == [{"session": [], "csrf": []}]


async def test_it_is_served_to_everybody_and_tells_of_all_that_is_served(desk: Desk) -> None:
    reply = await desk.get("openapi.json")
    assert reply.headers["cache-control"] == "public, max-age=60"
    made = reply.json()
    assert made["openapi"] == "3.1.0" and made["servers"] == [{"url": "https://relay.example"}]
    told = {(method.upper(), path) for path, methods in made["paths"].items() for method in methods}
    served = {(one.method, one.full_path) for one in desk.app.endpoints if one.refusal is None}  # those are pages
    assert told == served - {("GET", "/api/openapi.json")}


async def test_every_code_has_a_sentence(desk: Desk) -> None:
    assert {code for one in desk.app.endpoints for _, code in one.errors} <= set(SENTENCES)


@pytest.mark.parametrize("code", sorted(SENTENCES))
def test_sentences_are_sentences(code: str) -> None:
    assert SENTENCES[code][0].isupper() and SENTENCES[code].endswith(".")
