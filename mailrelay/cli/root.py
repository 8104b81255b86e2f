"""The main command: global options, the list of commands, and exit codes in one place."""

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from mailrelay import __version__
from mailrelay.cli.app import App
from mailrelay.core.errors import Absent, BadConfig, Conflict, Malformed, Unavailable


class _Entry(NamedTuple):
    module: str
    attribute: str
    help: str


_JSON = "Results as one JSON document."

# Loaded when called: a command does not pay for the imports of the others.
_COMMANDS = {
    "serve": _Entry("mailrelay.cli.service", "serve", "Run roles: policy, milter, lmtp, api, worker, or all."),
    "migrate": _Entry("mailrelay.cli.service", "migrate", "Lead the database to the current schema."),
    "check-config": _Entry("mailrelay.cli.service", "check_config", "Name every mistake in the settings."),
    "secrets": _Entry("mailrelay.cli.service", "secrets", "Secret keys of the installation."),
    "adopt": _Entry("mailrelay.cli.join", "adopt", "Join the Postfix of this host."),
    "release": _Entry("mailrelay.cli.join", "release", "Take out of Postfix what adopt put in."),
    "account": _Entry("mailrelay.cli.accounts", "account", "Accounts that people sign in to."),
    "username": _Entry("mailrelay.cli.accounts", "username", "Names that give <name>.<shared domain>."),
    "recipient": _Entry("mailrelay.cli.recipients", "recipient", "Mailboxes that aliases forward to."),
    "pgp-key": _Entry("mailrelay.cli.servicekey", "pgp_key", "The service's own OpenPGP key."),
    "token": _Entry("mailrelay.cli.tokens", "token", "Bearer tokens of accounts."),
    "api-key": _Entry("mailrelay.cli.tokens", "api_key", "API keys of mailboxes."),
    "app-password": _Entry("mailrelay.cli.tokens", "app_password", "Passwords for sending by SMTP."),
    "domain": _Entry("mailrelay.cli.domains", "domain", "Shared and custom domains."),
    "alias": _Entry("mailrelay.cli.aliases", "alias", "Addresses that people write to."),
    "rule": _Entry("mailrelay.cli.rules", "rule", "What an account wants done with its mail."),
    "handle": _Entry("mailrelay.cli.handles", "handle", "Names reserved on all shared domains."),
    "block": _Entry("mailrelay.cli.bans", "block", "An account's own block list."),
    "ban": _Entry("mailrelay.cli.bans", "ban", "Server-wide bans."),
    "webhook": _Entry("mailrelay.cli.webhooks", "webhook", "Programs that hear of events."),
    "held": _Entry("mailrelay.cli.held", "held", "Mail that was quarantined or held."),
    "failed": _Entry("mailrelay.cli.failed", "failed", "Mail that did not arrive, and why."),
    "trace": _Entry("mailrelay.cli.stories", "trace", "What became of a message."),
    "explain": _Entry("mailrelay.cli.stories", "explain", "What would become of a message."),
}


def _take_json(command: click.Command) -> None:
    """Let a command and those below it have --json behind their names as well, where people look for it."""
    if not any("--json" in parameter.opts for parameter in command.params):
        option = click.Option(["--json"], is_flag=True, expose_value=False, callback=_want_json, help=_JSON)
        command.params.append(option)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _take_json(inner)


def _want_json(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.ensure_object(App).json = True


class _Root(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        _take_json(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in _COMMANDS.items()])


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file; else MAILRELAY_CONFIG, else /etc/mailrelay/mailrelay.yaml.",
)
@click.option("--json", is_flag=True, help=_JSON)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def root(ctx: click.Context, config: Path | None, json: bool) -> None:
    """E-mail aliases and forwarding beside your Postfix.

    Results go to standard output, remarks to standard error.
    """
    ctx.obj.config_option, ctx.obj.json = config, json


def run(arguments: Sequence[str]) -> int:
    """Carry out a command; gives its exit code."""
    app = App(None, False)
    try:
        code = root.main(list(arguments), prog_name="mailrelay", standalone_mode=False, obj=app)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("mailrelay: aborted", err=True)
        return 130
    except BadConfig as error:
        click.echo("\n".join(error.problems), err=True)
        return 78
    except Exception as error:
        code, text = _translated(error)
        if code == 70 and app.debugging:
            traceback.print_exc()
        click.echo(f"mailrelay: {text}", err=True)
        return code
    return code if isinstance(code, int) else 0


def _translated(error: Exception) -> tuple[int, str]:
    """Exit code and words, as style.md's table has them."""
    match error:
        case Unavailable():
            return 75, str(error)
        case Conflict() | Absent():
            return 1, str(error)
        case Malformed():
            return 65, str(error)
    psycopg = sys.modules.get("psycopg")  # not loaded: no database was asked
    if psycopg is not None:
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            return 75, "the database lacks a table or column: run `mailrelay migrate`"
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return 78, f"database.dsn: its role lacks rights: {error.diag.message_primary}"
        if isinstance(error, psycopg.errors.CheckViolation):
            return 65, f"not acceptable: {error.diag.constraint_name}"
        if isinstance(error, psycopg.errors.DataError):
            return 65, f"not acceptable: {error}"
    return 70, f"internal error: {type(error).__name__}: {error}"
