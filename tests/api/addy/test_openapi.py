"""The OpenAPI document is made of what is served (addy-api.md and issue: one document for clients)."""

from typing import Any

from typing_extensions import TypedDict

from mailrelay.api.addy.call import Call, body
from mailrelay.api.addy.checks import ARRAY, INTEGER, REQUIRED, STRING, UUID_TEXT, attribute, max_chars, one_of
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.openapi import document
from mailrelay.api.addy.shapes import Data, Paged
from tests.api.addy.conftest import Desk


class Thing(TypedDict):
    id: str
    note: str | None


async def nothing(_: Call) -> Any:
    return body({})


ENDPOINTS = (
    Endpoint("GET", "things", nothing, "E1 all", Paged[Thing],
             fields=(attribute("page", ARRAY), attribute("page.size", INTEGER), attribute("sort", one_of("a")))),
    Endpoint("POST", "things", nothing, "E2 one more", Data[Thing], 201, (
        attribute("name", REQUIRED, STRING, max_chars(5)),
        attribute("note", STRING, nullable=True),
        attribute("ids", ARRAY),
        attribute("ids.*", REQUIRED, UUID_TEXT),
        attribute("parts.*.kind", REQUIRED, one_of("x")),
    )),
    Endpoint("DELETE", "things/{id}", nothing, "E3 none", status=204, texts=((403, "Not this one"),)),
)  # fmt: skip


def test_answers_refer_to_their_types() -> None:
    made = document(ENDPOINTS, "https://relay.example")
    thing = made["components"]["schemas"]["Thing"]
    assert thing["required"] == ["id", "note"]
    created = made["paths"]["/api/v1/things"]["post"]["responses"]["201"]["content"]["application/json"]["schema"]
    name = created["$ref"].rpartition("/")[2]
    assert made["components"]["schemas"][name]["properties"]["data"] == {"$ref": "#/components/schemas/Thing"}


def test_requests_say_what_is_checked() -> None:
    paths = document(ENDPOINTS, "")["paths"]
    schema = paths["/api/v1/things"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "maxLength": 5},
            "note": {"type": ["string", "null"]},
            "ids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
            "parts": {"items": {
                "type": "object", "required": ["kind"], "properties": {"kind": {"enum": ["x"]}},
            }},
        },
    }  # fmt: skip
    names = [one["name"] for one in paths["/api/v1/things"]["get"]["parameters"]]
    assert names == ["page[size]", "sort"]


def test_bare_texts_stand_beside_messages() -> None:
    responses = document(ENDPOINTS, "")["paths"]["/api/v1/things/{id}"]["delete"]["responses"]
    assert set(responses["403"]["content"]) == {"application/json", "text/plain"}
    assert "content" not in responses["204"]


async def test_it_is_served_to_everybody(desk: Desk) -> None:
    desk.token = None
    made = (await desk.get("openapi.json")).json()
    assert made["openapi"] == "3.1.0"
    assert made["servers"] == [{"url": "https://relay.example"}]
