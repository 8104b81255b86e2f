"""One running sandbox for all system tests.

Tests share it, so each uses addresses of its own, and is followed by a look at the books: nothing queued, and one
outcome for every recipient that was accepted. Set MAILRELAY_KEEP_SANDBOX=1 to look at the folder afterwards.
"""

import os
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.system.world import World
from tools.sandbox import world as building
from tools.sandbox.sandbox import Sandbox

# The defaults of spec section 2.6 are for people; tests of limits make accounts with limits of their own.
_GENEROUS = {
    "messages_per_hour": 1_000_000,
    "new_aliases_per_hour": 1_000_000,
    "new_aliases_per_hour_and_network": 1_000_000,
    "bandwidth_octets_per_month": 0,
}
# Most tests look at what becomes of a message, which shows best where it stays as it was; those of rewriting say so.
_OVERRIDES = {
    "limits": _GENEROUS,
    "log": {"level": "debug"},
    "service": {"forward_mode": "transparent", "trusted_arc_sealers": ["inbox.example"]},
    "milter": {"spam": {"header": "X-Filter-Score"}},
}
_LOG_OCTETS = 1200  # of each log, shown with a failed test; more would hide what failed


def _say(text: str) -> None:
    print(text, file=sys.stderr)


@pytest.fixture(scope="session")
def session_world() -> Iterator[World]:
    """Built once; everything ends and goes away with the session."""
    # Not below pytest's own folder: other users cannot enter that.
    folder = Path(tempfile.mkdtemp(prefix="mailrelay-", dir="/var/tmp"))
    folder.chmod(0o755)
    sandbox: Sandbox | None = None
    try:
        sandbox = building.up(folder, _say, _OVERRIDES, hasty=True)
        sandbox.query("alter table account alter column banner_location set default 'off'")
        sandbox.query("update account set banner_location = 'off'")
        world = World(sandbox)
        try:
            yield world
        finally:
            world.close()
    finally:
        sandbox = sandbox or Sandbox(folder)
        if os.environ.get("MAILRELAY_KEEP_SANDBOX"):
            sandbox.stop()
        else:
            sandbox.discard()


@pytest.fixture
def world(session_world: World) -> Iterator[World]:
    """The sandbox, whole and idle; looked over after the test."""
    session_world.dispatches.clear()
    yield session_world
    try:
        session_world.repair()
        session_world.settle()
        session_world.check_ledger()
    except BaseException:
        session_world.drop_queue()
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the roles and Postfix had to say last."""
    report = yield
    world = getattr(item, "funcargs", {}).get("world")
    if report.failed and isinstance(world, World):
        logs = (*sorted(world.sandbox.places.log.glob("*.log")), world.sandbox.postfix.maillog)
        for log in filter(Path.exists, logs):  # after the last test they are gone
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _LOG_OCTETS))
                report.sections.append((log.name, file.read().decode(errors="replace")))
    return report
