"""Making webhooks, and asking a receiver whether it works."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.httptarget import IPAddress, IPNetwork, refusal, target
from mailrelay.core.records import Named
from mailrelay.core.webhooks import PING, Answer, Event, Occurrence, WebhookRecord, body, headers
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.webhooks import Client


class WebhookStore(Protocol):
    async def add(
        self, owner: Named | AccountId | None, url: str, events: Sequence[str], secret: str
    ) -> WebhookRecord: ...
    async def show(self, ref: str) -> WebhookRecord: ...
    async def secret(self, webhook: WebhookRecord) -> str: ...


@dataclass(frozen=True, slots=True)
class IssuedWebhook:
    """A new webhook and, this once, what its events are signed with. doubt: why nothing can be sent yet, or ''."""

    secret: str
    record: WebhookRecord
    doubt: str


@dataclass(frozen=True, slots=True)
class Tested:
    """What a receiver said to a ping."""

    webhook: WebhookRecord
    answer: Answer


async def add(
    store: WebhookStore,
    resolve: Callable[[str], Awaitable[Sequence[IPAddress]]],
    networks: Sequence[IPNetwork],
    owner: Named | AccountId | None,
    url: str,
    events: Sequence[str],
) -> IssuedWebhook:
    """A new webhook. owner: None for the installation; events: none for all; networks: permitted besides public ones.

    Raises Malformed for a URL that nothing may be sent to, or an event that there is none of; Absent and Conflict.
    What a name means is asked again at every delivery, so that a name which means nothing yet is a doubt only.
    """
    known = [event.value for event in Event]
    if wrong := sorted(set(events) - set(known)):
        raise Malformed(f"{', '.join(wrong)}: no such event; there are {', '.join(known)}")
    wanted = target(url)
    doubt = ""
    try:
        addresses = await resolve(wanted.host)
    except Unavailable as error:
        addresses, doubt = (), str(error)
    problem = refusal(wanted, addresses, networks, owner is not None)
    if problem and addresses:
        raise Malformed(problem)
    secret = f"whsec_{secrets.token_urlsafe(32)}"
    record = await store.add(owner, wanted.url, sorted(set(events)), secret)
    return IssuedWebhook(secret, record, doubt or problem)


async def test(store: WebhookStore, client: Client, clock: Clock, ref: str) -> Tested:
    """Send a ping now, whether the webhook is switched on or not. Raises Absent, Conflict and Malformed."""
    webhook = await store.show(ref)
    secret = await store.secret(webhook)
    now = clock()
    # The account stays out: a ping is about nobody.
    ping = Occurrence(uuid4(), PING, now, None, {"webhook_id": str(webhook.uuid)})
    content = body(ping)
    async with client.line(target(webhook.url), webhook.account is not None) as line:
        answer = await line.post(headers(ping, content, secret, int(now.timestamp())), content)
    return Tested(webhook, answer)
