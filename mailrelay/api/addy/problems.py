"""Answers that say no, in the words and shapes of addy-api.md sections 1.8 to 1.10."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from starlette.responses import Response

from mailrelay.core.errors import Absent

_JSON = "application/json"


class Problem(Exception):
    """Ends a request. status: of HTTP; body: the whole one."""

    def __init__(
        self, status: int, body: bytes, media_type: str = _JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {body[:200]!r}")
        self.status = status
        self.body = body
        self.media_type = media_type
        self.headers = dict(headers or {})

    def response(self) -> Response:
        return Response(self.body, self.status, self.headers, media_type=self.media_type)


class Plain(Problem):
    """A message in JSON, and what else the body has."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None, **more: object) -> None:
        super().__init__(status, json.dumps({"message": message, **more}).encode(), headers=headers)


class NotFound(Plain):
    """There is no such object of this account. model: as the original calls it; raw: its id as sent, None: none was."""

    def __init__(self, model: str, raw: object = None) -> None:
        named = "." if raw is None else f" {raw}"
        super().__init__(404, f"No query results for model [App\\Models\\{model}]{named}")


class Text(Problem):
    """A bare text (section 1.9): its bytes are the contract."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text.encode(), "text/plain")


class Invalid(Problem):
    """Input that failed validation (section 1.10). errors: messages by attribute, in order, at least one."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        unique = {key: list(dict.fromkeys(messages)) for key, messages in errors.items()}
        every = [message for messages in unique.values() for message in messages]
        rest = len(every) - 1
        more = f" (and {rest} more error{'s' if rest > 1 else ''})" if rest else ""
        super().__init__(422, json.dumps({"message": f"{every[0]}{more}", "errors": unique}).encode())


UNAUTHENTICATED = (401, "Unauthenticated.")
UNVERIFIED = (403, "Your email address is not verified.")
BANNED = (403, "Requests from your network are not accepted.")  # the original has no bans
UNAVAILABLE = (503, "Service Unavailable")


@contextmanager
def missing(model: str, raw: object) -> Iterator[None]:
    """What a store or flow does not find is an object that this account does not have."""
    try:
        yield
    except Absent as error:
        raise NotFound(model, raw) from error
