"""The commands for webhooks from end to end: arguments in, rows, requests and output out."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailrelay.cli.root import run
from mailrelay.core.webhooks import verify
from mailrelay.wiring import webhooks as wiring
from tests.store.test_manage_cli import SETTINGS

Said = Callable[..., tuple[int, str, str]]
Command = Callable[..., Any]

# By address, so that nobody is asked what a name means. It is of the Internet, and nothing is sent there.
URL = "https://8.8.8.8/hook"


@pytest.fixture
def said(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command; gives its exit code and what it said on either side. Secrets and an account are there."""
    path = tmp_path / "mailrelay.yaml"
    path.write_text(SETTINGS.format(dsn=dsn, folder=tmp_path) + "dns: {nameservers: [127.0.0.1]}\n")
    monkeypatch.setenv("MAILRELAY_CONFIG", str(path))

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    assert command("secrets", "init")[0] == 0
    assert command("account", "add", "johndoe", "--recipient", "me@inbox.example", "--verified")[0] == 0
    return command


@pytest.fixture
def told(said: Said) -> Command:
    """Runs a command with --json and gives its document."""

    def command(*arguments: str) -> Any:
        code, printed, words = said("--json", *arguments)
        assert code == 0, words
        return json.loads(printed)

    return command


class Inbox:
    """A receiver. status: what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[tuple[dict[str, str], bytes]] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                inbox.requests.append((dict(self.headers), content))
                self.send_response(inbox.status)
                self.send_header("Content-Length", "6")
                self.end_headers()
                self.wfile.write(b"thanks")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """A receiver on the loopback, which is permitted."""
    permitted = wiring.Settings(networks=(ip_network("127.0.0.0/8"),))
    monkeypatch.setattr(wiring, "settings", lambda config: permitted)
    found = Inbox()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def test_a_webhook_is_made_and_its_secret_told_once(said: Said, told: Command, dsn: str) -> None:
    code, secret, words = said("webhook", "add", URL, "--account", "JohnDoe", "--event", "mail.failed")
    assert code == 0
    assert secret.startswith("whsec_") and len(secret.strip()) == 49
    assert words == "id 1; the secret is not shown again\n"
    record = told("webhook", "show", "1")
    assert (record["account"], record["url"], record["events"]) == ("johndoe", URL, ["mail.failed"])
    assert (record["active"], record["waiting"], record["failures"]) == (True, 0, 0)
    assert "secret" not in record
    with psycopg.connect(dsn) as conn:
        dump = str(conn.execute("select webhook::text from webhook").fetchall())
    assert secret.strip() not in dump and secret.strip().encode().hex() not in dump
    instance = told("webhook", "add", URL)
    assert (instance["account"], instance["events"], instance["id"]) == (None, [], 2)
    assert instance["secret"] != secret.strip()


def test_webhooks_are_listed_the_installations_first(said: Said, told: Command) -> None:
    assert told("webhook", "list") == []
    told("webhook", "add", URL, "--account", "johndoe")
    told("webhook", "add", URL)
    assert [(one["id"], one["account"]) for one in told("webhook", "list")] == [(2, None), (1, "johndoe")]
    assert [one["id"] for one in told("webhook", "list", "JohnDoe")] == [1]
    code, printed, _ = said("webhook", "list")
    assert code == 0
    assert printed.split()[:5] == ["ID", "ACCOUNT", "URL", "EVENTS", "ACTIVE"]
    assert told("webhook", "remove", "2")["id"] == 2
    assert [one["id"] for one in told("webhook", "list")] == [1]


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ((URL, "--event", "mail.eaten"), 65, "mail.eaten: no such event; there are mail.forwarded, "),
        ((URL, "--account", "nobody"), 1, "there is no account nobody"),
        (("ftp://hook.example/",), 65, "http or https"),
        (("https://me:secret@hook.example/",), 65, "no user name or password"),
        (("http://127.0.0.1:8080/",), 65, "neither public nor in webhooks.networks"),
        (("http://[::1]:8080/",), 65, "neither public nor in webhooks.networks"),
        (("https://169.254.169.254/latest",), 65, "neither public nor in webhooks.networks"),
        (("http://2130706433/",), 65, "neither a name nor an address"),
        (("http://8.8.8.8/", "--account", "johndoe"), 65, "https is required"),
    ],
)
def test_what_cannot_be_a_webhook_is_refused(
    said: Said, told: Command, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    found, printed, words = said("webhook", "add", *arguments)
    assert (found, printed) == (code, "")
    assert complaint in words
    assert told("webhook", "list") == []


def test_a_webhook_is_switched_off_and_on(told: Command, said: Said) -> None:
    uuid = told("webhook", "add", URL)["uuid"]
    assert told("webhook", "disable", uuid)["active"] is False
    assert told("webhook", "enable", "1")["active"] is True
    assert said("webhook", "enable", "2")[::2] == (1, "mailrelay: there is no webhook 2\n")


def test_a_replay_takes_a_webhook_back_or_forward(told: Command, said: Said, dsn: str) -> None:
    told("domain", "add", "alias.example", "--shared")
    told("webhook", "add", URL)
    told("alias", "add", "shop@alias.example", "--to", "me@inbox.example", "--account", "johndoe")
    assert told("webhook", "show", "1")["waiting"] == 1
    assert told("webhook", "replay", "1", "--since", "2099-01-01T00:00:00Z")["waiting"] == 0
    assert told("webhook", "replay", "1", "--since", "2020-01-01T00:00:00+01:00")["waiting"] == 1
    assert said("webhook", "replay", "1", "--since", "yesterday")[0] == 2
    assert said("webhook", "replay", "1")[0] == 2


def test_a_ping_is_sent_at_once_and_the_answer_told(told: Command, said: Said, inbox: Inbox) -> None:
    added = told("webhook", "add", inbox.url, "--account", "johndoe")
    told("webhook", "disable", "1")
    assert told("webhook", "test", "1") == {
        "id": 1,
        "url": inbox.url,
        "delivered": True,
        "status": 200,
        "problem": "",
        "answer": "thanks",
    }
    [(headers, content)] = inbox.requests
    document = json.loads(content)
    assert document["event"] == "ping"
    assert document["payload"] == {"webhook_id": added["uuid"]}
    assert headers["Webhook-Id"] == document["id"]
    signature = headers["Mailrelay-Signature"]
    assert verify(added["secret"], signature, content, int(signature.split(",")[0][2:]))


def test_a_receiver_that_does_not_take_the_ping_is_told_by_the_exit_code(
    told: Command, said: Said, inbox: Inbox
) -> None:
    told("webhook", "add", inbox.url)
    inbox.status = 500
    code, printed, _ = said("webhook", "test", "1")
    assert code == 75
    shown = dict(line.split("  ", 1) for line in printed.splitlines())
    assert (shown["status"].strip(), shown["problem"].strip()) == ("500", "answered 500")
    assert told("webhook", "show", "1")["failures"] == 0, "it was only a test"


def test_what_the_commands_made_the_worker_delivers(told: Command, inbox: Inbox, tmp_path: Path) -> None:
    from mailrelay.clients.resolver import Resolver
    from mailrelay.config import load
    from mailrelay.store.database import Database

    told("domain", "add", "alias.example", "--shared")
    added = told("webhook", "add", inbox.url, "--event", "alias.created")
    alias = told("alias", "add", "shop@alias.example", "--to", "me@inbox.example", "--account", "johndoe")
    config = load(tmp_path / "mailrelay.yaml")

    async def deliver() -> None:
        database, stop = Database(config.database.dsn, 2, 20.0, "test"), asyncio.Event()
        await database.open()
        resolver = Resolver(config.dns.nameservers)
        running = asyncio.create_task(wiring.runner(config, database, resolver).run(stop))
        async with asyncio.timeout(30):
            while not inbox.requests:  # noqa: ASYNC110 - it is another thread's
                await asyncio.sleep(0.01)
            stop.set()
            await running
        await resolver.close()
        await database.close()

    asyncio.run(deliver())
    [(headers, content)] = inbox.requests
    document = json.loads(content)
    assert document["payload"] == {"alias": "shop@alias.example", "alias_id": alias["uuid"]}
    assert document["account_id"] == told("account", "list")[0]["uuid"]
    assert verify(added["secret"], headers["Mailrelay-Signature"], content, int(headers["Mailrelay-Signature"][2:12]))
    record = told("webhook", "show", "1")
    assert (record["waiting"], record["failures"]) == (0, 0)
    assert record["delivered_at"] is not None
