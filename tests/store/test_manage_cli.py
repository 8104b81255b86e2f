"""The commands from end to end: arguments in, rows and output out."""

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from argon2 import PasswordHasher

from mailrelay.cli.root import run
from mailrelay.store.migrate import folder, pending

SETTINGS = """
service: {{domain: relay.example, hostname: mx.relay.example, operator: [admin@inbox.example]}}
database: {{dsn: "{dsn}"}}
secrets: {folder}/secrets
dkim: {folder}/dkim
state: {folder}/state
"""

Command = Callable[..., Any]


@pytest.fixture
def settings(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mailrelay.yaml"
    path.write_text(SETTINGS.format(dsn=dsn, folder=tmp_path))
    monkeypatch.setenv("MAILRELAY_CONFIG", str(path))
    return path


@pytest.fixture
def mailrelay(settings: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command with --json and gives its document."""

    def command(*arguments: str) -> Any:
        code = run(["--json", *arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return command


@pytest.fixture
def said(settings: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command; gives its exit code and what it said on either side."""

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def peopled(mailrelay: Command) -> Command:
    """As mailrelay, after what the quick start does."""
    mailrelay("domain", "add", "alias.example", "--shared")
    mailrelay("account", "add", "johndoe", "--recipient", "me@inbox.example", "--verified")
    return mailrelay


def test_migrate_tells_what_it_does_and_has_nothing_to_do_twice(
    empty_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text(SETTINGS.format(dsn=empty_dsn, folder=tmp_path))
    with asyncio.Runner() as runner:
        names = runner.run(pending(empty_dsn, folder()))
    assert run(["-c", str(path), "account", "list"]) == 75
    assert "run `mailrelay migrate`" in capsys.readouterr().err
    assert run(["-c", str(path), "--json", "migrate"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"applied": names}
    assert captured.err.splitlines() == [f"applying {name}" for name in names]
    assert run(["-c", str(path), "migrate"]) == 0
    assert capsys.readouterr().out == "nothing to do\n"


def test_the_quick_start_works_and_its_documents_carry_both_ids(peopled: Command) -> None:
    alias = peopled("alias", "add", "Shop@Alias.Example", "--to", "me@inbox.example")
    assert isinstance(alias["id"], int)
    assert len(alias["uuid"]) == 36
    assert alias["address"] == "shop@alias.example"
    assert alias["account"] == "me@inbox.example"
    assert alias["created_at"].endswith("Z")
    token = peopled("token", "add", "johndoe", "--name", "phone")
    assert len(token["token"]) == 48
    assert (token["account"], token["name"], token["expires_at"]) == ("johndoe", "phone", None)
    key = peopled("api-key", "add", "me@inbox.example", "--expires-days", "9999")
    assert len(key["token"]) == 64
    (listed,) = peopled("api-key", "list", "me@inbox.example")
    assert listed == {name: value for name, value in key.items() if name != "token"}


def test_a_domain_is_added_whatever_the_postfix_that_was_joined_says(
    said: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "joined-nowhere-at-all.json").touch()
    code, records, remarks = said("domain", "add", "alias.example", "--shared")
    assert code == 0
    assert "alias.example. IN MX " in records
    assert "note: /nowhere/at/all/main.cf: cannot be read" in remarks


def test_several_mailboxes_follow_one_option_or_each_their_own(peopled: Command) -> None:
    one = peopled("alias", "add", "a@alias.example", "--to", "x@inbox.example", "y@inbox.example")
    other = peopled("alias", "add", "b@alias.example", "--to", "x@inbox.example", "--to", "y@inbox.example")
    assert one["recipients"] == other["recipients"] == ["x@inbox.example", "y@inbox.example"]
    assert one["account"] == other["account"] == "x@inbox.example"


def test_mailboxes_without_the_option_are_wrong_usage(said: Callable[..., tuple[int, str, str]]) -> None:
    code, _, words = said("alias", "add", "a@alias.example", "x@inbox.example")
    assert code == 2
    assert "--to" in words


def test_a_secret_is_alone_on_standard_output(peopled: Command, said: Callable[..., tuple[int, str, str]]) -> None:
    code, printed, remarks = said("token", "add", "johndoe")
    assert code == 0
    assert len(printed) == 49
    assert "not shown again" in remarks
    assert printed.strip() not in remarks


def test_a_password_comes_from_a_file_and_is_stored_as_argon2id(
    mailrelay: Command, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\nsecond line\n"))
    arguments = ("account", "add", "boss", "--recipient", "boss@inbox.example", "--verified", "--admin")
    account = mailrelay(*arguments, "--password-file", "-")
    assert (account["has_password"], account["is_admin"], account["username"]) == (True, True, "boss")
    (tmp_path / "new").write_text("battery staple\n")
    with psycopg.connect(dsn) as conn:
        query = "select password_hash from account where name = 'boss'"
        (first,) = conn.execute(query).fetchone() or ("",)
        assert first.startswith("$argon2id$")
        assert PasswordHasher().verify(first, "correct horse")
        conn.commit()
        mailrelay("account", "passwd", "boss", "--password-file", str(tmp_path / "new"))
        (second,) = conn.execute(query).fetchone() or ("",)
        assert PasswordHasher().verify(second, "battery staple")


def test_a_short_password_is_65(peopled: Command, said: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "new").write_text("short\n")
    code, _, words = said("account", "passwd", "johndoe", "--password-file", str(tmp_path / "new"))
    assert (code, words) == (65, "mailrelay: a password has 8 to 256 characters\n")


def test_a_name_with_dots_gets_no_username(mailrelay: Command) -> None:
    assert mailrelay("account", "add", "john.doe", "--recipient", "me@inbox.example")["username"] is None


def test_an_account_is_shown_with_what_it_has(peopled: Command) -> None:
    peopled("alias", "add", "a@johndoe.alias.example", "--to", "me@inbox.example")
    shown = peopled("account", "show", "JohnDoe")
    assert shown["name"] == "johndoe"
    assert shown["holdings"] == {
        "recipients": 1,
        "usernames": 1,
        "domains": 0,
        "aliases": 1,
        "handles": 0,
        "tokens": 0,
    }


def test_a_domain_comes_with_keys_and_records(peopled: Command, said: Callable[..., tuple[int, str, str]]) -> None:
    records = peopled("domain", "add", "own.example", "--account", "johndoe", "--catch-all")
    assert {(record["name"], record["type"]) for record in records} == {
        ("own.example", "MX"),
        ("own.example", "TXT"),
        ("mr1._domainkey.own.example", "TXT"),
        ("mr1e._domainkey.own.example", "TXT"),
        ("_dmarc.own.example", "TXT"),
    }
    assert peopled("domain", "keys", "own.example") == records
    shared = peopled("domain", "keys", "alias.example")
    assert "*.alias.example" in {record["name"] for record in shared}
    unsubscribing = [record for record in shared if record["name"] == "unsubscribe.alias.example"]
    assert [(record["type"], record["value"]) for record in unsubscribing] == [
        ("MX", "10 mx.relay.example"),
        ("TXT", "v=spf1 -all"),
    ]
    code, _, words = said("domain", "keys", "nowhere.example")
    assert (code, words) == (1, "mailrelay: there is no domain nowhere.example\n")


def test_a_refused_domain_leaves_no_keys(
    peopled: Command, said: Callable[..., tuple[int, str, str]], settings: Path
) -> None:
    code, printed, words = said("domain", "add", "sub.alias.example", "--account", "johndoe")
    assert (code, printed) == (1, "")
    assert "alias.example is shared" in words
    assert not (settings.parent / "dkim" / "sub.alias.example").exists()
    for name in ("bounces.relay.example", "srs.relay.example"):
        code, _, words = said("domain", "add", name, "--shared")
        assert code == 1
        assert "service itself" in words


def test_lists_are_aligned_text_and_empty_ones_print_nothing(
    peopled: Command, said: Callable[..., tuple[int, str, str]]
) -> None:
    assert said("alias", "list") == (0, "", "")
    assert peopled("alias", "list") == []
    peopled("alias", "add", "shop@alias.example", "--account", "johndoe")
    code, printed, _ = said("alias", "list", "--account", "johndoe")
    assert code == 0
    assert [line.split()[:4] for line in printed.splitlines()] == [
        ["ID", "ADDRESS", "ACCOUNT", "STATE"],
        ["1", "shop@alias.example", "johndoe", "active"],
    ]


def test_an_alias_lives_its_life(peopled: Command, said: Callable[..., tuple[int, str, str]]) -> None:
    address = "shop@alias.example"
    peopled("alias", "add", address, "--to", "me@inbox.example")
    states = [peopled("alias", verb, address)["state"] for verb in ("pause", "resume", "delete", "restore")]
    assert states == ["inactive", "active", "deleted", "active"]
    changed = peopled(
        "alias", "set", address, "--mode", "auto", "--block-behaviour", "defer", "--to", "b@inbox.example"
    )
    assert (changed["forward_mode"], changed["block_behaviour"]) == ("auto", "defer")
    assert changed["recipients"] == ["b@inbox.example"]
    assert peopled("alias", "set", address, "--mode", "default")["forward_mode"] is None
    assert peopled("alias", "forget", address, "--yes") == {"address": address, "state": "reserved"}
    code, _, words = said("alias", "add", address, "--to", "me@inbox.example")
    assert (code, words) == (1, f"mailrelay: {address} is taken: a forgotten alias holds it\n")


def test_what_is_too_long_is_65_by_name(peopled: Command, said: Callable[..., tuple[int, str, str]]) -> None:
    code, _, words = said("alias", "add", "a@alias.example", "--account", "johndoe", "--description", "x" * 201)
    assert (code, words) == (65, "mailrelay: not acceptable: alias_description_length\n")


def test_a_ban_ends_when_it_is_told_to(peopled: Command, said: Callable[..., tuple[int, str, str]]) -> None:
    ban = peopled("ban", "add", "ip", "::ffff:192.0.2.77/120", "--expires", "2099-01-01T00:00:00+01:00")
    assert (ban["value"], ban["expires_at"]) == ("192.0.2.0/24", "2098-12-31T23:00:00Z")
    assert said("ban", "add", "name", "x", "--expires", "2020-01-01T00:00:00Z")[0] == 65
    assert said("ban", "add", "name", "x", "--expires", "2099-01-01")[0] == 2
    assert peopled("ban", "revoke", "192.0.2.0/24", "--reason", "mistake")["revoked_reason"] == "mistake"
    assert peopled("ban", "list") == []
    assert len(peopled("ban", "list", "--all")) == 1


def test_trace_finds_a_message_by_every_name_it_has(
    peopled: Command, said: Callable[..., tuple[int, str, str]], dsn: str
) -> None:
    peopled("alias", "add", "shop@alias.example", "--account", "johndoe")
    number = -81985529216486896  # fedc…: ids use all 64 bits, so half of them are negative in the database
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "insert into outbound (id, account_id, alias_id, destination, email_type, mode, ingress_queue_id,"
            " outbound_queue_id) values (%s, 1, 1, 'me@inbox.example', 'F', 'transparent', 'IN12345', 'OUT6789')",
            (number,),
        )
        conn.execute(
            "insert into ledger (ingress_key, queue_id, message_id, account_id, alias_id, rcpt, sender, client_address,"
            " recipient_id, outbound_id, outcome, mode, size_octets) values (%s, 'IN12345', '<1@shop.example>', 1, 1,"
            " 'shop@alias.example', 'news@shop.example', '192.0.2.7', 1, %s, 'delivered', 'transparent', 4096)",
            (bytes(16), number),
        )
        conn.execute(
            "insert into ledger (ingress_key, rcpt, sender, outcome, reason)"
            " values (%s, 'shop@alias.example', '', 'refused', 'rate')",
            (b"x" * 16,),
        )
    by_queue = peopled("trace", "IN12345")
    assert len(by_queue) == 1
    assert by_queue[0]["return_path"] == "fedcba9876543210"
    assert by_queue[0]["alias_uuid"] is not None
    for name in ("OUT6789", "<1@shop.example>"):
        assert peopled("trace", name) == by_queue
    both = peopled("trace", "Shop@Alias.example")
    assert [entry["reason_text"] for entry in both] == [None, "hourly message limit is reached"]
    assert peopled("trace", "shop@alias.example", "--limit", "1") == both[1:]
    code, printed, _ = said("trace", "shop@alias.example")
    assert code == 0
    assert "<news@shop.example> wrote to shop@alias.example from 192.0.2.7, queue id IN12345" in printed
    assert "handed to Postfix as OUT6789" in printed
    assert "refused: hourly message limit is reached" in printed
    assert said("trace", "nobody@alias.example")[0] == 1


def test_an_owner_s_choices_can_be_seen_and_changed(
    mailrelay: Command, said: Callable[..., tuple[int, str, str]]
) -> None:
    mailrelay("account", "add", "johndoe", "--recipient", "me@inbox.example", "--verified")
    before = mailrelay("account", "set", "johndoe")
    assert (before["leak_policy"], before["list_unsubscribe_behaviour"], before["forward_mode"]) == ("warn", 5, None)
    changed = mailrelay("account", "set", "johndoe", "leak_policy=block", "list_unsubscribe_behaviour=1")
    assert changed == {**before, "leak_policy": "block", "list_unsubscribe_behaviour": 1}
    assert mailrelay("account", "set", "johndoe") == changed
    code, _, words = said("account", "set", "johndoe", "leak_policy=maybe", "colour=red", "use_reply_to=2")
    assert code == 65
    assert "leak_policy is one of warn, block, off" in words and "colour is no setting" in words
    assert "use_reply_to is yes or no" in words
    code, out, _ = said("account", "set", "johndoe", "from_name=", "notify_co_recipients=yes")
    assert code == 0 and "notify_co_recipients=yes\n" in out and "from_name=\n" in out


def test_a_ban_deactivates_what_it_hits_if_that_is_asked_for(
    peopled: Command, said: Callable[..., tuple[int, str, str]], dsn: str
) -> None:
    peopled("alias", "add", "shop@alias.example", "--to", "bad@inbox.example")
    peopled("alias", "add", "other@alias.example", "--to", "me@inbox.example")
    peopled("handle", "add", "club", "--to", "bad@inbox.example")
    ban = peopled("ban", "add", "email", "bad@inbox.example", "--disable-matching", "--reason", "spam")
    assert (ban["disabled_aliases"], ban["disabled_handles"], ban["scope"]) == (1, 1, "both")
    assert said("ban", "add", "ip", "192.0.2.1", "--disable-matching")[0] == 65
    peopled("ban", "revoke", str(ban["id"]))
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select local_part, state from alias union select local_part, state from handle")
        assert sorted(rows) == [("club", "inactive"), ("other", "active"), ("shop", "inactive")]
        audit = connection.execute("select actor, action from audit where action ~ 'ban|deactivate' order by id")
        actions = ["handle.deactivate", "alias.deactivate", "ban.add", "ban.revoke"]
        assert [(actor.partition(":")[0], action) for actor, action in audit] == [("cli", one) for one in actions]
