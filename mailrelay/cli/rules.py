"""rule add|list|show|remove|enable|disable|reorder."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, pass_app
from mailrelay.core.errors import Malformed

if TYPE_CHECKING:
    from mailrelay.core.rules.record import RuleRecord
    from mailrelay.flows.manage.rules import RuleWish

_LISTED = (
    *("id", "account", "position", "name", "active", "forwards", "replies", "sends"),
    *("applied", "last_applied", "faults"),
)
_MAX_FILE_CHARACTERS = 1_000_000


@click.group()
def rule() -> None:
    """What an account wants done with its mail. All rules that match apply, later ones override."""


@rule.command()
@click.argument("account")
@click.option("--name", help="Shown in lists, and where it blocks mail.")
@click.option("--when", multiple=True, metavar="CONDITION", help="'sender ends-with @shop.example'; up to five.")
@click.option("--do", "actions", multiple=True, metavar="ACTION", help="'block' or 'subject [shop] {{subject}}'.")
@click.option("--any", "either", is_flag=True, help="One condition is enough; else all have to hold.")
@click.option("--forwards", is_flag=True, help="For forwarded mail; the default without --replies and --sends.")
@click.option("--replies", is_flag=True, help="For answers through an alias.")
@click.option("--sends", is_flag=True, help="For mail that begins a conversation from an alias.")
@click.option("--position", type=click.IntRange(0, 2**31 - 1), default=0, help="Its place; equal ones go by age.")
@click.option("--file", metavar="FILE|-", help="A rule as the addy.io API has it, in JSON, instead of the above.")
@click.option("--inactive", is_flag=True, help="Do not switch it on yet.")
@pass_app
def add(
    app: App,
    account: str,
    name: str | None,
    when: tuple[str, ...],
    actions: tuple[str, ...],
    either: bool,
    forwards: bool,
    replies: bool,
    sends: bool,
    position: int,
    file: str | None,
    inactive: bool,
) -> None:
    """Make a rule.

    A condition is a type (sender, subject, alias, alias-description), a match (is-exactly, is-not, contains,
    does-not-contain, starts-with, does-not-start-with, ends-with, does-not-end-with, matches-regex,
    does-not-match-regex) and values, of which one has to hit, or none where the match says not; quotes keep a
    value together.

    An action is block, quarantine, remove-attachments, subject TEXT, display-from TEXT, banner top|bottom|off,
    encryption off, or forward-to MAILBOX.
    """
    from dataclasses import replace

    from mailrelay.core.records import Named
    from mailrelay.core.rules import words
    from mailrelay.flows.manage import rules
    from mailrelay.store.manage_rules import Rules

    if file is not None:
        if name or when or actions or either or forwards or replies or sends or position:
            raise click.UsageError("--file says everything but --inactive itself")
        wanted = _wish_from(file)
    elif name is None:
        raise click.UsageError("--name or --file is missing")
    else:
        wanted = rules.RuleWish(
            name=name,
            conditions=[words.condition(text) for text in when],
            actions=[words.action(text) for text in actions],
            operator="OR" if either else "AND",
            forwards=forwards or not (replies or sends),
            replies=replies,
            sends=sends,
            position=position,
        )
    if inactive:
        wanted = replace(wanted, active=False)
    _print(app, app.run(lambda db: rules.add(Rules(db), Named(account.strip().lower()), wanted)))
    if not (wanted.forwards or wanted.replies or wanted.sends):
        app.remark("note: it is for no mail: forwards, replies and sends are all false")


@rule.command("list")
@click.argument("account", required=False)
@pass_app
def list_(app: App, account: str | None) -> None:
    """Show rules in the order of evaluation, and what cannot be understood of them."""
    from mailrelay.store.manage_rules import Rules

    app.many(app.run(lambda db: Rules(db).page(account and account.strip().lower())), _LISTED)


@rule.command("show")
@click.argument("ref", metavar="ID")
@pass_app
def show_(app: App, ref: str) -> None:
    """Show a rule, its conditions and actions in words."""
    from mailrelay.store.manage_rules import Rules

    _print(app, app.run(lambda db: Rules(db).show(ref)))


@rule.command()
@click.argument("ref", metavar="ID")
@pass_app
def remove(app: App, ref: str) -> None:
    """Delete a rule."""
    from mailrelay.store.manage_rules import Rules

    _print(app, app.run(lambda db: Rules(db).remove(ref)))


@rule.command()
@click.argument("ref", metavar="ID")
@pass_app
def enable(app: App, ref: str) -> None:
    """Switch a rule on."""
    from mailrelay.store.manage_rules import Rules

    _print(app, app.run(lambda db: Rules(db).set_active(ref, True)))


@rule.command()
@click.argument("ref", metavar="ID")
@pass_app
def disable(app: App, ref: str) -> None:
    """Switch a rule off; it keeps its place and its counters."""
    from mailrelay.store.manage_rules import Rules

    _print(app, app.run(lambda db: Rules(db).set_active(ref, False)))


@rule.command()
@click.argument("account")
@click.argument("refs", metavar="ID...", nargs=-1, required=True)
@pass_app
def reorder(app: App, account: str, refs: tuple[str, ...]) -> None:
    """Put an account's rules in this order, beginning at position 0. Rules that are not named stay where they are."""
    from mailrelay.core.records import Named
    from mailrelay.store.manage_rules import Rules

    app.many(app.run(lambda db: Rules(db).reorder(Named(account.strip().lower()), refs)), _LISTED)


def _print(app: App, record: "RuleRecord") -> None:
    from mailrelay.core.rules import words

    found = show.shallow(record)
    found["conditions"] = words.conditions_in_words(record.conditions, record.operator)
    found["actions"] = words.actions_in_words(record.actions)
    app.text(show.details(found), record)


def _wish_from(name: str) -> "RuleWish":
    """The rule that a file holds, `-` for standard input. Raises click.ClickException and Malformed."""
    from mailrelay.flows.manage import rules

    try:
        if name == "-":
            text = sys.stdin.read(_MAX_FILE_CHARACTERS)
        else:
            with Path(name).open(encoding="utf-8") as file:
                text = file.read(_MAX_FILE_CHARACTERS)
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{name}: cannot be read: {error}") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{name}: no JSON: {error}") from error
    return rules.wish(document)
