"""rule add|list|show|remove|enable|disable|reorder|try|replay."""

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, account_named, now, pass_app, read_message
from mailrelay.cli.held import actor
from mailrelay.cli.types import MAILBOX
from mailrelay.core.address import Address
from mailrelay.core.errors import Malformed

if TYPE_CHECKING:
    from mailrelay.core.rules.record import RuleRecord
    from mailrelay.core.rules.trial import Replay, Trial
    from mailrelay.flows.manage.rules import RuleWish
    from mailrelay.flows.tryout import Candidate
    from mailrelay.store.database import Database
    from mailrelay.store.pastmail import PastMail

Result = TypeVar("Result")

_LISTED = (
    *("id", "account", "position", "name", "active", "forwards", "replies", "sends"),
    *("applied", "last_applied", "faults"),
)
_PAST = ("at", "sender", "alias", "outcome")
_MAX_FILE_CHARACTERS = 1_000_000
_FOR_NO_MAIL = "note: it is for no mail: forwards, replies and sends are all false"
_FLOWS = {"F": "forwarded mail", "R": "a reply", "S": "mail that its owner sends"}
# What replay says of types of conditions that the ledger knows nothing or something near about.
_UNKNOWN = {"subject": "the ledger has no subjects: what depends on them is undecided"}
_NEAR = {
    "sender": "the ledger has senders of envelopes, who need not be the authors",
    "alias_description": "descriptions are those of today",
}


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
    _print(app, app.run(lambda db: rules.add(Rules(db), Named(account.strip().lower()), wanted, actor())))
    if not (wanted.forwards or wanted.replies or wanted.sends):
        app.remark(_FOR_NO_MAIL)


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

    _print(app, app.run(lambda db: Rules(db).remove(ref, actor())))


@rule.command()
@click.argument("ref", metavar="ID")
@pass_app
def enable(app: App, ref: str) -> None:
    """Switch a rule on."""
    from mailrelay.store.manage_rules import Rules

    _print(app, app.run(lambda db: Rules(db).set_active(ref, True, actor())))


@rule.command()
@click.argument("ref", metavar="ID")
@pass_app
def disable(app: App, ref: str) -> None:
    """Switch a rule off; it keeps its place and its counters."""
    from mailrelay.store.manage_rules import Rules

    _print(app, app.run(lambda db: Rules(db).set_active(ref, False, actor())))


@rule.command()
@click.argument("account")
@click.argument("refs", metavar="ID...", nargs=-1, required=True)
@pass_app
def reorder(app: App, account: str, refs: tuple[str, ...]) -> None:
    """Put an account's rules in this order, beginning at position 0. Rules that are not named stay where they are."""
    from mailrelay.core.records import Named
    from mailrelay.store.manage_rules import Rules

    app.many(app.run(lambda db: Rules(db).reorder(Named(account.strip().lower()), refs, actor())), _LISTED)


@rule.command("try")
@click.argument("words", metavar="[ID] MESSAGE.EML|-", nargs=-1, required=True)
@click.option("--file", metavar="FILE", help="A rule in JSON that is not stored, instead of ID.")
@click.option("--account", metavar="ACCOUNT", help="Whose rule that in the file would be.")
@click.option("--to", "alias", type=MAILBOX, metavar="ADDRESS", help="The alias that the message is for.")
@click.option("--from", "sender", default="", metavar="ADDRESS", help="Envelope sender, for mail without an author.")
@pass_app
def try_(
    app: App, words: tuple[str, ...], file: str | None, account: str | None, alias: Address | None, sender: str
) -> None:
    """Ask one rule about a message, whether it is switched on or not. Nothing is counted.

    What it asks about the alias is known with --to only. How all rules of an account work together, `explain` tells.
    """
    from mailrelay.core.rules import telling
    from mailrelay.flows import tryout

    *refs, name = words
    if len(refs) > 1:
        raise click.UsageError("one rule and one message at a time")
    if file == name == "-":
        raise click.UsageError("standard input is either the rule or the message")
    content = read_message(name)
    envelope = sender.strip().strip("<>")

    async def ask(past: "PastMail", candidate: "Candidate") -> "Trial":
        return await tryout.on_message(past, candidate, content, envelope, alias)

    found = _try_out(app, refs[0] if refs else None, file, account, ask)
    answers = {
        f"condition {number}": f"{telling.holds(one.holds)}: {one.condition}"
        for number, one in enumerate(found.conditions, 1)
    }
    matches = "not known" if found.matches is None else found.matches
    told = {"rule": found.rule, "asked_about": _FLOWS[found.flow], **answers, "matches": matches}
    app.text(show.details({**told, "then": "; ".join(found.effects) or "nothing is done"}), found)
    _remark_faults(app, found.faults)


@rule.command()
@click.argument("ref", metavar="[ID]", required=False)
@click.option("--file", metavar="FILE|-", help="A rule in JSON that is not stored, instead of ID.")
@click.option("--account", metavar="ACCOUNT", help="Whose rule that in the file would be.")
@pass_app
def replay(app: App, ref: str | None, file: str | None, account: str | None) -> None:
    """Ask one rule about its owner's mail of the last 30 days, as far as the ledger knows it. Nothing is counted."""
    from mailrelay.flows import tryout

    found = _try_out(app, ref, file, account, lambda past, candidate: tryout.on_past_mail(past, candidate, now()))
    counts = {name: getattr(found, name) for name in ("rule", "since", "messages", "matching", "undecided")}
    blocks = [show.details(counts)]
    for title, examples in (("matching", found.examples), ("undecided", found.undecided_examples)):
        if examples:
            blocks.append(f"latest {title}\n{show.table(examples, _PAST)}")
    app.text("\n\n".join(blocks), found)
    for remark in _remarks(found):
        app.remark(f"note: {remark}")
    _remark_faults(app, found.faults)


def _remarks(found: "Replay") -> list[str]:
    remarks = [_UNKNOWN[name] for name in found.unknown] + [_NEAR[name] for name in found.near]
    if not found.complete:
        remarks.append("there was more mail than one replay looks at: this is the latest of it")
    return remarks


def _remark_faults(app: App, faults: "Sequence[str]") -> None:
    for fault in faults:
        app.remark(f"note: not understood: {fault}")


def _try_out(
    app: App,
    ref: str | None,
    file: str | None,
    account: str | None,
    ask: "Callable[[PastMail, Candidate], Awaitable[Result]]",
) -> Result:
    """Find the rule that is meant and ask it."""
    from mailrelay.flows import tryout
    from mailrelay.store.manage_rules import Rules
    from mailrelay.store.pastmail import PastMail

    if (ref is None) == (file is None):
        raise click.UsageError("the ID of a rule, or a --file that holds one")
    owner = account_named(account)
    if (file is None) != (owner is None):
        raise click.UsageError("--account goes with --file: whose rule it would be")
    wanted = _wish_from(file) if file is not None else None

    async def work(database: "Database") -> Result:
        rules = Rules(database)
        if wanted is not None and owner is not None:
            candidate = await tryout.of_wish(rules, owner, wanted)
        else:
            candidate = await tryout.of_ref(rules, ref or "")
        if not candidate.rule.flows:
            app.remark(_FOR_NO_MAIL)
        return await ask(PastMail(database), candidate)

    return app.run(work)


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
