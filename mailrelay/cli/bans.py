"""ban add|list|revoke for the installation, block add|list|remove for an account."""

from datetime import datetime, timedelta

import click

from mailrelay.cli.app import App, now, pass_app
from mailrelay.cli.held import actor
from mailrelay.cli.types import MAILBOX, MOMENT
from mailrelay.core.address import Address
from mailrelay.core.bans import BanScope, BanType
from mailrelay.core.records import BlockType, Named

_LISTED = ("id", "type", "value", "scope", "active", "reason", "expires_at", "hits", "last_hit_at", "created_at")
_BLOCKS_LISTED = ("id", "account", "type", "value", "alias", "blocked", "last_blocked", "created_at")


@click.group()
def ban() -> None:
    """Server-wide bans."""


@ban.command()
@click.argument("kind", metavar="email|domain|ip|name", type=click.Choice(("email", "domain", "ip", "name")))
@click.argument("value")
@click.option("--scope", type=click.Choice(("sender", "destination", "both")), default="both", show_default=True)
@click.option("--reason", help="For the list of bans; a reply at RCPT only names the ban by its number.")
@click.option("--expires-days", type=click.IntRange(1, 36500), help="It ends after so many days.")
@click.option("--expires", type=MOMENT, metavar="RFC3339", help="It ends then.")
@click.option("--disable-matching", is_flag=True, help="Deactivate active aliases and handles that it hits.")
@pass_app
def add(
    app: App,
    kind: BanType,
    value: str,
    scope: BanScope,
    reason: str | None,
    expires_days: int | None,
    expires: datetime | None,
    disable_matching: bool,
) -> None:
    """Refuse mail of and to a mailbox, a domain and those below it, of a client or network, or to a name of ours."""
    from mailrelay.flows.manage import bans
    from mailrelay.store.manage_bans import Bans

    if expires is not None and expires_days is not None:
        raise click.UsageError("--expires and --expires-days exclude each other")
    end = expires if expires_days is None else now() + timedelta(days=expires_days)
    who = actor()
    app.one(
        app.run(
            lambda db: bans.ban(
                Bans(db), now, kind, value, scope, reason, end, actor=who, disable_matching=disable_matching
            )
        )
    )


@ban.command("list")
@click.option("--all", "every", is_flag=True, help="Revoked and expired ones as well.")
@pass_app
def list_(app: App, every: bool) -> None:
    """Show bans in force."""
    from mailrelay.store.manage_bans import Bans

    columns = (*_LISTED, "revoked_at", "revoked_reason") if every else _LISTED
    app.many(app.run(lambda db: Bans(db).page(every)), columns)


@ban.command()
@click.argument("ref", metavar="ID|VALUE")
@click.option("--reason", help="For the record.")
@pass_app
def revoke(app: App, ref: str, reason: str | None) -> None:
    """End a ban."""
    from mailrelay.flows.manage import bans
    from mailrelay.store.manage_bans import Bans

    app.one(app.run(lambda db: bans.revoke(Bans(db), ref, reason, actor())))


@click.group()
def block() -> None:
    """Senders that one account does not want."""


@block.command("add")
@click.argument("account")
@click.argument("kind", metavar="email|domain", type=click.Choice(("email", "domain")))
@click.argument("value")
@click.option("--alias", type=MAILBOX, metavar="ADDRESS", help="For this alias only.")
@pass_app
def add_block(app: App, account: str, kind: BlockType, value: str, alias: Address | None) -> None:
    """Refuse a sender, or a domain and those below it, for one account."""
    from mailrelay.flows.manage import blocks
    from mailrelay.store.manage_blocks import Blocks

    app.one(app.run(lambda db: blocks.block(Blocks(db), Named(account.lower()), kind, value, alias, actor())))


@block.command("list")
@click.argument("account", required=False)
@pass_app
def list_blocks(app: App, account: str | None) -> None:
    """Show block lists."""
    from mailrelay.store.manage_blocks import Blocks

    app.many(app.run(lambda db: Blocks(db).page(account and account.lower())), _BLOCKS_LISTED)


@block.command("remove")
@click.argument("account")
@click.argument("ref", metavar="ID|VALUE")
@pass_app
def remove_block(app: App, account: str, ref: str) -> None:
    """Take an entry off an account's list."""
    from mailrelay.store.manage_blocks import Blocks

    app.one(app.run(lambda db: Blocks(db).remove(Named(account.lower()), ref.lower(), actor())))
