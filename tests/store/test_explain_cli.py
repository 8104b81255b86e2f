"""mailrelay explain from end to end: the database, name servers on the loopback, keys from files."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import SMTP
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
dns: {{nameservers: ["127.0.0.1:{port}"]}}
"""
ZONE = """\
$ORIGIN example.
$TTL 60
@ IN SOA ns.example. hostmaster.example. 7 3600 600 86400 30
@ IN NS ns.example.
shop IN TXT "v=spf1 ip4:192.0.2.10 -all"
_dmarc.shop IN TXT "v=DMARC1; p=none"
_dmarc.strict IN TXT "v=DMARC1; p=reject"
"""
NEWS = "news@shop.example"


@pytest.fixture
def nameserver() -> Iterator[int]:
    """Its port. In a thread, as commands have event loops of their own."""
    (port,) = ports.pick(1)
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serving(Answerer(parse_zone(ZONE)), port):
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield port
    done.set()
    thread.join()


@pytest.fixture
def said(
    dsn: str, nameserver: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command that succeeds, in a world with one alias; gives what it prints."""
    path = tmp_path / "mailrelay.yaml"
    path.write_text(SETTINGS.format(dsn=dsn, folder=tmp_path, port=nameserver))
    monkeypatch.setenv("MAILRELAY_CONFIG", str(path))

    def command(*arguments: str) -> str:
        code = run(arguments)
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    command("secrets", "init")
    command("domain", "add", "relay.example")
    command("domain", "add", "alias.example", "--shared")
    command("account", "add", "johndoe", "--recipient", "me@inbox.example", "--verified")
    command("alias", "add", "shop@alias.example", "--to", "me@inbox.example")
    return command


def message(folder: Path, author: str = NEWS) -> str:
    """The name of a file, with the line ends of Unix."""
    mail = EmailMessage(policy=SMTP.clone(linesep="\n"))
    mail["From"], mail["To"], mail["Subject"] = author, "shop@alias.example", "Your order"
    mail["Date"], mail["Message-ID"] = "Tue, 06 Jan 2026 10:00:00 +0100", "<77@shop.example>"
    mail.set_content("Thank you.\n")
    path = folder / "message.eml"
    path.write_bytes(mail.as_bytes())
    return str(path)


def written(dsn: str) -> list[Any]:
    """How many rows there are where mail leaves traces."""
    tables = ("ledger", "outbound", "contact", "alias", "rate_window", "failed_delivery", "message_id")
    with psycopg.connect(dsn) as connection:
        return [connection.execute(f"select count(*) from {table}".encode()).fetchone() for table in tables]


def test_a_message_is_followed_to_its_copy(said: Callable[..., str], dsn: str, tmp_path: Path) -> None:
    said("alias", "set", "shop@alias.example", "--mode", "rewrite")
    before = written(dsn)
    ask = ["explain", "--from", NEWS, "--to", "shop@alias.example", "--client", "192.0.2.10", message(tmp_path)]
    found = json.loads(said("--json", *ask))
    steps = {step["check"]: step["finding"] for step in found["steps"]}
    assert all(set(step) == {"check", "finding"} for step in found["steps"])
    assert steps["SPF"] == "pass, mailfrom shop.example"
    assert steps["DMARC"] == "pass, shop.example publishes p=none, by SPF"
    assert steps["delivery"] == "1 copy"
    (copy,) = found["copies"]
    assert (copy["destination"], copy["mode"]) == ("me@inbox.example", "rewrite")
    assert copy["reasons"] == ["rewrite is set"]
    assert f"-From: {NEWS}" in copy["header"]
    assert any(line.startswith('+From: "news at shop.example" <shop+news=shop.example@') for line in copy["header"])
    printed = said(*ask)
    assert "\nmode         rewrite\n" in printed
    assert f"\n  -From: {NEWS}\n" in printed
    assert written(dsn) == before


def test_an_alias_of_a_catch_all_is_explained_and_not_made(said: Callable[..., str], dsn: str, tmp_path: Path) -> None:
    said("domain", "add", "mine.example", "--account", "johndoe", "--verified", "--catch-all")
    before = written(dsn)
    found = json.loads(said("--json", "explain", "--from", NEWS, "--to", "new@mine.example", message(tmp_path)))
    assert {"check": "alias", "finding": "is made by this message"} in found["steps"]
    assert [copy["destination"] for copy in found["copies"]] == ["me@inbox.example"]
    assert written(dsn) == before


def test_forgeries_end_at_the_end_of_the_message(said: Callable[..., str], tmp_path: Path) -> None:
    name = message(tmp_path, "boss@strict.example")
    found = json.loads(said("--json", "explain", "--from", NEWS, "--to", "shop@alias.example", name))
    assert found["steps"][-1]["check"] == "at end of message"
    assert found["steps"][-1]["finding"].startswith("550 5.7.26 ")
    assert found["copies"] == []


def test_two_addresses_are_enough(said: Callable[..., str]) -> None:
    printed = said("explain", "--from", NEWS, "--to", "shop@alias.example")
    assert "me@inbox.example, auto" in printed
    assert "auto, by the account" in printed
    assert "550 5.1.1" in said("explain", "--from", "", "--to", "none@alias.example")
