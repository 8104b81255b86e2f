"""Commands that concern the installation itself: serve, migrate, check-config, secrets."""

import asyncio
from collections.abc import Collection
from pathlib import Path

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, pass_app
from mailrelay.cli.progress import Progress
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
    from mailrelay.keyring import SERVICE_KEY
    from mailrelay.store import manage_keys

    try:
        config = app.config
    except BadConfig as error:
        return list(error.problems)
    problems = _clashing_listeners(app)
    problems += manage_keys.secret_problems(config.secrets)
    problems += manage_keys.service_key_problems(config.secrets / SERVICE_KEY)
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
    """Create the secret files that are missing, and the service's OpenPGP key. What is there stays as it is."""
    from mailrelay.cli.servicekey import first_key
    from mailrelay.store import manage_keys

    folder: Path = app.config.secrets
    made = [*manage_keys.init_secrets(folder), *first_key(app)]
    lines = [f"created {path}" for path in made] or [f"{folder}: nothing was missing"]
    app.text("\n".join(lines), {"folder": str(folder), "created": [path.name for path in made]})


@secrets.command()
@click.argument("name", type=click.Choice(["storage"]))
@pass_app
def rotate(app: App, name: str) -> None:
    """Put a new key in front of those that seal what is stored. The old ones still open."""
    from mailrelay.clients.atomicfile import replace_file
    from mailrelay.store import manage_keys

    path = app.config.secrets / f"{name}.key"
    count = manage_keys.rotate_secret(path, replace_file)
    app.text(f"{path}: {count} keys, the new one first", {"file": str(path), "keys": count})
    app.remark("restart the roles; then `mailrelay secrets reseal --prune` seals all with it, and drops the old ones")


@secrets.command()
@click.option("--prune", is_flag=True, help="Afterwards, drop the keys that nothing is sealed with any more.")
@pass_app
def reseal(app: App, prune: bool) -> None:
    """Seal stored mail, addresses and secrets with the first key of storage.key. It can be stopped and begun again.

    The worker does the same, a minute of each hour. Roles that have not been restarted cannot open the result. Copies
    on their way out (state/spool, six days) keep the key that they have, so prune a week after the rotation.
    """
    from mailrelay.wiring.resealing import Stock, resealed

    with Progress() as progress:
        stock: Stock = app.run(lambda database: resealed(app.config, database, progress.begin, progress.step))
    result = stock.result
    dropped = _prune(app, stock.used) if prune else 0
    app.one({"resealed": result.rows, "lost": result.lost, "keys_in_use": len(stock.used), "keys_dropped": dropped})
    if result.lost:
        app.remark(f"note: {result.lost} rows were sealed with keys that storage.key no longer holds, or are damaged")


def _prune(app: App, used: Collection[str]) -> int:
    """Drop keys from storage.key, but for the first and those that are in use; gives how many."""
    from mailrelay.clients.atomicfile import replace_file
    from mailrelay.core.sealed import vault
    from mailrelay.store import manage_keys

    path = app.config.secrets / "storage.key"
    return manage_keys.keep_secrets(path, lambda secret: vault([secret]).key_id in used, replace_file)
