"""Tells systemd how the service is doing, sd_notify(3); says nothing when nobody asked."""

import asyncio
import os
import socket
import time
from contextlib import suppress


def ready(status: str = "") -> None:
    """Start-up or reload is complete. status: one line for `systemctl status`."""
    _send("READY=1", *_status(status))


def reloading() -> None:
    """A reload begins; `ready` ends it. The stamp is what Type=notify-reload demands and others ignore."""
    _send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def stopping() -> None:
    """The service winds up."""
    _send("STOPPING=1")


def status(text: str) -> None:
    """One line for `systemctl status`."""
    _send(*_status(text))


def watchdog() -> None:
    """Still alive."""
    _send("WATCHDOG=1")


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear `watchdog` at the latest; None: it does not watch this process."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    # A child inherits the variables, but only the process named here is watched.
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 if microseconds.isascii() and microseconds.isdigit() else None


async def keep_watchdog(stop: asyncio.Event) -> None:
    """Says `watchdog` until stop is set, so a stuck event loop is found out. Returns at once if nobody watches."""
    seconds = watchdog_seconds()
    while seconds and not stop.is_set():
        watchdog()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds / 3)


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(text.split())}",) if text else ()


def _send(*assignments: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not assignments or address[:1] not in ("/", "@"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # Linux' abstract name space, unix(7)
    # Whether systemd listens must not decide over mail; nor may it make us wait.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        sock.sendto("\n".join(assignments).encode(), address)
