"""Making webhooks: what is refused, and what is only doubted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import cast

import pytest

from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.httptarget import IPAddress
from mailrelay.core.records import Named
from mailrelay.core.webhooks import WebhookRecord
from mailrelay.flows.manage.webhooks import add

RECORD = cast("WebhookRecord", object())


@dataclass
class Table:
    """Remembers what it was given."""

    added: list[tuple[object, ...]] = field(default_factory=list)

    async def add(self, owner: Named | AccountId | None, url: str, events: Sequence[str], secret: str) -> WebhookRecord:
        self.added.append((owner, url, list(events), secret))
        return RECORD

    async def show(self, ref: str) -> WebhookRecord:
        raise NotImplementedError

    async def secret(self, webhook: WebhookRecord) -> str:
        raise NotImplementedError


@dataclass
class Names:
    """addresses: of every host; None: DNS does not answer."""

    addresses: Sequence[str] | None

    async def __call__(self, host: str, /) -> Sequence[IPAddress]:
        if self.addresses is None:
            raise Unavailable("DNS gave no answer")
        return [ip_address(address) for address in self.addresses]


async def test_a_webhook_is_stored_with_its_url_in_one_form_and_its_events_once() -> None:
    table = Table()
    wanted = ("mail.failed", "ban.hit", "mail.failed")
    issued = await add(table, Names(["8.8.8.8"]), (), Named("johndoe"), "HTTPS://Hook.Example:443", wanted)
    assert table.added == [(Named("johndoe"), "https://hook.example/", ["ban.hit", "mail.failed"], issued.secret)]
    assert (issued.record, issued.doubt) == (RECORD, "")


@pytest.mark.parametrize(("addresses", "doubt"), [([], "hook.example has no address"), (None, "DNS gave no answer")])
async def test_a_name_that_means_nothing_yet_is_a_doubt(addresses: Sequence[str] | None, doubt: str) -> None:
    table = Table()
    issued = await add(table, Names(addresses), (), AccountId(1), "https://hook.example/", ())
    assert issued.doubt == doubt
    assert len(table.added) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.1.2.3"])
async def test_a_name_that_means_a_private_address_is_refused(address: str) -> None:
    table = Table()
    with pytest.raises(Malformed, match="neither public nor in"):
        await add(table, Names(["8.8.8.8", address]), (), None, "https://hook.example/", ())
    assert table.added == []
