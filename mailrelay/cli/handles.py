"""handle add|list|release|disable|enable."""

import click

from mailrelay.cli.app import App, account_named, pass_app
from mailrelay.cli.held import actor
from mailrelay.cli.types import DOMAIN, MAILBOX
from mailrelay.core.address import Address

_LISTED = ("id", "local_part", "account", "state", "recipient", "off", "created_at", "released_at")


@click.group()
def handle() -> None:
    """Names that one owner has on all shared domains."""


@handle.command()
@click.argument("name")
@click.option("--to", type=MAILBOX, metavar="MAILBOX", help="Where its mail goes; else the account's default.")
@click.option("--account", metavar="NAME", help="Owner; else whoever controls the mailbox, which then is verified.")
@pass_app
def add(app: App, name: str, to: Address | None, account: str | None) -> None:
    """Reserve a name on all shared domains."""
    from mailrelay.flows.manage import handles
    from mailrelay.store.manage_handles import Handles

    if to is None and account is None:
        raise click.UsageError("give --to or --account")
    app.one(app.run(lambda db: handles.add(app.bureau(db), Handles(db), name, to, account_named(account), actor())))


@handle.command("list")
@click.option("--account", metavar="NAME", help="Of this account only.")
@pass_app
def list_(app: App, account: str | None) -> None:
    """Show handles, released ones as well."""
    from mailrelay.store.manage_handles import Handles

    app.many(app.run(lambda db: Handles(db).page(account and account.lower())), _LISTED)


@handle.command()
@click.argument("name")
@pass_app
def release(app: App, name: str) -> None:
    """Give a handle up: it takes no mail any more, and nobody gets its name again."""
    from mailrelay.store.manage_handles import Handles

    app.one(app.run(lambda db: Handles(db).release(name.lower(), actor())))


@handle.command()
@click.argument("name")
@click.argument("domain", type=DOMAIN)
@pass_app
def disable(app: App, name: str, domain: str) -> None:
    """Take no mail for a handle on one shared domain."""
    from mailrelay.store.manage_handles import Handles

    app.one(app.run(lambda db: Handles(db).switch(name.lower(), domain, False, actor())))


@handle.command()
@click.argument("name")
@click.argument("domain", type=DOMAIN)
@pass_app
def enable(app: App, name: str, domain: str) -> None:
    """Take mail for it there again."""
    from mailrelay.store.manage_handles import Handles

    app.one(app.run(lambda db: Handles(db).switch(name.lower(), domain, True, actor())))
