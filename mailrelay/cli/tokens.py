"""token add|list|revoke, api-key add|list|revoke, app-password add|list|remove."""

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, account_named, now, pass_app
from mailrelay.cli.held import actor
from mailrelay.cli.types import MAILBOX
from mailrelay.core.address import Address
from mailrelay.core.records import Named, TokenKind, TokenRecord
from mailrelay.flows.manage.tokens import Issued

_LISTED = ("id", "account", "name", "display", "expires_at", "last_used_at", "created_at", "revoked_at")
_DAYS = click.IntRange(1, 9999)


@click.group()
def token() -> None:
    """Bearer tokens of accounts, for clients of the addy.io API."""


@token.command("add")
@click.argument("account", metavar="ACCOUNT")
@click.option("--name", default="", help="Where it is used.")
@click.option("--expires-days", type=_DAYS, help="It lives so long; without it, until revoked.")
@pass_app
def add_token(app: App, account: str, name: str, expires_days: int | None) -> None:
    """Make a token and print it, this once."""
    from mailrelay.flows.manage import tokens
    from mailrelay.store.manage_tokens import Tokens

    _print(app, app.run(lambda db: tokens.add(Tokens(db), now, actor(), Named(account.lower()), name, expires_days)))


@token.command("list")
@click.argument("account", metavar="[ACCOUNT]", required=False)
@click.option("--all", "revoked", is_flag=True, help="Revoked ones as well.")
@pass_app
def list_tokens(app: App, account: str | None, revoked: bool) -> None:
    """Show tokens, not their secrets."""
    _list(app, "addy", account, revoked)


@token.command("revoke")
@click.argument("ref", metavar="ID")
@click.option("--reason", help="For the record.")
@pass_app
def revoke_token(app: App, ref: str, reason: str | None) -> None:
    """End a token."""
    _revoke(app, "addy", ref, reason)


@click.group("api-key")
def api_key() -> None:
    """API keys of mailboxes, for clients of the Haltman API."""


@api_key.command("add")
@click.argument("mailbox", type=MAILBOX)
@click.option("--account", metavar="NAME", help="Owner; else whoever has the mailbox, else the mailbox itself.")
@click.option("--name", default="", help="Where it is used.")
@click.option("--expires-days", type=_DAYS, default=30, show_default=True, help="It lives so long.")
@click.option("--automatic-renew", is_flag=True, help="Use shortly before the end prolongs it.")
@pass_app
def add_key(
    app: App, mailbox: Address, account: str | None, name: str, expires_days: int, automatic_renew: bool
) -> None:
    """Make a key that acts for a mailbox, which counts as verified, and print it, this once."""
    from mailrelay.flows.manage import tokens
    from mailrelay.store.manage_tokens import Tokens

    owner = None if account is None else Named(account.lower())
    _print(
        app,
        app.run(
            lambda db: tokens.add_api_key(
                app.bureau(db), Tokens(db), actor(), mailbox, owner, name, expires_days, automatic_renew
            )
        ),
    )


@api_key.command("list")
@click.argument("mailbox", metavar="[MAILBOX]", required=False)
@click.option("--all", "revoked", is_flag=True, help="Revoked ones as well.")
@pass_app
def list_keys(app: App, mailbox: str | None, revoked: bool) -> None:
    """Show API keys, not their secrets."""
    _list(app, "api_key", mailbox, revoked)


@api_key.command("revoke")
@click.argument("ref", metavar="ID")
@click.option("--reason", help="For the record.")
@pass_app
def revoke_key(app: App, ref: str, reason: str | None) -> None:
    """End an API key."""
    _revoke(app, "api_key", ref, reason)


@click.group("app-password")
def app_password() -> None:
    """Passwords for mail programs that send through this host's submission service."""


@app_password.command("add")
@click.argument("owner", metavar="MAILBOX|ACCOUNT")
@click.option("--account", metavar="NAME", help="Whose, if several accounts have the mailbox.")
@click.option("--name", default="", help="Where it is used.")
@click.option("--expires-days", type=_DAYS, help="It lives so long; without it, until removed.")
@pass_app
def add_password(app: App, owner: str, account: str | None, name: str, expires_days: int | None) -> None:
    """Make a password and print it, this once. The login is any verified recipient of the account."""
    from mailrelay.flows.manage import tokens
    from mailrelay.store.manage_tokens import Tokens

    who = MAILBOX.convert(owner, None, None) if "@" in owner else Named(owner.lower())
    which = account_named(account)
    issued = app.run(lambda db: tokens.add_app_password(Tokens(db), now, actor(), who, which, name, expires_days))
    document = {"password": issued.password, "logins": issued.logins, **show.fields(issued.record)}
    app.text(issued.password, document)
    app.remark(f"log in as {' or '.join(issued.logins)}")
    _tell(app, issued.record, "removed")


@app_password.command("list")
@click.argument("owner", metavar="[MAILBOX|ACCOUNT]", required=False)
@click.option("--all", "revoked", is_flag=True, help="Removed ones as well.")
@pass_app
def list_passwords(app: App, owner: str | None, revoked: bool) -> None:
    """Show app passwords by their first characters."""
    _list(app, "app_password", owner, revoked)


@app_password.command("remove")
@click.argument("ref", metavar="ID")
@click.option("--reason", help="For the record.")
@pass_app
def remove_password(app: App, ref: str, reason: str | None) -> None:
    """End an app password."""
    _revoke(app, "app_password", ref, reason)


def _print(app: App, issued: Issued) -> None:
    """The secret alone as text, so that a script can take it."""
    app.text(issued.token, {"token": issued.token, **show.fields(issued.record)})
    _tell(app, issued.record, "revoked")


def _tell(app: App, record: TokenRecord, ended: str) -> None:
    until = f"until it is {ended}" if record.expires_at is None else f"until {show.rfc3339(record.expires_at)}"
    app.remark(f"id {record.id} of account {record.account}, good {until}; it is not shown again")


def _list(app: App, kind: TokenKind, owner: str | None, revoked: bool) -> None:
    from mailrelay.store.manage_tokens import Tokens

    who = None if owner is None else owner.lower()
    columns = _LISTED if kind != "api_key" else ("id", "owner_email", *_LISTED[1:])
    app.many(app.run(lambda db: Tokens(db).page(kind, who, revoked)), columns)


def _revoke(app: App, kind: TokenKind, ref: str, reason: str | None) -> None:
    from mailrelay.store.manage_tokens import Tokens

    app.one(app.run(lambda db: Tokens(db).revoke(kind, ref, reason, actor())))
