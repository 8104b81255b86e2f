"""account add|list|show|passwd|totp|set|disable|enable|delete, username add|list|set|remove."""

import secrets
import sys

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, now, pass_app, read_secret_file
from mailrelay.cli.held import actor
from mailrelay.cli.types import MAILBOX
from mailrelay.core.address import Address
from mailrelay.core.records import KEEP, AccountRecord, Named, UsernameChange

_LISTED = ("id", "name", "state", "default_recipient", "username", "is_admin", "created_at")


@click.group()
def account() -> None:
    """Accounts that people sign in to, and those that stand for a mailbox."""


@account.command()
@click.argument("name")
@click.option("--recipient", type=MAILBOX, required=True, metavar="MAILBOX", help="Its default recipient.")
@click.option("--verified", is_flag=True, help="The mailbox is known to be the owner's.")
@click.option("--admin", is_flag=True, help="May administer the installation over HTTP.")
@click.option("--password-file", metavar="FILE|-", help="First line is the password; without it there is none.")
@pass_app
def add(app: App, name: str, recipient: Address, verified: bool, admin: bool, password_file: str | None) -> None:
    """Make an account, with a default recipient and the username of the same name."""
    from mailrelay.flows.manage import accounts
    from mailrelay.store.manage_accounts import Accounts

    password = None if password_file is None else read_secret_file(password_file)
    found = app.run(
        lambda database: accounts.add(
            app.bureau(database),
            Accounts(database),
            name,
            recipient,
            verified=verified,
            is_admin=admin,
            password=password,
        )
    )
    app.one(found)
    if found.username is None:
        app.remark(f"no username: {found.name} holds . or _, which a domain name cannot")
    if not verified:
        app.remark(f"{recipient} gets no mail before it is verified; `mailrelay recipient resend` asks its reader")


@account.command("list")
@click.option("--search", default="", help="Part of the name or mailbox.")
@click.option("--after", default=0, metavar="ID", help="Begin behind this id.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@pass_app
def list_(app: App, search: str, after: int, limit: int | None) -> None:
    """Show accounts, implicit ones by their mailbox."""
    from mailrelay.store.manage_accounts import Accounts

    app.many(app.run(lambda database: Accounts(database).page(search, after, limit)), _LISTED)


@account.command("show")
@click.argument("name", metavar="NAME|MAILBOX")
@pass_app
def show_(app: App, name: str) -> None:
    """Show an account and how much it has."""
    from mailrelay.store.manage_accounts import Accounts

    found, holdings = app.run(lambda database: Accounts(database).show(Named(name.lower())))
    record = {**show.fields(found), "holdings": show.plain(holdings)}
    app.text(show.details({**show.shallow(found), **show.shallow(holdings)}), record)


@account.command()
@click.argument("name")
@click.option("--password-file", metavar="FILE|-", help="First line is the password; without it you are asked.")
@pass_app
def passwd(app: App, name: str, password_file: str | None) -> None:
    """Set the password, which ends all sessions."""
    from mailrelay.flows.manage import accounts
    from mailrelay.store.manage_accounts import Accounts

    if password_file is not None:
        password = read_secret_file(password_file)
    else:
        password = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    app.one(app.run(lambda database: accounts.set_password(Accounts(database), Named(name.lower()), password)))


@account.command()
@click.argument("name")
@click.option("--disable", "off", is_flag=True, help="The password alone is enough again.")
@pass_app
def totp(app: App, name: str, off: bool) -> None:
    """Ask for a code from an app (TOTP) at the sign-in, besides the password.

    Shows what the app reads, and wants a code of it; a second factor that was there before ends with that.
    """
    from mailrelay.flows.manage import accounts
    from mailrelay.store.manage_accounts import Accounts
    from mailrelay.wiring.signin import storage_keys

    who = Named(name.lower())
    if off:
        app.one(app.run(lambda db: accounts.end_second_factor(Accounts(db), who, actor())))
        return
    vault = storage_keys(app.config)
    found, _ = app.run(lambda db: Accounts(db).show(who))
    offer = accounts.second_factor(found, app.config.service.domain, secrets.token_bytes)
    if sys.stderr.isatty():
        import segno

        segno.make(offer.uri).terminal(sys.stderr, compact=True)
    app.remark(offer.uri)
    code = click.prompt("Code that the app shows now", err=True)
    app.one(
        app.run(
            lambda db: accounts.set_second_factor(
                Accounts(db), vault, secrets.token_bytes, now, offer, code.replace(" ", ""), actor()
            )
        )
    )


@account.command()
@click.argument("name", metavar="NAME|MAILBOX")
@click.option("--reason", help="For other operators.")
@click.confirmation_option(prompt="Its aliases, mail and settings go for good. Continue?")
@pass_app
def delete(app: App, name: str, reason: str | None) -> None:
    """Delete an account and what it has. Its addresses on shared domains and its names are never given away again.

    It ends at once; what it has goes soon after, when a worker runs.
    """
    from mailrelay.store.manage_accounts import Accounts

    app.one(app.run(lambda db: Accounts(db).delete(Named(name.lower()), reason, actor())))


@account.command("set")
@click.argument("name", metavar="NAME|MAILBOX")
@click.argument("settings", metavar="[SETTING=VALUE]...", nargs=-1)
@pass_app
def set_(app: App, name: str, settings: tuple[str, ...]) -> None:
    """Change what an owner may choose, and show it. An empty VALUE is the installation's default."""
    from mailrelay.core.settings import parse
    from mailrelay.store.manage_accounts import Accounts

    pairs = [setting.partition("=") for setting in settings]
    for setting, equals, _ in pairs:
        if not equals:
            raise click.UsageError(f"{setting} has no value: write {setting}=VALUE")
    chosen = parse({setting: value for setting, _, value in pairs})
    found = app.run(lambda db: Accounts(db).change_settings(Named(name.lower()), chosen, actor()))
    app.text("\n".join(f"{setting}={_written(value)}" for setting, value in found.items()), found)


def _written(value: object) -> str:
    """As it could be typed."""
    return "" if value is None else ("yes" if value else "no") if isinstance(value, bool) else str(value)


@account.command()
@click.argument("name", metavar="NAME|MAILBOX")
@click.option("--reason", help="For other operators.")
@pass_app
def disable(app: App, name: str, reason: str | None) -> None:
    """Suspend an account: its mail is refused, its sessions end."""
    app.one(_suspend(app, name, True, reason))


@account.command()
@click.argument("name", metavar="NAME|MAILBOX")
@pass_app
def enable(app: App, name: str) -> None:
    """End a suspension."""
    app.one(_suspend(app, name, False, None))


def _suspend(app: App, name: str, suspended: bool, reason: str | None) -> AccountRecord:
    from mailrelay.store.manage_accounts import Accounts

    return app.run(lambda database: Accounts(database).set_suspended(Named(name.lower()), suspended, reason))


_USERNAMES_LISTED = ("id", "account", "name", "is_default", "active", "catch_all", "auto_create_regex", "created_at")


@click.group()
def username() -> None:
    """Names that give their account <name>.<shared domain>."""


@username.command("add")
@click.argument("account")
@click.argument("name")
@pass_app
def add_username(app: App, account: str, name: str) -> None:
    """Give an account one more name. Nobody gets it again."""
    from mailrelay.flows.manage import usernames
    from mailrelay.store.manage_usernames import Usernames

    app.one(app.run(lambda db: usernames.add(Usernames(db), Named(account.lower()), name, actor())))


@username.command("list")
@click.argument("account", required=False)
@pass_app
def list_usernames(app: App, account: str | None) -> None:
    """Show usernames."""
    from mailrelay.store.manage_usernames import Usernames

    app.many(app.run(lambda db: Usernames(db).page(account and account.lower())), _USERNAMES_LISTED)


@username.command("set")
@click.argument("name")
@click.option("--catch-all/--no-catch-all", default=None, help="Mail to unknown names makes aliases.")
@click.option("--regex", metavar="RE2", help="Unknown names that make aliases without catch-all; empty for none.")
@click.option("--active/--inactive", default=None, help="Whether it takes mail.")
@click.option("--default-recipient", type=MAILBOX, metavar="MAILBOX", help="Goes before the account's.")
@pass_app
def set_username(
    app: App,
    name: str,
    catch_all: bool | None,
    regex: str | None,
    active: bool | None,
    default_recipient: Address | None,
) -> None:
    """Change a username; what is not named stays."""
    from mailrelay.core.naming import auto_create_regex
    from mailrelay.store.manage_usernames import Usernames

    change = UsernameChange(
        active=KEEP if active is None else active,
        catch_all=KEEP if catch_all is None else catch_all,
        auto_create_regex=KEEP if regex is None else auto_create_regex(regex),
        default_recipient=KEEP if default_recipient is None else default_recipient,
    )
    app.one(app.run(lambda db: Usernames(db).change(name.lower(), change, actor())))


@username.command("remove")
@click.argument("name")
@pass_app
def remove_username(app: App, name: str) -> None:
    """Take a name from its account and delete its aliases. Nobody gets it again."""
    from mailrelay.store.manage_usernames import Usernames

    app.one(app.run(lambda db: Usernames(db).remove(name.lower(), actor())))
