"""The OpenAPI document of the API, made of what its endpoints declare."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from starlette.responses import Response

import mailrelay
from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import Field, Fields
from mailrelay.api.haltman.endpoint import Access, Endpoint
from mailrelay.api.haltman.gate import ACCESS_COOKIE
from mailrelay.api.haltman.messages import SENTENCES
from mailrelay.api.haltman.replies import answer

_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}
_ERROR: Mapping[str, Any] = {
    "type": "object",
    "required": ["error", "message", "code"],
    "properties": {
        "ok": {"const": False},
        "error": {"type": "string", "description": "What programs branch on."},
        "message": {"type": "string", "description": "One sentence for people."},
        "code": {"type": "integer", "description": "The status once more."},
        "field": _TEXT,
        "reason": _TEXT,
        "hint": _TEXT,
        "where": _TEXT,
        "constraints": {"type": "object", "additionalProperties": _TEXT},
        "ban": _OBJECT,
        "requestId": _TEXT,
        "retry_after_seconds": {"type": "integer", "minimum": 1},
    },
}
_EVERYWHERE = (
    *((400, "invalid_params"), (403, "banned"), (404, "not_found"), (408, "request_timeout")),
    *((413, "payload_too_large"), (429, "rate_limited"), (500, "internal_error"), (503, "temporarily_unavailable")),
)
_BY_ACCESS: Mapping[Access, tuple[tuple[int, str], ...]] = {
    Access.OPEN: (),
    Access.KEY: ((401, "missing_api_key"), (401, "invalid_api_key_format"), (401, "invalid_or_expired_api_key")),
    Access.ADMIN: ((401, "invalid_or_expired_session"), (403, "forbidden")),
}
_CSRF = ((403, "csrf_required"), (403, "invalid_csrf_token"))


def described(endpoints: Sequence[Endpoint], url: str) -> tuple[Endpoint, ...]:
    """These endpoints and the one that tells of them, whose document is made when somebody first asks."""
    made = cache(lambda: document(endpoints, url))

    async def tell(_: Call) -> Response:
        return answer(made())

    public = {"Cache-Control": "public, max-age=60"}
    own = Endpoint("GET", "openapi.json", tell, "This document", Mapping[str, Any], caching=public, safe=True)
    return (*endpoints, own)


def document(endpoints: Sequence[Endpoint], url: str) -> dict[str, Any]:
    """OpenAPI 3.1. url: of the server, '' for wherever the document came from."""
    answers, schemas = _answers(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.full_path, {})[endpoint.method.lower()] = _operation(endpoint, answers)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mailrelay: the Haltman mail-forwarding API",
            "version": mailrelay.__version__,
            "description": "Aliases, handles and their administration, as its web interface and add-on know them.",
        },
        "servers": [{"url": url or "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "session": {"type": "apiKey", "in": "cookie", "name": ACCESS_COOKIE},
                "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
            },
            "schemas": {**schemas, "Error": _ERROR},
        },
    }


def _answers(endpoints: Iterable[Endpoint]) -> tuple[dict[int, Any], Mapping[str, Any]]:
    """Schemas of the answers by endpoint, and those that they refer to by name."""
    typed = [(id(one), "serialization", TypeAdapter(one.answer)) for one in endpoints if one.answer is not None]
    by_key, whole = TypeAdapter.json_schemas(typed, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {key: schema for (key, _), schema in by_key.items()}, whole.get("$defs", {})


def _operation(endpoint: Endpoint, answers: Mapping[int, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "tags": [endpoint.path.partition("/")[0]],
        "responses": _responses(endpoint, answers.get(id(endpoint))),
        "security": _security(endpoint),
    }
    parameters: list[dict[str, Any]] = []
    if "{id}" in endpoint.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}})
    parameters += [_parameter(one) for one in endpoint.query]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body:
        operation["requestBody"] = {"content": {"application/json": {"schema": _request(endpoint.body)}}}
    return operation


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    match endpoint.access:
        case Access.KEY:
            return [{"key": []}]
        case Access.ADMIN:
            return [{"session": []} if endpoint.method == "GET" else {"session": [], "csrf": []}]
    return []


def _responses(endpoint: Endpoint, schema: Any) -> dict[str, Any]:
    csrf = _CSRF if endpoint.access is Access.ADMIN and endpoint.method != "GET" else ()
    codes: dict[int, list[str]] = {}
    for status, code in (*_EVERYWHERE, *_BY_ACCESS[endpoint.access], *csrf, *endpoint.errors):
        codes.setdefault(status, []).append(code)
    said = {status: _problem(found) for status, found in codes.items()}
    success: dict[str, Any] = {"description": "Done."}
    if schema is not None:
        success["content"] = {"application/json": {"schema": schema}}
    said |= dict.fromkeys((endpoint.status, *endpoint.also), success)
    return {str(status): said[status] for status in sorted(said)}


def _problem(codes: Iterable[str]) -> dict[str, Any]:
    """One status: its codes, and what each means."""
    known = sorted(set(codes))
    narrowed = {"properties": {"error": {"enum": known}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Error"}, narrowed]}
    words = " ".join(f"`{code}`: {SENTENCES[code]}" for code in known)
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _parameter(field: Field) -> dict[str, Any]:
    """In a query everything is a text."""
    schema = dict(field.check.schema) if field.check is not None else {}
    if schema.get("type") != "integer":
        words = [word for word in schema.pop("enum", ()) if isinstance(word, str)]
        schema |= {"type": "string"} | ({"enum": words} if words else {})
    return {"name": field.name, "in": "query", "schema": schema} | ({"required": True} if field.required else {})


def _request(fields: Fields) -> dict[str, Any]:
    """The JSON object that a body is."""
    properties = {one.name: dict(one.check.schema) if one.check is not None else {} for one in fields}
    required = [one.name for one in fields if one.required]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})
