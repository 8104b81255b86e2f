"""adopt and release: the settings for what `joined` carries out."""

from pathlib import Path
from typing import Any

import click

from mailrelay.cli.app import App
from mailrelay.cli.joined import How, domain_remarks, join_options, run_adopt, run_release
from mailrelay.core.errors import BadConfig
from mailrelay.core.joining import Joining


@click.command()
@join_options
@click.pass_context
def adopt(ctx: click.Context, /, **options: Any) -> None:
    """Join the Postfix of this host: show what would be added to its configuration, ask, and add it."""
    from mailrelay.store.directory import read_domains

    app = ctx.ensure_object(App)
    shared, custom = app.run(read_domains)
    domains = tuple(sorted(shared | custom | app.service.domains))
    how = How(app.config.state, as_json=app.json, **options)
    ctx.exit(run_adopt(_joining(app, domains, tuple(sorted(shared))), how))


@click.command()
@join_options
@click.pass_context
def release(ctx: click.Context, /, **options: Any) -> None:
    """Take out of Postfix what adopt put in, and nothing else. Works without settings, too."""
    from mailrelay.config import Config

    app = ctx.ensure_object(App)
    state: Path = Config.model_fields["state"].default
    wanted = None
    try:
        state, wanted = app.config.state, _joining(app, ())
    except BadConfig as error:
        app.remark(f"note: released without settings, as they cannot be used: {error.problems[0]}")
    ctx.exit(run_release(wanted, How(state, as_json=app.json, **options)))


def remark_on(app: App, domain: str, *, shared: bool) -> None:
    """Says what adopt would have refused if it had known of this domain."""
    wanted = _joining(app, (domain,), (domain,) if shared else ())
    for remark in domain_remarks(wanted, app.config.state):
        app.remark(f"note: {remark}")


def _joining(app: App, domains: tuple[str, ...], shared: tuple[str, ...] = ()) -> Joining:
    config = app.config
    return Joining(
        policy=str(config.policy.listen),
        socketmap=str(config.policy.socketmap),
        lmtp=str(config.lmtp.listen),
        submit=str(config.submit.address),
        message_octets=config.limits.message_octets,
        domains=domains,
        shared=shared,
        foreign=(config.service.hostname, *config.service.foreign_domains),
        milter=str(config.milter.listen) if config.milter.enabled else "",
    )
