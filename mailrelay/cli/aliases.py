"""alias add|list|show|pause|resume|delete|restore|forget|set."""

from typing import Literal, get_args

import click

from mailrelay.cli.app import App, account_named, pass_app
from mailrelay.cli.held import actor
from mailrelay.cli.types import MAILBOX
from mailrelay.core.address import Address
from mailrelay.core.facts import BlockBehaviour, ForwardMode
from mailrelay.core.records import KEEP, AliasChange

_LISTED = ("id", "address", "account", "state", "recipients", "emails_forwarded", "last_forwarded", "description")
_MODES: tuple[str, ...] = get_args(ForwardMode)
_BEHAVIOURS: tuple[str, ...] = get_args(BlockBehaviour)


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
    wish = aliases.AliasWish(address, (*to, *more), account_named(account), description)
    app.one(app.run(lambda database: aliases.add(app.bureau(database), Aliases(database), wish, actor())))


@alias.command()
@click.argument("address", type=MAILBOX)
@pass_app
def show(app: App, address: Address) -> None:
    """Show an alias, whatever its state."""
    from mailrelay.store.manage_aliases import Aliases

    app.one(app.run(lambda database: Aliases(database).show(address)))


@alias.command("list")
@click.option("--account", metavar="NAME", help="Of this account only.")
@click.option("--search", default="", help="Part of the address or description.")
@click.option("--deleted", is_flag=True, help="Deleted and forgotten ones as well.")
@click.option("--after", default=0, metavar="ID", help="Begin behind this id.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@pass_app
def list_(app: App, account: str | None, search: str, deleted: bool, after: int, limit: int | None) -> None:
    """Show aliases."""
    from mailrelay.store.manage_aliases import Aliases

    owner = account_named(account)
    app.many(app.run(lambda db: Aliases(db).page(owner, search, deleted, after, limit)), _LISTED)


@alias.command()
@click.argument("address", type=MAILBOX)
@pass_app
def pause(app: App, address: Address) -> None:
    """Forward nothing for now."""
    from mailrelay.store.manage_aliases import Aliases

    app.one(app.run(lambda db: Aliases(db).set_active(address, False, actor())))


@alias.command()
@click.argument("address", type=MAILBOX)
@pass_app
def resume(app: App, address: Address) -> None:
    """Forward again."""
    from mailrelay.store.manage_aliases import Aliases

    app.one(app.run(lambda db: Aliases(db).set_active(address, True, actor())))


@alias.command()
@click.argument("address", type=MAILBOX)
@pass_app
def delete(app: App, address: Address) -> None:
    """Refuse its mail for good. Nobody else gets the address, and its owner may restore it."""
    from mailrelay.store.manage_aliases import Aliases

    app.one(app.run(lambda db: Aliases(db).delete(address, actor())))


@alias.command()
@click.argument("address", type=MAILBOX)
@pass_app
def restore(app: App, address: Address) -> None:
    """Undo a deletion."""
    from mailrelay.store.manage_aliases import Aliases

    app.one(app.run(lambda db: Aliases(db).restore(address, actor())))


@alias.command()
@click.argument("address", type=MAILBOX)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def forget(app: App, address: Address, yes: bool) -> None:
    """Erase an alias and what its owner had there; on shared domains the address stays reserved. No way back."""
    from mailrelay.store.manage_aliases import Aliases

    if not yes:
        click.confirm(f"Forget {address} for good?", abort=True, err=True)
    left = app.run(lambda db: Aliases(db).forget(address, actor()))
    state = "gone" if left is None else "reserved"
    app.text(f"{address}: {state}", {"address": str(address), "state": state})


@alias.command("set")
@click.argument("address", type=MAILBOX)
@click.argument("more", nargs=-1, type=MAILBOX, metavar="")
@click.option("--to", multiple=True, type=MAILBOX, metavar="MAILBOX...", help="Where its mail goes from now on.")
@click.option("--mode", type=click.Choice((*_MODES, "default")), help="How copies are made.")
@click.option("--block-behaviour", type=click.Choice((*_BEHAVIOURS, "default")), help="What senders see when paused.")
@click.option("--description", help="Shown to its owner; empty for none.")
@pass_app
def set_(
    app: App,
    address: Address,
    more: tuple[Address, ...],
    to: tuple[Address, ...],
    mode: ForwardMode | Literal["default"] | None,
    block_behaviour: BlockBehaviour | Literal["default"] | None,
    description: str | None,
) -> None:
    """Change an alias; what is not named stays. `default` means as its domain or account has it."""
    from mailrelay.flows.manage import aliases
    from mailrelay.store.manage_aliases import Aliases

    if more and not to:
        raise click.UsageError(f"mailboxes follow --to, {more[0]} does not")
    wanted = AliasChange(
        forward_mode=KEEP if mode is None else None if mode == "default" else mode,
        block_behaviour=KEEP if block_behaviour is None else None if block_behaviour == "default" else block_behaviour,
        description=KEEP if description is None else description or None,
        recipients=(*to, *more) if to else KEEP,
    )
    app.one(app.run(lambda db: aliases.change(app.bureau(db), Aliases(db), address, wanted, actor())))
