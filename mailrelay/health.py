"""What `/healthz` and `/metrics` answer, whichever server is asked."""

import json
from collections.abc import Callable, Mapping

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

# Component -> "ok", or what is wrong in a few words without insides. Called from any thread; must not wait.
Health = Callable[[], Mapping[str, str]]


def report(health: Health) -> tuple[int, bytes]:
    """HTTP status and JSON body: 200 when every component is ok, 503 when one is not."""
    components = dict(health())
    trouble = any(state != "ok" for state in components.values())
    body = {"status": "trouble" if trouble else "ok", "components": components}
    return (503 if trouble else 200), json.dumps(body).encode() + b"\n"


def exposition(accept: str, registry: CollectorRegistry = REGISTRY) -> tuple[str, bytes]:
    """Content type and body of all metrics, in the format that an Accept header asks for. Takes milliseconds."""
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)
