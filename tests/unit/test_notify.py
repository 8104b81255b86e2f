"""What systemd hears, over a real datagram socket."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailrelay import notify


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The receiving end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def test_ready_carries_a_status_of_one_line(systemd: socket.socket) -> None:
    notify.ready("policy on\n127.0.0.1:10031")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=policy on 127.0.0.1:10031"


def test_ready_without_a_status_keeps_the_old_one(systemd: socket.socket) -> None:
    notify.ready()
    assert systemd.recv(1000) == b"READY=1"


def test_a_reload_is_stamped_with_the_monotonic_clock(systemd: socket.socket) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify.reloading()
    first, second = systemd.recv(1000).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, stamp = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(stamp) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_the_other_words(systemd: socket.socket) -> None:
    notify.stopping()
    notify.status("waiting for the database")
    notify.status("")
    notify.watchdog()
    assert [systemd.recv(1000) for _ in range(3)] == [b"STOPPING=1", b"STATUS=waiting for the database", b"WATCHDOG=1"]


def test_an_abstract_socket_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"mailrelay-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify.ready()
        assert sock.recv(1000) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "relative", "/nowhere/to/be/found"])
def test_without_systemd_nothing_happens(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.ready("fine")
    notify.stopping()


def test_a_deaf_systemd_does_not_make_us_wait(systemd: socket.socket) -> None:
    for _ in range(2000):  # more than a datagram queue holds
        notify.watchdog()
    assert systemd.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("30000000", None, 30.0),
        pytest.param("30000000", str(os.getpid()), 30.0, id="this process"),
        ("30000000", "1", None),
        ("", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_only_the_named_process_is_watched(
    microseconds: str | None, pid: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert notify.watchdog_seconds() == seconds


async def test_the_watchdog_is_fed_until_the_end(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    stop = asyncio.Event()
    feeding = asyncio.create_task(notify.keep_watchdog(stop))
    heard = [await asyncio.to_thread(systemd.recv, 1000) for _ in range(3)]
    assert heard == [b"WATCHDOG=1"] * 3
    stop.set()
    await asyncio.wait_for(feeding, 5)


async def test_unwatched_the_watchdog_ends_at_once(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    await asyncio.wait_for(notify.keep_watchdog(asyncio.Event()), 5)
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(1000)
