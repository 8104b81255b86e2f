"""recipient add|list|verify|default|remove."""

import click

from mailrelay.cli.app import App, account_named, pass_app
from mailrelay.cli.types import MAILBOX
from mailrelay.core.address import Address

_LISTED = ("id", "account", "address", "verified_at", "is_default", "failing_since", "created_at")


@click.group()
def recipient() -> None:
    """Mailboxes that aliases forward to."""


@recipient.command()
@click.argument("mailbox", type=MAILBOX)
@click.option("--account", metavar="NAME", required=True, help="Whose it becomes.")
@click.option("--verified", is_flag=True, help="It is known to be the owner's.")
@pass_app
def add(app: App, mailbox: Address, account: str, verified: bool) -> None:
    """Add a mailbox to an account."""
    from mailrelay.core.records import Named
    from mailrelay.flows.manage import recipients
    from mailrelay.store.manage_recipients import Recipients

    owner = Named(account.lower())
    app.one(app.run(lambda db: recipients.add(app.bureau(db), Recipients(db), owner, mailbox, verified)))
    if not verified:
        app.remark(f"{mailbox} gets no mail before it is verified")


@recipient.command("list")
@click.option("--account", metavar="NAME", help="Of this account only.")
@pass_app
def list_(app: App, account: str | None) -> None:
    """Show recipients."""
    from mailrelay.store.manage_recipients import Recipients

    app.many(app.run(lambda db: Recipients(db).page(account and account.lower())), _LISTED)


@recipient.command()
@click.argument("mailbox", type=MAILBOX)
@click.option("--account", metavar="NAME", help="If several have it.")
@pass_app
def verify(app: App, mailbox: Address, account: str | None) -> None:
    """Take a mailbox for its owner's, on the operator's word."""
    from mailrelay.store.manage_recipients import Recipients

    app.one(app.run(lambda db: Recipients(db).verify(account_named(account), mailbox)))


@recipient.command()
@click.argument("mailbox", type=MAILBOX)
@click.option("--account", metavar="NAME", help="If several have it.")
@pass_app
def default(app: App, mailbox: Address, account: str | None) -> None:
    """Send there what its account's aliases do not send elsewhere."""
    from mailrelay.store.manage_recipients import Recipients

    app.one(app.run(lambda db: Recipients(db).make_default(account_named(account), mailbox)))


@recipient.command()
@click.argument("mailbox", type=MAILBOX)
@click.option("--account", metavar="NAME", help="If several have it.")
@pass_app
def remove(app: App, mailbox: Address, account: str | None) -> None:
    """Take a mailbox from its account and from the aliases that it is attached to."""
    from mailrelay.store.manage_recipients import Recipients

    app.one(app.run(lambda db: Recipients(db).remove(account_named(account), mailbox)))
