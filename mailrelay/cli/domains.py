"""domain add|keys|list|check|verify|set|remove."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, account_named, pass_app
from mailrelay.cli.held import actor
from mailrelay.cli.types import DOMAIN, MAILBOX
from mailrelay.core.address import Address
from mailrelay.core.dnsrecords import DnsRecord, records
from mailrelay.core.records import KEEP, DomainChange, NewDomain
from mailrelay.flows.manage import domains

if TYPE_CHECKING:
    from mailrelay.core.domaincheck import Finding, Report
    from mailrelay.core.records import DomainRecord
    from mailrelay.store.database import Database

_LISTED = ("id", "name", "account", "active", "catch_all", "auto_create_regex", "default_recipient", "verified_at")


@click.group()
def domain() -> None:
    """Shared domains of the installation and custom domains of accounts."""


@domain.command()
@click.argument("name", type=DOMAIN)
@click.option("--shared", is_flag=True, help="Everybody may hold aliases there; so it is without --account.")
@click.option("--account", metavar="NAME", help="It is this account's own.")
@click.option("--verified", is_flag=True, help="Its ownership and MX count as checked; shared domains always do.")
@click.option("--catch-all", is_flag=True, help="Mail to unknown names makes aliases; needs --account.")
@pass_app
def add(app: App, name: str, shared: bool, account: str | None, verified: bool, catch_all: bool) -> None:
    """Bring a domain here, make its DKIM keys and print what to publish.

    A Postfix that was joined is asked whether it serves the domain itself.

    For the service's own domain, which is a setting, only keys are made unless --shared is given.
    """
    from mailrelay.cli.join import remark_on
    from mailrelay.store.manage_domains import Domains
    from mailrelay.store.manage_keys import DkimFolder

    if shared and account:
        raise click.UsageError("--shared and --account exclude each other")
    if catch_all and not account:
        raise click.UsageError("--catch-all needs --account: nobody owns new names on a shared domain")
    keys = DkimFolder(app.config.dkim)
    if name == app.service.domain and not shared and account is None:
        app.remark(f"{name} is the service's own domain: its keys are made, nothing else is to be done")
        _print(app, records(name, app.service, keys.ensure(name), False))
        return
    new = NewDomain(name, account_named(account), verified, catch_all)
    found = app.run(lambda database: domains.add(app.service, Domains(database), keys, new, actor()))
    whose = "is shared: everybody may hold aliases there" if found.shared else f"belongs to account {found.account}"
    app.remark(f"domain {found.name} (id {found.id}) {whose}; publish these records:")
    _print(app, records(name, app.service, keys.texts(name), found.shared))
    remark_on(app, found.name, shared=found.shared)


@domain.command()
@click.argument("name", type=DOMAIN)
@pass_app
def keys(app: App, name: str) -> None:
    """Make the DKIM keys that a domain lacks and print what to publish."""
    from mailrelay.store.manage_domains import Domains
    from mailrelay.store.manage_keys import DkimFolder

    shared = False
    if name != app.service.domain:
        shared = app.run(lambda database: Domains(database).show(name)).shared
    _print(app, records(name, app.service, DkimFolder(app.config.dkim).ensure(name), shared))


def _print(app: App, wanted: Sequence[DnsRecord]) -> None:
    app.text("\n".join(map(str, wanted)), wanted)


@domain.command("list")
@click.option("--account", metavar="NAME", help="Of this account only.")
@pass_app
def list_(app: App, account: str | None) -> None:
    """Show domains, shared ones first."""
    from mailrelay.store.manage_domains import Domains

    app.many(app.run(lambda db: Domains(db).page(account and account.lower())), _LISTED)


@domain.command()
@click.argument("name", type=DOMAIN)
@pass_app
def check(app: App, name: str) -> None:
    """Ask DNS about a domain, and show how it is set up here.

    What comes of it is what comes of the worker's checks: what is right counts at once; what is wrong, after three
    checks that are at least 20 minutes apart.
    """
    from mailrelay.store.manage_domains import Domains
    from mailrelay.store.manage_keys import DkimFolder
    from mailrelay.wiring.domaincheck import checked_now

    async def look(database: "Database") -> "tuple[DomainRecord, Report]":
        report = await checked_now(app.config, database, name, actor())
        return await Domains(database).show(name), report

    found, report = app.run(look)
    problems = DkimFolder(app.config.dkim).problems(name)
    if not found.shared and found.verified_at is None:
        problems.append(f"{name}: its ownership is not verified, so it gets no mail; `mailrelay domain verify {name}`")
    if not found.active:
        problems.append(f"{name}: is switched off")
    text = "\n".join((show.details(found), *map(_told, report.findings)))
    app.text(text, {**show.fields(found), "problems": problems, "records": report.findings})
    for problem in problems:
        app.remark(problem)


def _told(found: "Finding") -> str:
    """A record and what became of it, with what to publish unless it is right."""
    state = found.state if found.needed or found.state == "right" else f"{found.state}, but others do"
    lines = [f"{found.key}: {state}. {found.sentence}", *(f"  found: {text}" for text in found.found)]
    if found.state in ("missing", "wrong") and found.publish.value:
        lines.append(f"  publish: {found.publish}")
    return "\n".join(lines)


@domain.command()
@click.argument("name", type=DOMAIN)
@click.option("--sending", is_flag=True, help="SPF, DKIM and DMARC are right as well.")
@pass_app
def verify(app: App, name: str, sending: bool) -> None:
    """Take ownership and MX for checked, on the operator's word."""
    from mailrelay.store.manage_domains import Domains

    app.one(app.run(lambda db: Domains(db).verify(name, sending, actor())))


@domain.command("set")
@click.argument("name", type=DOMAIN)
@click.option("--catch-all/--no-catch-all", default=None, help="Mail to unknown names makes aliases.")
@click.option("--regex", metavar="RE2", help="Unknown names that make aliases without catch-all; empty for none.")
@click.option("--active/--inactive", default=None, help="Whether it takes mail.")
@click.option("--visible/--hidden", default=None, help="Whether a shared domain is in public lists.")
@click.option("--default-recipient", type=MAILBOX, metavar="MAILBOX", help="Goes before the account's.")
@pass_app
def set_(
    app: App,
    name: str,
    catch_all: bool | None,
    regex: str | None,
    active: bool | None,
    visible: bool | None,
    default_recipient: Address | None,
) -> None:
    """Change a domain; what is not named stays."""
    from mailrelay.core.naming import auto_create_regex
    from mailrelay.store.manage_domains import Domains

    change = DomainChange(
        active=KEEP if active is None else active,
        visible=KEEP if visible is None else visible,
        catch_all=KEEP if catch_all is None else catch_all,
        auto_create_regex=KEEP if regex is None else auto_create_regex(regex),
        default_recipient=KEEP if default_recipient is None else default_recipient,
    )
    app.one(app.run(lambda db: Domains(db).change(name, change, actor())))


@domain.command()
@click.argument("name", type=DOMAIN)
@click.option("--yes", is_flag=True, help="Even if it has aliases, which are deleted.")
@pass_app
def remove(app: App, name: str, yes: bool) -> None:
    """Take no mail for a domain any more. Its keys stay where they are.

    The addresses of a shared domain stay taken; an account's own domain comes back without its aliases.
    """
    from mailrelay.store.manage_domains import Domains

    gone, aliases = app.run(lambda db: Domains(db).remove(name, yes, actor()))
    app.text(f"removed {gone.name} and {aliases} aliases", {"domain": gone, "aliases": aliases})
