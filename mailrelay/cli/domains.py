"""domain add|keys|list|check|verify|set|remove."""

from collections.abc import Sequence

import click

from mailrelay.cli.app import App, pass_app
from mailrelay.cli.types import DOMAIN
from mailrelay.core.dkim import txt_strings
from mailrelay.core.records import Named, NewDomain
from mailrelay.flows.manage import domains
from mailrelay.flows.manage.domains import DnsRecord


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

    For the service's own domain, which is a setting, only keys are made unless --shared is given.
    """
    from mailrelay.store.manage_domains import Domains
    from mailrelay.store.manage_keys import DkimFolder

    if shared and account:
        raise click.UsageError("--shared and --account exclude each other")
    if catch_all and not account:
        raise click.UsageError("--catch-all needs --account: nobody owns new names on a shared domain")
    keys = DkimFolder(app.config.dkim)
    if name == app.service.domain and not shared and account is None:
        app.remark(f"{name} is the service's own domain: its keys are made, nothing else is to be done")
        _print(app, domains.records(name, app.service, keys.ensure(name), False))
        return
    new = NewDomain(name, None if account is None else Named(account.lower()), verified, catch_all)
    found = app.run(lambda database: domains.add(app.service, Domains(database), keys, new))
    app.remark(f"domain {found.name} has id {found.id}; publish these records:")
    _print(app, domains.records(name, app.service, keys.texts(name), found.shared))


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
    _print(app, domains.records(name, app.service, DkimFolder(app.config.dkim).ensure(name), shared))


def _print(app: App, records: Sequence[DnsRecord]) -> None:
    app.text("\n".join(_zone_line(record) for record in records), records)


def _zone_line(record: DnsRecord) -> str:
    """As zone files have it; a text is cut into strings of at most 255 octets."""
    value = f"{record.value}."
    if record.type == "TXT":
        value = " ".join(f'"{text}"' for text in txt_strings(record.value))
    return f"{record.name}. IN {record.type} {value}"
