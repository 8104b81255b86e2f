"""The commands for held mail, from end to end but for Postfix."""

import asyncio
import base64
import io
import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailrelay.cli.root import run
from mailrelay.config import load
from mailrelay.core.held import Hold
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.store.database import Database
from mailrelay.wiring import held as wiring
from tests.store.test_held import CONTENT, ENVELOPE, HOLD
from tests.store.test_manage_cli import SETTINGS

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def settings(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mailrelay.yaml"
    path.write_text(SETTINGS.format(dsn=dsn, folder=tmp_path))
    monkeypatch.setenv("MAILRELAY_CONFIG", str(path))
    return path


@pytest.fixture
def said(settings: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command; gives its exit code and what it said on either side."""

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def told(said: Said) -> Callable[..., Any]:
    """Runs a command with --json and gives its document."""

    def command(*arguments: str) -> Any:
        code, printed, words = said("--json", *arguments)
        assert code == 0, words
        return json.loads(printed)

    return command


@pytest.fixture
def peopled(told: Callable[..., Any], settings: Path) -> Path:
    """Keys, and an alias whose mail waits."""
    told("secrets", "init")
    told("domain", "add", "alias.example", "--shared")
    told("account", "add", "johndoe", "--recipient", "me@inbox.example", "--verified")
    told("alias", "add", "a1@alias.example", "--account", "johndoe")
    hold(settings, HOLD)
    return settings


def hold(settings: Path, hold: Hold) -> None:
    """As the lmtp role does it."""

    async def story() -> None:
        config = load(settings)
        database = Database(config.database.dsn, 1, 20.0, "test")
        await database.open()
        assert (await wiring.held_store(config, database).hold(hold)).id is not None
        await database.close()

    with asyncio.Runner() as runner:
        runner.run(story())


class Postfix:
    """Stands in for the client of its listener."""

    def __init__(self, *settings: object) -> None:
        pass

    copies: list[Copy]
    answer: Handed | Refused

    async def submit(self, copy: Copy) -> Handed | Refused:
        self.copies.append(copy)
        return self.answer

    def close(self) -> None:
        pass


@pytest.fixture
def postfix(monkeypatch: pytest.MonkeyPatch) -> type[Postfix]:
    monkeypatch.setattr(Postfix, "copies", [], raising=False)
    monkeypatch.setattr(Postfix, "answer", Handed("4QqQ1"), raising=False)
    monkeypatch.setattr(wiring, "Submitter", Postfix)
    return Postfix


def test_the_list_tells_what_waits(peopled: Path, said: Said, told: Callable[..., Any]) -> None:
    [record] = told("held", "list")
    assert {name: record[name] for name in ("id", "account", "author", "rcpt", "reason", "state", "stored")} == {
        "id": 1,
        "account": "johndoe",
        "author": "news@shop.example",
        "rcpt": "a1@alias.example",
        "reason": "not_on_allow_list",
        "state": "held",
        "stored": True,
    }
    code, printed, _ = said("held", "list", "JohnDoe")
    assert code == 0
    assert printed.splitlines()[0].split()[:3] == ["ID", "CREATED", "AT"]
    assert "news@shop.example  a1@alias.example  not_on_allow_list" in printed
    assert said("held", "list", "nobody") == (0, "", "")


def test_show_prints_the_header_and_not_the_message(peopled: Path, said: Said, told: Callable[..., Any]) -> None:
    code, printed, words = said("held", "show", "1")
    assert (code, words) == (0, "")
    assert "kind         quarantined" in printed
    assert printed.endswith("\n\nFrom: news@shop.example\nSubject: new shoes\n")
    document = told("held", "show", "1")
    assert document["header"] == "From: news@shop.example\nSubject: new shoes"
    assert "cheap" not in json.dumps(document)


def test_show_raw_prints_every_octet_and_is_recorded(peopled: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    octets = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(octets))
    assert run(["held", "show", "1", "--raw"]) == 0
    assert octets.getvalue() == CONTENT
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            "select actor like 'cli:%', account_id, action, object_table, object_id from audit order by id desc"
        ).fetchone()
        assert row == (True, 1, "held.read", "failed_delivery", 1)


def test_show_raw_for_programs_is_base64(peopled: Path, told: Callable[..., Any]) -> None:
    assert base64.b64decode(told("held", "show", "1", "--raw")["content_base64"]) == CONTENT


def test_a_header_does_no_harm_to_the_terminal(peopled: Path, said: Said) -> None:
    content = b"Subject: \x1b[2Jred\x07\r\n\tfolded\xff\r\n" + "X: \u202e\r\n".encode() + b"\r\nbody"
    hold(peopled, replace(HOLD, content=content, envelope=replace(ENVELOPE, rcpt="a1+x@alias.example")))
    printed = said("held", "show", "2")[1]
    assert "\nSubject: \ufffd[2Jred\ufffd\n        folded\ufffd\nX: \ufffd\n" in printed


def test_release_sends_it_once(
    peopled: Path, said: Said, told: Callable[..., Any], postfix: type[Postfix], dsn: str
) -> None:
    assert told("held", "release", "1") == {"id": 1, "copies": 1, "failed": None}
    [copy] = postfix.copies
    assert copy.rcpt == "me@inbox.example"
    content = b"".join(copy.content)
    assert b"<a1+news=shop.example@alias.example>\r\n" in content
    assert content.endswith(b"\r\nnew shoes, cheap =00=FF\r\n")  # the NUL is for no mail server's eyes
    code, _, words = said("held", "release", "1")
    assert (code, words) == (1, "mailrelay: 1 was released before\n")
    assert told("held", "list") == []
    assert [record["state"] for record in told("held", "list", "--all")] == ["released"]
    [entry] = told("trace", "a1@alias.example")
    assert (entry["outcome"], entry["destination"]) == ("delivered", "me@inbox.example")
    with psycopg.connect(dsn) as conn:
        assert conn.execute("select action from audit order by id desc").fetchone() == ("held.release",)


def test_a_release_that_cannot_be_done_now_is_75_and_waits(
    peopled: Path, said: Said, told: Callable[..., Any], postfix: type[Postfix], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postfix, "answer", Refused(451, "4.3.0 later"))
    assert said("held", "release", "1")[0] == 75
    assert [record["state"] for record in told("held", "list")] == ["held"]
    monkeypatch.setattr(postfix, "answer", Handed("4QqQ1"))
    assert told("held", "release", "1")["copies"] == 1


def test_a_copy_that_is_refused_for_good_is_named(
    peopled: Path, said: Said, postfix: type[Postfix], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postfix, "answer", Refused(550, "5.1.1 no such user"))
    code, printed, words = said("held", "release", "1")
    assert (code, words) == (0, "note: not to everybody: refused_by_postfix\n")
    assert "copies  0" in printed


def test_discard_deletes_the_message_and_keeps_the_record(
    peopled: Path, said: Said, told: Callable[..., Any], postfix: type[Postfix]
) -> None:
    record = told("held", "discard", "1")
    assert (record["state"], record["stored"]) == ("discarded", False)
    assert said("held", "discard", "1")[::2] == (1, "mailrelay: 1 was discarded before\n")
    assert said("held", "release", "1")[::2] == (1, "mailrelay: 1 was discarded before\n")
    code, printed, words = said("held", "show", "1")
    assert (code, words) == (0, "note: of 1 only the record is kept\n")
    assert "state        discarded" in printed
    assert said("held", "show", "1", "--raw")[0] == 1
    assert postfix.copies == []


@pytest.mark.parametrize("command", ["show", "release", "discard"])
def test_an_unknown_number_is_1_and_none_is_wrong_usage(
    peopled: Path, said: Said, postfix: type[Postfix], command: str
) -> None:
    assert said("held", command, "99") == (1, "", "mailrelay: there is no held message 99\n")
    assert said("held", command, "x")[0] == 2
    assert said("held", command, "0")[0] == 2


def test_lost_keys_are_named_and_the_list_still_works(peopled: Path, said: Said, told: Callable[..., Any]) -> None:
    (peopled.parent / "secrets" / "storage.key").write_text(secrets.token_hex(32))
    [record] = told("held", "list")
    assert (record["author"], record["rcpt"], record["account"]) == ("", "", "johndoe")
    code, _, words = said("held", "show", "1")
    assert code == 0
    assert words.startswith("note: it was encrypted with key ")
    assert said("held", "show", "1", "--raw")[0] == 65
    (peopled.parent / "secrets" / "storage.key").unlink()
    assert said("held", "list")[0] == 78


def test_trace_tells_where_held_mail_lies(peopled: Path, said: Said, told: Callable[..., Any]) -> None:
    [entry] = told("trace", "a1@alias.example")
    [record] = told("held", "list")
    assert (entry["outcome"], entry["held_id"], entry["held_until"]) == ("held", 1, record["expires_at"])
    assert f"quarantine 1, kept until {record['expires_at']}" in said("trace", "a1@alias.example")[1]
    told("held", "discard", "1")
    [entry] = told("trace", "a1@alias.example")
    assert (entry["outcome"], entry["held_id"], entry["held_until"]) == ("discarded", 1, None)
