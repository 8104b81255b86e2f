"""trace: what became of a message; explain: what would become of one."""

import asyncio
from typing import TYPE_CHECKING

import click

from mailrelay.cli import show
from mailrelay.cli.app import App, pass_app, read_message
from mailrelay.cli.types import MAILBOX
from mailrelay.core.address import Address
from mailrelay.core.errors import Absent

if TYPE_CHECKING:
    from mailrelay.core.explained import ExplainedCopy


@click.command()
@click.argument("what", metavar="QUEUE-ID|MESSAGE-ID|ADDRESS")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="The last so many.")
@pass_app
def trace(app: App, what: str, limit: int) -> None:
    """Tell what became of a message, recipient by recipient.

    QUEUE-ID of the message as it came in or of a copy as it went out; ADDRESS of a recipient here, or a return path.
    """
    from mailrelay.core.trace import seek, tell
    from mailrelay.store.manage_ledger import LedgerReader

    entries = app.run(lambda db: LedgerReader(db).story(seek(what), limit))
    if not entries and not app.json:
        raise Absent(f"nothing is recorded about {what}")
    stories = [
        f"{show.rfc3339(entry.at)}  " + "\n".join(show.indented(tell(entry), len("2026-01-02T03:04:05Z  ")))
        for entry in entries
    ]
    # Both words and values, so that programs need not know the list of reasons.
    documents = [
        {**show.fields(entry), "return_path": entry.return_path, "reason_text": entry.reason_text} for entry in entries
    ]
    app.text("\n".join(stories), documents)


@click.command()
@click.option("--from", "sender", required=True, metavar="ADDRESS", help="Envelope sender; empty for the null sender.")
@click.option("--to", "rcpt", required=True, type=MAILBOX, metavar="ADDRESS", help="Envelope recipient.")
@click.option("--client", default="", metavar="IP", help="Address of the SMTP client.")
@click.option("--helo", default="", metavar="NAME", help="How the client calls itself.")
@click.argument("message", metavar="[MESSAGE.EML|-]", required=False)
@pass_app
def explain(app: App, sender: str, rcpt: Address, client: str, helo: str, message: str | None) -> None:
    """Tell what would become of a message, check by check, without sending anything.

    A MESSAGE that the milter has seen says itself what was found out about it. Any other is authenticated now, by the
    name servers of the configuration.
    """
    from mailrelay.core.screen import RcptRequest
    from mailrelay.wiring.explain import explain as explained

    content = None if message is None else read_message(message)
    request = RcptRequest(sender.strip().strip("<>"), str(rcpt), client.strip(), instance="", authenticated=False)
    found = asyncio.run(explained(app.config, request, content, helo.strip()))
    steps = [(check, show.cell(finding)) for check, finding in found.steps]
    blocks = [show.aligned(steps), *(_told(copy) for copy in found.copies)]
    document = {
        "steps": [{"check": check, "finding": finding} for check, finding in found.steps],
        "copies": [{**show.fields(copy), "header": list(map(str, copy.header))} for copy in found.copies],
    }
    app.text("\n\n".join(blocks), document)


def _told(copy: "ExplainedCopy") -> str:
    """A copy, with its header as a diff."""
    facts = {
        "copy to": copy.destination,
        "return path": f"<{copy.sender}>",
        "mode": copy.mode,
        "because": "; ".join(copy.reasons) or "nothing speaks against it",
        "body": copy.body,
    }
    lines = [show.cell(str(line).expandtabs()) for line in copy.header]
    return "\n".join([show.details(facts), "header", *(f"  {line}" for line in lines)])
