"""The commands for failed deliveries, from end to end but for Postfix."""

import asyncio
import base64
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from mailrelay.cli.root import run
from mailrelay.config import load
from mailrelay.core.plan import Handed, Refused
from mailrelay.core.sealed import Vault, vault
from mailrelay.keyring import read_secret
from tests.store import test_failed
from tests.store.test_failed import CONTENT, fail, many
from tests.store.test_held import HOLD
from tests.store.test_held_cli import Postfix, Said, hold, postfix, said, settings, told

__all__ = ["postfix", "said", "settings", "told"]

Told = Callable[..., Any]


@pytest.fixture
def peopled(told: Told, settings: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys, an alias with a recipient and a spare one, and a copy that came back."""
    told("secrets", "init")
    told("domain", "add", "alias.example", "--shared")
    told("account", "add", "johndoe", "--recipient", "me@inbox.example", "--verified")
    told("recipient", "add", "Second@inbox2.example", "--account", "johndoe", "--verified")
    told("recipient", "add", "third@inbox3.example", "--account", "johndoe")
    told("alias", "add", "a1@alias.example", "--account", "johndoe")
    monkeypatch.setattr(test_failed, "VAULT", installed(settings))
    write(dsn)
    return settings


def installed(settings: Path) -> Vault:
    return vault(read_secret(load(settings).secrets, "storage.key"))


def write(dsn: str, content: bytes | None = CONTENT, **values: Any) -> None:
    async def story() -> None:
        async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
            await fail(conn, content, **values)

    with asyncio.Runner() as runner:
        runner.run(story())


def test_the_list_tells_what_failed_and_why(peopled: Path, said: Said, told: Told, dsn: str) -> None:
    [record] = told("failed", "list")
    assert {name: record[name] for name in ("id", "account", "sender", "destination", "type", "status", "subject")} == {
        "id": 1,
        "account": "johndoe",
        "sender": "news@shop.example",
        "destination": "johndoe@Inbox.example",
        "type": "outbound",
        "status": "5.1.1",
        "subject": "Schöne Schuhe",
    }
    printed = said("failed", "list", "--account", "JohnDoe", "--type", "outbound")[1]
    assert printed.splitlines()[0].split()[:3] == ["ID", "CREATED", "AT"]
    assert "outbound  hard         5.1.1   news@shop.example  johndoe@Inbox.example  yes        no" in printed
    assert said("failed", "list", "--type", "inbound") == (0, "", "")
    assert said("failed", "list", "--account", "nobody") == (1, "", "mailrelay: there is no account nobody\n")
    assert said("failed", "list", "--type", "wrong")[0] == 2


def test_the_list_goes_on_where_it_ended(peopled: Path, told: Told, dsn: str) -> None:
    async def story() -> None:
        async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
            await many(conn, 25)

    with asyncio.Runner() as runner:
        runner.run(story())
    first = told("failed", "list", "--limit", "20")
    rest = told("failed", "list", "--limit", "20", "--before", str(first[-1]["id"]))
    assert [record["id"] for record in (*first, *rest)] == [*range(26, 0, -1)]


def test_show_prints_the_record_and_the_header(peopled: Path, said: Said, told: Told, dsn: str) -> None:
    code, printed, words = said("failed", "show", "1")
    assert (code, words) == (0, "")
    assert "code            smtp; 550 5.1.1 no such user" in printed
    assert printed.endswith("\n\nFrom: news@shop.example\nSubject: new shoes\n")
    assert "cheap" not in json.dumps(told("failed", "show", "1"))
    write(dsn, None)
    code, printed, words = said("failed", "show", "2")
    assert (code, words) == (0, "note: of failed delivery 2 only the record is kept, the message is not\n")
    assert "is stored       no" in printed


def test_download_writes_every_octet_and_is_recorded(
    peopled: Path, said: Said, told: Told, dsn: str, tmp_path: Path
) -> None:
    file = tmp_path / "mail.eml"
    document = told("failed", "download", "1", str(file))
    assert (document["file"], document["size_octets"]) == (str(file), len(CONTENT))
    assert file.read_bytes() == CONTENT
    assert os.stat(file).st_mode & 0o777 == 0o600
    code, _, words = said("failed", "download", "1", str(file))
    assert (code, words) == (1, f"Error: {file}: is there already; name another file\n")
    code, _, words = said("failed", "download", "1", str(tmp_path / "nowhere" / "mail.eml"))
    assert code == 1
    assert "cannot be written: No such file or directory" in words
    assert base64.b64decode(told("failed", "download", "1")["content_base64"]) == CONTENT
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            "select distinct actor like 'cli:%', account_id, action, object_id from audit where action like 'failed.%'"
        ).fetchall()
        assert rows == [(True, 1, "failed.read", 1)]


def test_download_to_standard_output(peopled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    octets = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(octets))
    assert run(["failed", "download", "1"]) == 0
    assert octets.getvalue() == CONTENT


def test_172_resend_sends_it_once_to_whom_one_names(
    peopled: Path, said: Said, told: Told, postfix: type[Postfix], dsn: str
) -> None:
    done = told("failed", "resend", "1", "--to", "second@INBOX2.example")
    assert done == {"id": 1, "copies": 1, "failed": None, "returned": False, "partial": False}
    [copy] = postfix.copies
    content = b"".join(copy.content)
    assert copy.rcpt == "Second@inbox2.example"
    assert b"\r\nX-Mailrelay-Resend: Yes\r\n" in content
    assert b"<a1+news=shop.example@alias.example>\r\n" in content
    assert content.endswith(b"\r\nnew shoes, cheap =00=FF\r\n")  # no banner
    code, _, words = said("failed", "resend", "1")
    assert (code, words) == (1, "mailrelay: failed delivery 1 has already been resent\n")
    assert [record["resent"] for record in told("failed", "list")] == [True]
    [entry] = told("trace", "a1@alias.example")
    assert (entry["outcome"], entry["destination"]) == ("delivered", "Second@inbox2.example")
    with psycopg.connect(dsn) as conn:
        assert conn.execute("select action from audit where action like 'failed.%'").fetchall() == [("failed.resend",)]
        assert conn.execute("select ingress_key = uuid_send(uuid) from ledger, failed_delivery").fetchone() == (True,)


def test_a_resend_that_cannot_be_done_now_is_75_and_waits(
    peopled: Path, said: Said, told: Told, postfix: type[Postfix], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postfix, "answer", Refused(451, "4.3.0 later"))
    assert said("failed", "resend", "1")[0] == 75
    monkeypatch.setattr(postfix, "answer", Handed("4QqQ1"))
    assert told("failed", "resend", "1")["copies"] == 1


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("third@inbox3.example", "recipient third@inbox3.example is not verified"),
        ("who@inbox.example", "who@inbox.example is no recipient of that account"),
    ],
)
def test_who_cannot_have_it_is_named(peopled: Path, said: Said, postfix: type[Postfix], to: str, words: str) -> None:
    code, _, told = said("failed", "resend", "1", "--to", to)
    assert code == 1
    assert words in told
    assert postfix.copies == []


def test_what_is_no_forward_is_not_resent(peopled: Path, said: Said, postfix: type[Postfix], dsn: str) -> None:
    write(dsn, email_type="R")
    code, _, words = said("failed", "resend", "2")
    assert (code, words) == (1, "mailrelay: failed delivery 2 is no forward (Reply); only forwards can be resent\n")


def test_what_was_quarantined_is_released(peopled: Path, told: Told, said: Said, postfix: type[Postfix]) -> None:
    hold(peopled, HOLD)
    [record] = told("failed", "list", "--type", "inbound_quarantined")
    assert (record["id"], record["held"]) == (2, True)
    assert told("failed", "resend", "2")["copies"] == 1
    assert postfix.copies[0].rcpt == "me@inbox.example"
    assert [record["state"] for record in told("held", "list", "--all")] == ["released"]
    assert said("failed", "resend", "2")[0] == 1


def test_delete_takes_record_and_message_away(peopled: Path, said: Said, told: Told, dsn: str) -> None:
    assert told("failed", "delete", "1")["id"] == 1
    assert told("failed", "list") == []
    with psycopg.connect(dsn) as conn:
        assert conn.execute("select count(*) from stored_message").fetchone() == (0,)
        assert conn.execute("select action from audit where action like 'failed.%'").fetchall() == [("failed.delete",)]


@pytest.mark.parametrize("command", ["show", "download", "resend", "delete"])
def test_an_unknown_number_is_1_and_none_is_wrong_usage(
    peopled: Path, said: Said, postfix: type[Postfix], command: str
) -> None:
    words = "mailrelay: there is no failed delivery 99; they are kept for seven days\n"
    assert said("failed", command, "99") == (1, "", words)
    assert said("failed", command, "x")[0] == 2
