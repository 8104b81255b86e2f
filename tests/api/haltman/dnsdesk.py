"""What tests of domains share: DNS in which a domain is right, and the worker's looks at it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from mailrelay.core.lookup import Answer, Mx
from mailrelay.core.notices import Code
from mailrelay.flows.onboarding import ProposalChecks
from mailrelay.store.database import Database
from mailrelay.wiring.domaincheck import onboarding
from tests.api.addy.fakedns import FakeDns
from tests.api.haltman.conftest import Desk

NEW = "part.example"
WEB = "relay.example"  # where the desk's site is
KEY = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


def publish(dns: FakeDns, name: str = NEW) -> None:
    """All that mail needs."""
    dns.answers[name, "MX"] = Answer((Mx(10, "mx.relay.example"),))
    dns.txt(name, "v=spf1 a:mx.relay.example ~all")
    dns.txt(f"_dmarc.{name}", "v=DMARC1; p=reject")
    dns.answers[f"mr1._domainkey.{name}", "CNAME"] = Answer(("mr1._domainkey.relay.example",))


def publish_web(dns: FakeDns, name: str = NEW) -> None:
    """All that the web interface needs."""
    dns.answers[name, "CNAME"] = Answer((WEB,))


async def ask(desk: Desk, kind: str = "email", target: str = NEW) -> dict[str, Any]:
    """Propose a domain; gives the answer with its status as `http`."""
    reply = await desk.post(f"request/{kind}", {"target": target})
    return {"http": reply.status_code, **reply.json()}


async def work(desk: Desk, minutes: float) -> int:
    """The worker's step, so much later."""
    database = Database(desk.conn.info.dsn, 2, 20.0, "test")
    await database.open()
    try:
        checks = ProposalChecks(onboarding(desk.config, database, [desk.dns]), lambda: 0.0)
        return await checks(datetime.now(UTC) + timedelta(minutes=minutes))
    finally:
        await database.close()


async def domain(desk: Desk, name: str = NEW) -> tuple[Any, ...]:
    """active, active_mx, active_ui and visible of a shared domain; () if it is not here."""
    rows = await desk.sql(
        """select active, mx_verified_at is not null, ui_verified_at is not null, visible from domain
           where name = %s and shared""",
        name,
    )
    return rows[0] if rows else ()


async def told(desk: Desk, code: Code = Code.OPS) -> list[str]:
    """What operators were told, in the words that matter."""
    return [str(one.data.get("text") or one.data.get("domain")) for one in await desk.mails() if one.code is code]
