"""failed list|show|download|resend|delete: mail that did not arrive, and why."""

import asyncio
import base64
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, pass_app
from mailrelay.cli.held import actor, header_lines
from mailrelay.cli.types import MAILBOX
from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Malformed
from mailrelay.core.failed import FailedId, FailedRecord, FailedType

if TYPE_CHECKING:
    from mailrelay.store.failed import FailedStore

Result = TypeVar("Result")

_LISTED = (
    "id",
    "created_at",
    "account",
    "type",
    "bounce_type",
    "status",
    "sender",
    "destination",
    "is_stored",
    "resent",
)
_ID = click.IntRange(1, 2**63 - 1)


@click.group()
def failed() -> None:
    """Mail that did not arrive, and why. Records go after seven days."""


@failed.command("list")
@click.option("--account", metavar="NAME", help="Of this account only: its name or implicit mailbox.")
@click.option("--type", "kind", type=click.Choice([kind.value for kind in FailedType]), help="Of this type only.")
@click.option("--before", type=_ID, metavar="ID", help="Older ones than this.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The last so many.")
@pass_app
def list_(app: App, account: str | None, kind: str | None, before: int | None, limit: int) -> None:
    """Show failed deliveries, the latest first."""
    type = None if kind is None else FailedType(kind)
    older = None if before is None else FailedId(before)
    name = account and account.strip().lower()
    found = _run(app, lambda shelf: shelf.older(name, type, older, limit))
    if app.json:
        click.echo(show.document([_facts(record) for record in found]))
    else:
        app.many(found, _LISTED)


@failed.command("show")
@click.argument("number", metavar="ID", type=_ID)
@pass_app
def show_(app: App, number: int) -> None:
    """Show one failed delivery: why it failed, and the header of its message."""

    async def read(shelf: "FailedStore") -> tuple[FailedRecord, bytes | None]:
        record = await shelf.one(FailedId(number))
        try:
            return record, await shelf.content(record.id)
        except (Absent, Malformed) as error:
            app.remark(f"note: {error}")
            return record, None

    record, content = _run(app, read)
    lines = [] if content is None else header_lines(content)
    facts = _facts(record)
    text = [show.details(facts), *(["", *(show.indented([line], 0)[0] for line in lines)] if lines else [])]
    app.text("\n".join(text), {**facts, "header": "\n".join(lines)})


@failed.command()
@click.argument("number", metavar="ID", type=_ID)
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@pass_app
def download(app: App, number: int, file: Path | None) -> None:
    """Write the stored message to FILE, which must not be there, or to standard output; this is recorded."""
    from mailrelay.flows.manage import failed as desk

    if file is not None and str(file) != "-" and file.exists():
        raise click.ClickException(f"{file}: is there already; name another file")
    record, content = _run(app, lambda shelf: desk.download(shelf, None, FailedId(number), actor()))
    if record.partial:
        app.remark("note: the report that returned the message had cut it")
    facts = {"id": record.id, "uuid": record.uuid, "size_octets": len(content), "partial": record.partial}
    if file is None or str(file) == "-":
        if app.json:
            app.one({**facts, "content_base64": base64.b64encode(content).decode("ascii")})
            return
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        with open(file, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            out.write(content)
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be written: {error.strerror}") from error
    app.one({**facts, "file": str(file)})


@failed.command()
@click.argument("number", metavar="ID", type=_ID)
@click.option("--to", "mailboxes", type=MAILBOX, multiple=True, help="A verified recipient of the account; up to ten.")
@pass_app
def resend(app: App, number: int, mailboxes: tuple[Address, ...]) -> None:
    """Send a forward once more, to those whom its alias reaches now. A second time sends nothing."""
    from mailrelay.wiring.failed import resend as send

    done = asyncio.run(send(app.config, FailedId(number), actor(), mailboxes))
    if done.returned:
        app.remark("note: it was made of the copy that came back, so its author's signature is lost")
    if done.partial:
        app.remark("note: the report that returned the message had cut it")
    if done.failed is not None:
        app.remark(f"note: not to everybody: {done.failed.value}")
    app.one(done)


@failed.command()
@click.argument("number", metavar="ID", type=_ID)
@pass_app
def delete(app: App, number: int) -> None:
    """Delete a record and its message; what was held is not sent any more."""
    from mailrelay.flows.manage import failed as desk

    app.one(_run(app, lambda shelf: desk.delete(shelf, None, FailedId(number), actor())))


def _facts(record: FailedRecord) -> dict[str, object]:
    """A record with what is derived from it."""
    return {**show.shallow(record), "type": record.type.value, "expires_at": record.expires_at}


def _run(app: App, work: "Callable[[FailedStore], Awaitable[Result]]") -> Result:
    from mailrelay.wiring.failed import failed_store

    return app.run(lambda database: work(failed_store(app.config, database)))
