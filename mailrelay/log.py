"""Structured logs: one line an event, JSON for machines or text for people, with the Postfix queue id bound to it."""

import logging
import re
import sys
from contextvars import ContextVar
from typing import Any, Literal, cast

import structlog

queue_id: ContextVar[str] = ContextVar("queue_id", default="-")


def _bind_queue_id(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.setdefault("queue_id", queue_id.get())
    return event


# Values of rows may have several lines.
_DETAIL = re.compile(
    r"^DETAIL: .*?(?=^(?:HINT|CONTEXT): |^(?:The above|During handling of the above) exception|\Z)",
    re.MULTILINE | re.DOTALL,
)


def _hide_rows(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """PostgreSQL shows the row that it would not take, and rows hold people's mailboxes."""
    if "exception" in event:
        event["exception"] = _DETAIL.sub("DETAIL: not shown\n", event["exception"])
    return event


def configure(level: Literal["debug", "info", "warning", "error"], style: Literal["json", "text"]) -> None:
    """Send everything to standard error, where systemd's journal reads it."""
    renderer: structlog.typing.Processor
    if style == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.processors.KeyValueRenderer(key_order=["event"])
    # It writes a traceback for each report that confuses it, which is caught.
    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            _bind_queue_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _hide_rows,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # whatever standard error is by then
        cache_logger_on_first_use=True,
    )
    # Libraries only speak when something is wrong. aiosmtpd would otherwise write every command, and the pool each of
    # its attempts to reconnect, which changes.lost already tells.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    for name in ("mail.log", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.ERROR)


def logger() -> structlog.typing.FilteringBoundLogger:
    """The logger; events are `noun.verb`, the rest are fields, ids rather than addresses."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger())
