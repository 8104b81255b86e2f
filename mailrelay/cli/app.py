"""What commands share: the settings, read once and only if needed, a database connection, and where results go."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mailrelay.cli import show
from mailrelay.core.errors import Unavailable

if TYPE_CHECKING:  # these take longer to import than most commands run
    from mailrelay.config import Config
    from mailrelay.core.naming import ServiceNames
    from mailrelay.core.records import Named
    from mailrelay.flows.manage.ports import Bureau
    from mailrelay.store.database import Database

Result = TypeVar("Result")

# People wait longer than mail may.
_DATABASE_SECONDS = 10.0


@dataclass(slots=True)
class App:
    """One run of the command. config_option: as given with -c."""

    config_option: Path | None
    json: bool
    _config: "Config | None" = field(default=None, repr=False)

    @property
    def config_path(self) -> Path:
        """The file that is or would be read."""
        from mailrelay import config

        return config.path_from(self.config_option)

    @property
    def config(self) -> "Config":
        """The settings. Raises BadConfig."""
        if self._config is None:
            from mailrelay import config

            self._config = config.load(self.config_path)
        return self._config

    @property
    def debugging(self) -> bool:
        """True if settings were read and ask for everything in the log."""
        return self._config is not None and self._config.log.level == "debug"

    @property
    def service(self) -> "ServiceNames":
        """The installation's own domains."""
        from mailrelay.core.naming import ServiceNames

        names = self.config.service
        return ServiceNames(names.domain, names.bounce_domain, names.srs_domain, names.hostname)

    def run(self, work: "Callable[[Database], Awaitable[Result]]") -> Result:
        """Carry out work on the database, which is closed afterwards."""
        from mailrelay.store.database import Database

        settings = self.config.database

        async def story() -> Result:
            await _probe(settings.dsn)
            database = Database(settings.dsn, 1, max(settings.timeout_seconds, _DATABASE_SECONDS), "cli")
            await database.open()
            try:
                return await work(database)
            finally:
                await database.close()

        return asyncio.run(story())

    def bureau(self, database: "Database") -> "Bureau":
        """What flows check new names against."""
        from mailrelay.flows.manage.ports import Bureau
        from mailrelay.store.manage_ground import Grounds

        return Bureau(self.service, Grounds(database), now)

    def one(self, record: object) -> None:
        """Print one result: its fields, one a line."""
        click.echo(show.document(record) if self.json else show.details(record))

    def many(self, found: "list[Result]", columns: tuple[str, ...]) -> None:
        """Print a list: the fields named, or with --json all of them."""
        click.echo(show.document(found) if self.json else show.table(found, columns), nl=self.json or bool(found))

    def text(self, text: str, record: object) -> None:
        """Print text, or with --json the record."""
        click.echo(show.document(record) if self.json else text)

    def remark(self, text: str) -> None:
        """Something worth knowing that is no result."""
        click.echo(text, err=True)


async def _probe(dsn: str) -> None:
    """Raises Unavailable at once and in the server's words, where a pool would wait for better times."""
    from psycopg import AsyncConnection, OperationalError

    try:
        await (await AsyncConnection.connect(dsn, connect_timeout=round(_DATABASE_SECONDS))).close()
    except OperationalError as error:
        raise Unavailable(f"database.dsn: {' '.join(str(error).split())}") from error


def now() -> datetime:
    """The clock that is handed inwards."""
    return datetime.now(UTC)


def account_named(name: str | None) -> "Named | None":
    """The account that an option names."""
    from mailrelay.core.records import Named

    return None if name is None else Named(name.strip().lower())


def read_secret_file(name: str) -> str:
    """First line of a file, `-` for standard input. Raises click.ClickException."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{name}: cannot be read: {error}") from error
    return text.split("\n", 1)[0].removesuffix("\r")


def read_octets(name: str, limit: int = -1) -> bytes:
    """What is in a file, `-` for standard input; at most so many octets of it. Raises click.ClickException."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(limit)
        with Path(name).open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise click.ClickException(f"{name}: cannot be read: {error.strerror}") from error


def read_message(name: str) -> bytes:
    """A message with CRLF, as SMTP has it; a file made on Unix may have plain newlines. `-` for standard input.

    Raises click.ClickException.
    """
    content = read_octets(name)
    return content if b"\r\n" in content else content.replace(b"\n", b"\r\n")


pass_app = click.make_pass_decorator(App)
