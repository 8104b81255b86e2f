"""The OpenAPI document of the API, made of what its endpoints declare."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from starlette.responses import Response

import mailrelay
from mailrelay.api.addy.call import Call, body
from mailrelay.api.addy.checks import INTEGER, Fields, Rule, demanded
from mailrelay.api.addy.endpoint import Endpoint

_MESSAGE = {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}
_ERRORS = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1}}
_INVALID = {**_MESSAGE, "properties": {"message": {"type": "string"}, "errors": _ERRORS}}
_WORDS: Mapping[int, str] = {
    400: "The query or body cannot be read.",
    401: "There is no token, or none that is right.",
    403: "Not for this account, or not now.",
    404: "This account has no such object.",
    408: "The body took too long.",
    413: "The body is too large.",
    422: "Something given is wrong: `errors` has messages by attribute.",
    429: "Too many requests; `Retry-After` says for how many seconds.",
    500: "A mistake of the server.",
    503: "The server cannot answer now; `Retry-After` says when to try again.",
}
_ALWAYS = (400, 408, 413, 429, 500, 503)


def described(endpoints: Sequence[Endpoint], url: str) -> tuple[Endpoint, ...]:
    """These endpoints and the one that tells of them, whose document is made when somebody first asks."""
    made = cache(lambda: document(endpoints, url))

    async def tell(_: Call) -> Response:
        return body(made())

    return (*endpoints, Endpoint("GET", "openapi.json", tell, "This document", Mapping[str, Any], is_open=True))


def document(endpoints: Sequence[Endpoint], url: str) -> dict[str, Any]:
    """OpenAPI 3.1. url: of the server, '' for wherever the document came from."""
    answers, schemas = _answers(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, answers.get(id(endpoint)))
        paths.setdefault(endpoint.full_path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mailrelay: the addy.io API, version 1",
            "version": mailrelay.__version__,
            "description": "E-mail aliases over HTTP, as clients of addy.io know it.",
        },
        "servers": [{"url": url or "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**schemas, "Message": _MESSAGE, "Invalid": _INVALID},
        },
    }


def _answers(endpoints: Iterable[Endpoint]) -> tuple[dict[int, Any], Mapping[str, Any]]:
    """Schemas of the answers by endpoint, and those that they refer to by name."""
    typed = [(id(one), "serialization", TypeAdapter(one.answer)) for one in endpoints if one.answer not in (None, str)]
    by_key, whole = TypeAdapter.json_schemas(typed, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {key: schema for (key, _), schema in by_key.items()}, whole.get("$defs", {})


def _operation(endpoint: Endpoint, answer: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "tags": [endpoint.path.partition("/")[0]],
        "responses": _responses(endpoint, answer),
    }
    parameters = []
    if "{id}" in endpoint.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    if endpoint.method == "GET":
        parameters += _parameters(endpoint.fields)
    elif endpoint.fields:
        operation["requestBody"] = {"content": {"application/json": {"schema": _request(endpoint.fields)}}}
    if parameters:
        operation["parameters"] = parameters
    if endpoint.is_open:
        operation["security"] = []
    return operation


def _responses(endpoint: Endpoint, answer: Any) -> dict[str, Any]:
    said: dict[int, dict[str, Any]] = {status: _json("Message", status) for status in _ALWAYS}
    if not endpoint.is_open or endpoint.fields:
        said |= {status: _json("Message", status) for status in (401, 403)}
    if "{id}" in endpoint.path or endpoint.fields:
        said[404] = _json("Message", 404)
        said[422] = _json("Invalid", 422)
    for status, text in endpoint.texts:
        entry = said.setdefault(status, {"description": _WORDS[status], "content": {}})
        entry["content"].setdefault("text/plain", {"schema": {"type": "string", "examples": []}})
        entry["content"]["text/plain"]["schema"]["examples"].append(text)
    success: dict[str, Any] = {"description": "Done."}
    if endpoint.answer is str:
        success["content"] = {"message/rfc822": {"schema": {"type": "string"}}}
    elif answer is not None:
        success["content"] = {"application/json": {"schema": answer}}
    said[endpoint.status] = success
    return {str(status): said[status] for status in sorted(said)}


def _json(schema: str, status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": _WORDS[status], "content": content}


def _parameters(fields: Fields) -> list[dict[str, Any]]:
    """Query parameters; members of groups are spelled with brackets."""
    groups = {one.key.partition(".")[0] for one in fields if "." in one.key}
    found = []
    for one in fields:
        if one.key in groups:
            continue
        name, *steps = one.key.split(".")
        parameter: dict[str, Any] = {
            "name": name + "".join(f"[{step}]" for step in steps),
            "in": "query",
            "schema": _texts(one.rules),
        }
        if demanded(one.rules):
            parameter["required"] = True
        found.append(parameter)
    return found


def _texts(rules: Iterable[Any]) -> dict[str, Any]:
    """What a value in a query is: there everything is a text."""
    schema = _schema(rules)
    if INTEGER in rules:
        return {"type": "integer", **{key: value for key, value in schema.items() if key != "type"}}
    return {"type": "string", **schema}


def _schema(rules: Iterable[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for rule in rules:
        if isinstance(rule, Rule):
            schema.update(rule.schema)
    return schema


def _request(fields: Fields) -> dict[str, Any]:
    """The JSON object that a body is."""
    root: dict[str, Any] = {"type": "object"}
    for one in fields:
        *above, last = one.key.split(".")
        holder = root
        for step in above:
            holder = _below(holder, step)
        _below(holder, last).update(_nullable(_schema(one.rules)) if one.nullable else _schema(one.rules))
        if demanded(one.rules) and last != "*":
            holder.setdefault("required", []).append(last)
    return root


def _below(place: dict[str, Any], step: str) -> dict[str, Any]:
    """Where the schema of a member stands; `*` is every member of a list."""
    if step != "*":
        place.setdefault("type", "object")
        place = place.setdefault("properties", {})
    below: dict[str, Any] = place.setdefault("items" if step == "*" else step, {})
    return below


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    kind = schema.get("type")
    if kind is None:
        return schema
    return {**schema, "type": [*(kind if isinstance(kind, list) else [kind]), "null"]}
