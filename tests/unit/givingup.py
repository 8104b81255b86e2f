"""Callers who give up while copies are made."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from mailrelay.core.facts import Target
from mailrelay.flows.handover import Handover
from mailrelay.flows.order import Order
from mailrelay.flows.release import Resend


async def given_up(begin: Callable[[Resend], Coroutine[Any, Any, object]]) -> None:
    """Begin something whose copies are never made, and give up when it waits for them."""
    waiting = asyncio.Event()

    async def for_ever(order: Order, targets: Sequence[Target], org: str | None) -> Handover:
        waiting.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(begin(for_ever))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
