"""held list|show|release|discard: mail that waits for a decision instead of having been sent."""

import asyncio
import base64
import os
import pwd
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, pass_app
from mailrelay.core.errors import Conflict, Malformed
from mailrelay.core.header import split
from mailrelay.core.held import HeldId, HeldRecord

if TYPE_CHECKING:
    from mailrelay.store.held import HeldStore

Result = TypeVar("Result")

_LISTED = ("id", "created_at", "account", "author", "rcpt", "reason", "size_octets", "stored", "expires_at")
_ID = click.IntRange(1, 2**63 - 1)


@click.group()
def held() -> None:
    """Mail that was quarantined or held. It goes after seven days."""


@held.command("list")
@click.argument("account", required=False)
@click.option("--all", "every", is_flag=True, help="Released and discarded mail as well.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="The last so many.")
@pass_app
def list_(app: App, account: str | None, every: bool, limit: int) -> None:
    """Show held mail, the latest first."""
    columns = (*_LISTED[:2], "state", *_LISTED[2:]) if every else _LISTED
    found = _run(app, lambda shelf: shelf.page(account and account.strip().lower(), every, limit))
    app.many(found, columns)


@held.command("show")
@click.argument("number", metavar="ID", type=_ID)
@click.option("--raw", is_flag=True, help="The whole message, octet by octet; this is recorded.")
@pass_app
def show_(app: App, number: int, raw: bool) -> None:
    """Show one message: why it is held, and its header."""
    if raw:
        _show_raw(app, HeldId(number))
        return

    async def read(shelf: "HeldStore") -> tuple[HeldRecord, bytes | None]:
        record = await shelf.one(HeldId(number))
        try:
            return record, await shelf.content(record.id)
        except (Conflict, Malformed) as error:
            app.remark(f"note: {error}")
            return record, None

    record, content = _run(app, read)
    lines = [] if content is None else header_lines(content)
    text = [show.details(record), *(["", *(show.indented([line], 0)[0] for line in lines)] if lines else [])]
    app.text("\n".join(text), {**show.fields(record), "header": "\n".join(lines)})


def _show_raw(app: App, number: HeldId) -> None:
    async def read(shelf: "HeldStore") -> tuple[HeldRecord, bytes]:
        record, content = await shelf.one(number), await shelf.content(number)
        await shelf.seen(number, actor())
        return record, content

    record, content = _run(app, read)
    if app.json:
        document = {**show.fields(record), "content_base64": base64.b64encode(content).decode("ascii")}
        click.echo(show.document(document))
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


@held.command()
@click.argument("number", metavar="ID", type=_ID)
@pass_app
def release(app: App, number: int) -> None:
    """Send a message after all, to those whom its alias reaches now. A second time sends nothing."""
    from mailrelay.wiring.held import release as send

    done = asyncio.run(send(app.config, HeldId(number), actor()))
    if done.failed is not None:
        app.remark(f"note: not to everybody: {done.failed.value}")
    app.one(done)


@held.command()
@click.argument("number", metavar="ID", type=_ID)
@pass_app
def discard(app: App, number: int) -> None:
    """Delete a message; its record stays until it is seven days old."""
    app.one(_run(app, lambda shelf: shelf.discard(HeldId(number), actor())))


def _run(app: App, work: "Callable[[HeldStore], Awaitable[Result]]") -> Result:
    from mailrelay.wiring.held import held_store

    return app.run(lambda database: work(held_store(app.config, database)))


def header_lines(content: bytes) -> list[str]:
    """The lines of the header, unchanged but for what is no text."""
    header = content[: split(content).header_end].decode("utf-8", "replace")
    return [line.removesuffix("\r").expandtabs() for line in header.removesuffix("\n").split("\n")] if header else []


def actor() -> str:
    """Who runs the command, as the audit has it."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:{os.getuid()}"
