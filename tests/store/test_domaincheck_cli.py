"""mailrelay domain check from end to end: name servers on the loopback, keys from files, stamps in the database."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailrelay.cli.root import run
from tools.sandbox import ports
from tools.sandbox.dns import Answerer, parse_zone, serving

SETTINGS = """
service: {{domain: relay.example, hostname: mx.relay.example, operator: [admin@inbox.example]}}
database: {{dsn: "{dsn}"}}
secrets: {folder}/secrets
dkim: {folder}/dkim
state: {folder}/state
dns: {{nameservers: [{servers}]}}
"""
HEAD = """\
$ORIGIN example.
$TTL 60
@ IN SOA ns.example. hostmaster.example. 7 3600 600 86400 30
@ IN NS ns.example.
mx.relay IN A 192.0.2.1
"""
Say = Callable[..., tuple[int, str, str]]


class Zone(Answerer):
    """Published lines may change while it serves."""

    def __init__(self) -> None:
        super().__init__(parse_zone(HEAD))

    def publish(self, *lines: str) -> None:
        self.zone = parse_zone(HEAD + "".join(f"{line}\n" for line in lines))


@contextmanager
def running(zone: Zone) -> Iterator[int]:
    """Its port. In a thread, as commands have event loops of their own."""
    (port,) = ports.pick(1)
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serving(zone, port):
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield port
    finally:
        done.set()
        thread.join()


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
def said(
    dsn: str, zone: Zone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Say]:
    """Runs a command; gives its exit code and what it said on either side. One of two name servers is always right."""
    stale = Zone()
    with running(stale) as other, running(zone) as port:
        path = tmp_path / "mailrelay.yaml"
        servers = f'"127.0.0.1:{other}", "127.0.0.1:{port}"'
        path.write_text(SETTINGS.format(dsn=dsn, folder=tmp_path, servers=servers))
        monkeypatch.setenv("MAILRELAY_CONFIG", str(path))

        def command(*arguments: str) -> tuple[int, str, str]:
            code = run(arguments)
            captured = capsys.readouterr()
            return code, captured.out, captured.err

        command("account", "add", "johndoe", "--recipient", "me@inbox.example", "--verified")
        yield command


def document(said: Say, *arguments: str) -> Any:
    code, text, words = said("--json", *arguments)
    assert code == 0, words
    return json.loads(text)


def states(checked: Any) -> list[tuple[str, str]]:
    return [(record["key"], record["state"]) for record in checked["records"]]


def test_a_domain_from_nothing_to_all_that_it_needs(said: Say, zone: Zone) -> None:
    document(said, "domain", "add", "own.example", "--account", "johndoe")
    checked = document(said, "domain", "check", "own.example")
    assert states(checked) == [(key, "missing") for key in ("MX", "SPF", "DMARC", "DKIM", "DKIM")]
    assert (checked["account"], checked["verified_at"], checked["mx_verified_at"]) == ("johndoe", None, None)
    assert "domain verify own.example" in checked["problems"][0]
    code, text, _ = said("domain", "check", "own.example")
    assert code == 0
    wanted = [line.removeprefix("  publish: ") for line in text.splitlines() if line.startswith("  publish: ")]
    assert sorted(wanted) == sorted(said("domain", "keys", "own.example")[1].splitlines())
    zone.publish(*wanted)
    checked = document(said, "domain", "check", "own.example")
    assert {state for _, state in states(checked)} == {"right"}
    assert None not in (checked["mx_verified_at"], checked["sending_verified_at"])
    code, text, _ = said("domain", "check", "own.example")
    assert "MX: right. Mail to own.example comes to mx.relay.example." in text.splitlines()
    assert "publish:" not in text


def test_an_operators_word_is_not_lost_by_asking(said: Say, zone: Zone, dsn: str) -> None:
    document(said, "domain", "add", "own.example", "--account", "johndoe", "--verified")
    zone.publish("own IN MX 5 mx.elsewhere.example.")
    for _ in range(4):
        checked = document(said, "domain", "check", "own.example")
        assert (states(checked)[0], checked["mx_verified_at"] is None) == (("MX", "wrong"), False)
    with psycopg.connect(dsn, autocommit=True) as conn:
        for gone in (False, True):
            conn.execute("update dns_recheck set failed_at = failed_at - interval '25 minutes'")
            assert (document(said, "domain", "check", "own.example")["mx_verified_at"] is None) == gone
        row = conn.execute("select actor from audit where action = 'domain.check'").fetchone()
        assert row is not None
        assert row[0].startswith("cli:")


def test_its_keys_are_looked_at_too(said: Say, tmp_path: Path) -> None:
    document(said, "domain", "add", "alias.example", "--shared")
    (tmp_path / "dkim" / "alias.example" / "mr1.pem").unlink()
    checked = document(said, "domain", "check", "alias.example")
    (problem,) = checked["problems"]
    assert "mr1.pem: is missing" in problem
    code, _, words = said("domain", "check", "nowhere.example")
    assert (code, words) == (1, "mailrelay: there is no domain nowhere.example\n")
