"""recipient add|list|resend|verify|resume|default|remove."""

from functools import partial

import click

from mailrelay.cli.app import App, account_named, pass_app
from mailrelay.cli.held import actor
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
    """Add a mailbox to an account. Unless it is verified, a mail asks its reader to confirm it."""
    from mailrelay.core.records import Named
    from mailrelay.flows.manage import recipients
    from mailrelay.store.manage_recipients import Recipients

    owner, linked = Named(account.lower()), bool(app.config.api.url)
    work = partial(recipients.add, owner=owner, mailbox=mailbox, verified=verified, linked=linked)
    app.one(app.run(lambda db: work(app.bureau(db), Recipients(db))))
    if not verified:
        how = "with the link in a mail that goes there" if linked else f"by `mailrelay recipient verify {mailbox}`"
        app.remark(f"{mailbox} gets no mail before it is verified, {how}")


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
def resend(app: App, mailbox: Address, account: str | None) -> None:
    """Send the mail that asks to confirm a mailbox once more; at most three an hour."""
    from mailrelay.flows.manage import recipients
    from mailrelay.store.manage_recipients import Recipients

    linked = bool(app.config.api.url)
    app.one(app.run(lambda db: recipients.resend(Recipients(db), account_named(account), mailbox, linked=linked)))


@recipient.command()
@click.argument("mailbox", type=MAILBOX)
@click.option("--account", metavar="NAME", help="If several have it.")
@pass_app
def resume(app: App, mailbox: Address, account: str | None) -> None:
    """Send mail to a failing mailbox again, as it works now; what its host took for spam is forgotten as well."""
    from mailrelay.store.manage_recipients import Recipients

    app.one(app.run(lambda db: Recipients(db).resume(account_named(account), mailbox, actor())))


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
