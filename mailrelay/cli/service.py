"""Commands that concern the installation itself: serve, migrate, check-config, secrets."""

import asyncio
from pathlib import Path

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, pass_app
from mailrelay.core.errors import BadConfig
from mailrelay.endpoint import Endpoint

ROLES = ("policy", "milter", "lmtp", "api", "worker")


@click.command()
@click.argument("roles", nargs=-1, required=True, metavar="ROLE...|all", type=click.Choice((*ROLES, "all")))
@pass_app
def serve(app: App, roles: tuple[str, ...]) -> None:
    """Run roles in this process until it is told to stop."""
    from mailrelay.wiring import serve as serve_until_told

    chosen = ROLES if "all" in roles else tuple(dict.fromkeys(roles))
    serve_until_told(app.config_path, chosen)


@click.command()
@pass_app
def migrate(app: App) -> None:
    """Apply the schema changes that the database lacks. Several may start it at once."""
    from mailrelay.store import migrate as migrations

    dsn = app.config.database.dsn
    done = asyncio.run(migrations.migrate(dsn, migrations.folder(), app.remark))
    app.text("\n".join(done) or "nothing to do", {"applied": done})


@click.command("check-config")
@click.pass_context
def check_config(ctx: click.Context) -> None:
    """Name every mistake in the settings, the secret files and the DKIM keys, without starting anything."""
    app = ctx.ensure_object(App)
    problems = _problems(app)
    remarks = [] if problems else _reachable_listeners(app)
    for remark in remarks:
        app.remark(f"note: {remark}")
    if app.json:
        found = {"file": str(app.config_path), "ok": not problems, "problems": problems, "remarks": remarks}
        click.echo(show.document(found))
    elif not problems:
        click.echo(f"{app.config_path}: ok")
    else:
        raise BadConfig(tuple(problems))
    if problems:
        ctx.exit(78)


def _problems(app: App) -> list[str]:
    from mailrelay.store import manage_keys

    try:
        config = app.config
    except BadConfig as error:
        return list(error.problems)
    problems = _clashing_listeners(app)
    problems += manage_keys.secret_problems(config.secrets)
    return problems + manage_keys.DkimFolder(config.dkim).problems(config.service.domain)


def _clashing_listeners(app: App) -> list[str]:
    config = app.config
    listeners = {
        "policy.listen": config.policy.listen,
        "policy.socketmap": config.policy.socketmap,
        "policy.status": config.policy.status,
        "lmtp.listen": config.lmtp.listen,
        "lmtp.status": config.lmtp.status,
        "submit.address": config.submit.address,  # Postfix listens there
        "api.listen": config.api.listen,
        "worker.status": config.worker.status,
    }
    problems: list[str] = []
    seen: dict[Endpoint, str] = {}
    for key, endpoint in listeners.items():
        if endpoint in seen:
            problems.append(f"{app.config_path}: {key}: {endpoint} is taken by {seen[endpoint]}")
        seen.setdefault(endpoint, key)
    return problems


def _reachable_listeners(app: App) -> list[str]:
    """What is odd but may be meant: a firewall can stand before an address that other hosts reach."""
    config = app.config
    dangers = {
        "policy.listen": (config.policy.listen, "whoever reaches it learns which addresses exist"),
        "policy.socketmap": (config.policy.socketmap, "whoever reaches it learns which domains are ours"),
        "lmtp.listen": (config.lmtp.listen, "whoever reaches it injects mail past Postfix and its checks"),
    }
    return [
        f"{app.config_path}: {key}: {endpoint} is not loopback: {danger}; use an address such as 127.0.0.1"
        for key, (endpoint, danger) in dangers.items()
        if not endpoint.loopback
    ]


@click.group()
def secrets() -> None:
    """Secret keys of the installation."""


@secrets.command()
@pass_app
def init(app: App) -> None:
    """Create the secret files that are missing. What is there stays as it is."""
    from mailrelay.store import manage_keys

    folder: Path = app.config.secrets
    made = manage_keys.init_secrets(folder)
    lines = [f"created {path}" for path in made] or [f"{folder}: nothing was missing"]
    app.text("\n".join(lines), {"folder": str(folder), "created": [path.name for path in made]})
