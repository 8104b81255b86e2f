"""alias add|list|show|pause|resume|delete|restore|forget|set."""

import click

from mailrelay.cli.app import App, pass_app
from mailrelay.cli.types import MAILBOX
from mailrelay.core.address import Address
from mailrelay.core.records import Named


@click.group()
def alias() -> None:
    """Addresses that people write to."""


@alias.command()
@click.argument("address", type=MAILBOX)
@click.argument("more", nargs=-1, type=MAILBOX, metavar="")
@click.option("--to", multiple=True, type=MAILBOX, metavar="MAILBOX...", help="Where its mail goes.")
@click.option("--account", metavar="NAME", help="Owner; else whoever has the domain, else the first mailbox itself.")
@click.option("--description", help="Shown to its owner.")
@pass_app
def add(
    app: App,
    address: Address,
    more: tuple[Address, ...],
    to: tuple[Address, ...],
    account: str | None,
    description: str | None,
) -> None:
    """Make an alias.

    On a shared domain and without --account it belongs to whoever controls the first mailbox; the mailboxes
    count as verified. With --account they must be verified recipients of it; without --to its default one is used.
    """
    from mailrelay.flows.manage import aliases
    from mailrelay.store.manage_aliases import Aliases

    if more and not to:
        raise click.UsageError(f"mailboxes follow --to, {more[0]} does not")
    wish = aliases.AliasWish(address, (*to, *more), None if account is None else Named(account.lower()), description)
    app.one(app.run(lambda database: aliases.add(app.bureau(database), Aliases(database), wish)))


@alias.command()
@click.argument("address", type=MAILBOX)
@pass_app
def show(app: App, address: Address) -> None:
    """Show an alias, whatever its state."""
    from mailrelay.store.manage_aliases import Aliases

    app.one(app.run(lambda database: Aliases(database).show(address)))
