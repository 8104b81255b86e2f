"""webhook add|list|show|remove|enable|disable|replay|test: programs that hear of events."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, account_named, now, pass_app
from mailrelay.cli.types import MOMENT

if TYPE_CHECKING:
    from mailrelay.flows.manage.webhooks import IssuedWebhook, Tested
    from mailrelay.store.database import Database
    from mailrelay.store.manage_webhooks import Webhooks

Result = TypeVar("Result")

_LISTED = ("id", "account", "url", "events", "active", "waiting", "failures", "last_error", "delivered_at")


@click.group()
def webhook() -> None:
    """Programs elsewhere that hear of events by HTTP: each in order, each event at least once, signed."""


@webhook.command()
@click.argument("url")
@click.option("--account", metavar="NAME", help="It hears of this account; else of the whole installation.")
@click.option("--event", "events", multiple=True, metavar="EVENT", help="Of these only, such as mail.failed.")
@pass_app
def add(app: App, url: str, account: str | None, events: tuple[str, ...]) -> None:
    """Make a webhook and print, this once, the secret that its events are signed with.

    Events: mail.forwarded, mail.blocked, mail.failed, alias.created, alias.deactivated, ban.hit, domain.state.
    """
    from mailrelay.clients.webhook import HostAddresses
    from mailrelay.flows.manage import webhooks as flow
    from mailrelay.wiring import webhooks as wiring

    async def work(database: "Database") -> "IssuedWebhook":
        store, networks = wiring.webhooks(app.config, database), wiring.settings(app.config).networks
        async with wiring.resolving(app.config) as resolver:
            return await flow.add(store, HostAddresses(resolver), networks, account_named(account), url, events)

    issued = app.run(work)
    app.text(issued.secret, {"secret": issued.secret, **show.fields(issued.record)})
    app.remark(f"id {issued.record.id}; the secret is not shown again")
    if issued.doubt:
        app.remark(f"note: nothing can be sent there yet: {issued.doubt}")


@webhook.command("list")
@click.argument("account", required=False)
@pass_app
def list_(app: App, account: str | None) -> None:
    """Show webhooks, and how many events each has not had yet (as far as 1000)."""
    app.many(_run(app, lambda store: store.page(account and account.strip().lower())), _LISTED)


@webhook.command("show")
@click.argument("ref", metavar="ID")
@pass_app
def show_(app: App, ref: str) -> None:
    """Show one webhook, not its secret."""
    app.one(_run(app, lambda store: store.show(ref)))


@webhook.command()
@click.argument("ref", metavar="ID")
@pass_app
def remove(app: App, ref: str) -> None:
    """Delete a webhook."""
    app.one(_run(app, lambda store: store.remove(ref)))


@webhook.command()
@click.argument("ref", metavar="ID")
@pass_app
def enable(app: App, ref: str) -> None:
    """Switch a webhook on, or let one that failed try at once. It goes on where it left off."""
    app.one(_run(app, lambda store: store.set_active(ref, True)))


@webhook.command()
@click.argument("ref", metavar="ID")
@pass_app
def disable(app: App, ref: str) -> None:
    """Switch a webhook off. Events that nobody else wants to hear of are not written down meanwhile."""
    app.one(_run(app, lambda store: store.set_active(ref, False)))


@webhook.command()
@click.argument("ref", metavar="ID")
@click.option("--since", type=MOMENT, required=True, help="As 2026-12-31T23:59:59Z; later than now, all is skipped.")
@pass_app
def replay(app: App, ref: str, since: datetime) -> None:
    """Deliver again what happened since a moment, as far as it is still there; or skip what happened before it."""
    app.one(_run(app, lambda store: store.replay(ref, since)))


@webhook.command()
@click.argument("ref", metavar="ID")
@click.pass_context
def test(ctx: click.Context, ref: str) -> None:
    """Send the event `ping` now and tell what the receiver answers. The exit code is 75 if it did not take it."""
    from mailrelay.flows.manage import webhooks as flow
    from mailrelay.wiring import webhooks as wiring

    app: App = ctx.obj

    async def work(database: "Database") -> "Tested":
        store = wiring.webhooks(app.config, database)
        async with wiring.resolving(app.config) as resolver:
            return await flow.test(store, wiring.client(app.config, resolver), now, ref)

    tested = app.run(work)
    answer = tested.answer
    app.one(
        {
            "id": tested.webhook.id,
            "url": tested.webhook.url,
            "delivered": answer.delivered,
            "status": answer.status,
            "problem": answer.problem,
            "answer": answer.excerpt,
        }
    )
    if not answer.delivered:
        ctx.exit(75)


def _run(app: App, work: "Callable[[Webhooks], Awaitable[Result]]") -> Result:
    from mailrelay.wiring.webhooks import webhooks

    return app.run(lambda database: work(webhooks(app.config, database)))
