"""recipient add|list|show|resend|verify|resume|default|remove|key|encryption."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, account_named, now, pass_app, read_octets
from mailrelay.cli.held import actor
from mailrelay.cli.types import MAILBOX
from mailrelay.core.address import Address
from mailrelay.core.recipientkeys import Form

if TYPE_CHECKING:
    from mailrelay.flows.manage.keys import KeySet, KeyState
    from mailrelay.store.database import Database

_LISTED = (
    *("id", "account", "address", "verified_at", "is_default", "should_encrypt", "fingerprint", "key_expires_at"),
    *("failing_since", "created_at"),
)
_KEY_OCTETS = 4 * 1024 * 1024  # more than any key that is taken
_FORMS: Mapping[str, Form] = {form: form for form in get_args(Form)}
_FAILURES: Mapping[str, Literal["hold", "stub", "plain"] | None] = {
    "hold": "hold",
    "stub": "stub",
    "plain": "plain",
    "default": None,
}


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
    work = partial(recipients.add, owner=owner, mailbox=mailbox, verified=verified, linked=linked, actor=actor())
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

    owner, linked = account_named(account), bool(app.config.api.url)
    app.one(app.run(lambda db: recipients.resend(Recipients(db), owner, mailbox, linked=linked, actor=actor())))


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

    app.one(app.run(lambda db: Recipients(db).verify(account_named(account), mailbox, actor())))


@recipient.command()
@click.argument("mailbox", type=MAILBOX)
@click.option("--account", metavar="NAME", help="If several have it.")
@pass_app
def default(app: App, mailbox: Address, account: str | None) -> None:
    """Send there what its account's aliases do not send elsewhere."""
    from mailrelay.store.manage_recipients import Recipients

    app.one(app.run(lambda db: Recipients(db).make_default(account_named(account), mailbox, actor())))


@recipient.command()
@click.argument("mailbox", type=MAILBOX)
@click.option("--account", metavar="NAME", help="If several have it.")
@pass_app
def remove(app: App, mailbox: Address, account: str | None) -> None:
    """Take a mailbox from its account and from the aliases that it is attached to."""
    from mailrelay.store.manage_recipients import Recipients

    app.one(app.run(lambda db: Recipients(db).remove(account_named(account), mailbox, actor())))


@recipient.command("show")
@click.argument("mailbox", type=MAILBOX)
@click.option("--account", metavar="NAME", help="If several have it.")
@pass_app
def show_(app: App, mailbox: Address, account: str | None) -> None:
    """Show one mailbox, and what its OpenPGP key is good for."""
    from mailrelay.flows.manage import keys
    from mailrelay.store.keys import RecipientKeys
    from mailrelay.wiring.keys import gate

    state = app.run(lambda db: keys.show(RecipientKeys(db), gate(), now, account_named(account), mailbox))
    app.one({**show.fields(state.record), **_of_key(state)})


@recipient.command()
@click.argument("mailbox", type=MAILBOX)
@click.argument("file", required=False, type=click.Path(allow_dash=True, dir_okay=False))
@click.option("--account", metavar="NAME", help="If several have it.")
@click.option("--remove", is_flag=True, help="Take the key away: mail is no longer encrypted.")
@click.option(
    "--refresh", is_flag=True, help="Look for a newer form of the key where the mailbox' domain publishes it."
)
@pass_app
def key(app: App, mailbox: Address, file: str | None, account: str | None, remove: bool, refresh: bool) -> None:
    """Set the OpenPGP public key of a mailbox, armored or binary, `-` for standard input.

    It replaces the one that is there, and mail is encrypted from now on.
    """
    from mailrelay.flows.manage import keys
    from mailrelay.store.keys import RecipientKeys

    if (file is not None) + remove + refresh != 1:
        raise click.UsageError("give either FILE, --remove or --refresh")
    owner = account_named(account)
    if remove:
        app.one(app.run(lambda db: keys.remove_key(RecipientKeys(db), owner, mailbox, actor())))
        return
    found = (
        _refreshed(app, mailbox, account)
        if file is None
        else _given(app, mailbox, account, read_octets(file, _KEY_OCTETS))
    )
    app.one({**show.fields(found.record), **_of_key(keys.KeyState(found.record, found.certificate))})
    if not found.names_mailbox:
        app.remark(f"note: no user id of the key is of {found.record.address}; somebody else may hold the secret key")
    if not found.changed:
        app.remark("the published key is the one that is there")


@recipient.command()
@click.argument("mailbox", type=MAILBOX)
@click.argument("form", required=False, type=click.Choice(list(_FORMS)))
@click.option("--account", metavar="NAME", help="If several have it.")
@click.option(
    "--on-failure", type=click.Choice(list(_FAILURES)), help="When the key cannot be used; default: the account's."
)
@click.option("--never-plaintext/--plaintext-allowed", default=None, help="Whatever rules and settings say.")
@pass_app
def encryption(
    app: App,
    mailbox: Address,
    form: str | None,
    account: str | None,
    on_failure: str | None,
    never_plaintext: bool | None,
) -> None:
    """Say how mail to a mailbox is encrypted.

    on: PGP/MIME; hide-subject: the same with the subject inside; inline: plain text where that is possible; off: not.
    """
    from mailrelay.core.records import KEEP, RecipientRecord
    from mailrelay.flows.manage import keys
    from mailrelay.store.keys import RecipientKeys

    if form is None and on_failure is None and never_plaintext is None:
        raise click.UsageError("say what is to change")
    owner = account_named(account)

    async def work(database: "Database") -> RecipientRecord:
        store = RecipientKeys(database)
        if form is not None:
            record = await keys.choose(store, owner, mailbox, _FORMS[form], actor())
        if on_failure is not None or never_plaintext is not None:
            failure = KEEP if on_failure is None else _FAILURES[on_failure]
            sealed = KEEP if never_plaintext is None else never_plaintext
            record = await store.on_failure(owner, mailbox, failure, sealed, actor())
        return record

    app.one(app.run(work))


def _given(app: App, mailbox: Address, account: str | None, octets: bytes) -> "KeySet":
    from mailrelay.flows.manage import keys
    from mailrelay.store.keys import RecipientKeys
    from mailrelay.wiring.keys import gate

    owner = account_named(account)
    return app.run(lambda db: keys.set_key(RecipientKeys(db), gate(), now, owner, mailbox, octets, actor()))


def _refreshed(app: App, mailbox: Address, account: str | None) -> "KeySet":
    from mailrelay.flows.manage import keys
    from mailrelay.store.keys import RecipientKeys
    from mailrelay.wiring.keys import directory, gate
    from mailrelay.wiring.webhooks import resolving

    owner = account_named(account)

    async def work(database: "Database") -> "KeySet":
        async with resolving(app.config) as resolver:
            found = directory(app.config, resolver)
            return await keys.refresh(RecipientKeys(database), found, gate(), now, owner, mailbox, actor())

    return app.run(work)


def _of_key(state: "KeyState") -> dict[str, object]:
    """What is known of a key besides what is stored. key_problem None: it can be used."""
    from mailrelay.core.certificate import Certificate

    found = state.found
    if isinstance(found, Certificate):
        return {
            "key_algorithm": found.primary_algorithm,
            "key_created_at": found.created,
            "key_user_ids": found.user_ids,
            "key_encryption_subkeys": found.encryption_subkeys,
            "key_problem": None,
        }
    return {"key_problem": None if found is None else found.sentence}
