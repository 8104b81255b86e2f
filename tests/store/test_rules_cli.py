"""The commands for rules from end to end: arguments in, rows and output out."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailrelay.cli.root import run
from tests.store.test_manage_cli import SETTINGS

Said = Callable[..., tuple[int, str, str]]
Command = Callable[..., Any]

ADD = ("rule", "add", "johndoe", "--name", "no shops", "--when", "sender ends-with @shop.example", "--do", "block")


@pytest.fixture
def said(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command; gives its exit code and what it said on either side."""
    path = tmp_path / "mailrelay.yaml"
    path.write_text(SETTINGS.format(dsn=dsn, folder=tmp_path))
    monkeypatch.setenv("MAILRELAY_CONFIG", str(path))

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def told(said: Said) -> Command:
    """Runs a command with --json and gives its document, after an account was made."""

    def command(*arguments: str) -> Any:
        code, printed, words = said("--json", *arguments)
        assert code == 0, words
        return json.loads(printed)

    command("account", "add", "johndoe", "--recipient", "me@inbox.example", "--verified")
    return command


def test_a_rule_in_words_is_stored_in_the_form_of_the_api(told: Command) -> None:
    record = told(
        *("rule", "add", "JohnDoe", "--name", "shop", "--when", "sender ends-with @shop.example", "--any"),
        *("--when", "subject contains 'Your order' invoice", "--do", "subject [shop] {{subject}}"),
        *("--do", "encryption off", "--do", "forward-to me@inbox.example", "--replies", "--position", "4"),
    )
    recipient = told("recipient", "list", "--account", "johndoe")[0]["uuid"]
    assert len(record.pop("uuid")) == 36
    assert record.pop("created_at") == record.pop("updated_at")
    assert record == {
        "id": 1,
        "account": "johndoe",
        "position": 4,
        "name": "shop",
        "active": True,
        "forwards": False,
        "replies": True,
        "sends": False,
        "operator": "OR",
        "conditions": [
            {"type": "sender", "match": "ends with", "values": ["@shop.example"]},
            {"type": "subject", "match": "contains", "values": ["Your order", "invoice"]},
        ],
        "actions": [
            {"type": "subject", "value": "[shop] {{subject}}"},
            {"type": "encryption", "value": False},
            {"type": "forwardTo", "value": recipient},
        ],
        "faults": [],
        "applied": 0,
        "last_applied": None,
    }


def test_without_more_words_it_is_for_forwards_at_the_front_and_all_conditions_count(told: Command) -> None:
    record = told(*ADD)
    assert (record["forwards"], record["replies"], record["sends"]) == (True, False, False)
    assert (record["position"], record["operator"], record["active"]) == (0, "AND", True)
    assert told(*ADD, "--inactive")["active"] is False


def test_a_rule_is_shown_in_words(told: Command, said: Said) -> None:
    told(*ADD, "--when", "subject is-not 'Your order'", "--do", "remove-attachments")
    code, printed, words = said("rule", "show", "1")
    assert (code, words) == (0, "")
    shown = dict(line.split("  ", 1) for line in printed.splitlines())
    assert shown["conditions"].strip() == 'sender ends-with "@shop.example" and subject is-not "Your order"'
    assert shown["actions"].strip() == "block, remove-attachments"
    assert shown["name"].strip() == "no shops"


def test_what_was_told_in_json_can_be_added_again(
    told: Command, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {
        "id": "a8b2e3f0-0000-4000-8000-000000000000",
        "user_id": "a8b2e3f0-0000-4000-8000-000000000001",
        "name": "from a file",
        "order": 3,
        "conditions": [{"type": "alias", "values": ["a1@alias.example"]}],
        "actions": [{"type": "block", "value": "true"}],
        "operator": "OR",
        "forwards": False,
        "replies": False,
        "sends": False,
        "active": True,
        "applied": 12,
        "last_applied": "2026-01-01 00:00:00",
        "created_at": "2026-01-01 00:00:00",
        "updated_at": "2026-01-01 00:00:00",
    }
    path = tmp_path / "rule.json"
    path.write_text(json.dumps(stored))
    record = told("rule", "add", "johndoe", "--file", str(path), "--inactive")
    assert (record["name"], record["position"], record["operator"]) == ("from a file", 3, "OR")
    assert (record["active"], record["applied"]) == (False, 0)
    assert record["conditions"] == [{"type": "alias", "match": "is exactly", "values": ["a1@alias.example"]}]
    assert record["actions"] == stored["actions"]
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(stored)))
    code, _, words = said("rule", "add", "johndoe", "--file", "-")
    assert code == 0
    assert words == "note: it is for no mail: forwards, replies and sends are all false\n"


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--when", "sender is x", "--do", "block"), 2, "--name or --file is missing"),
        (("--file", "-", "--do", "block"), 2, "--file says everything"),
        (("--file", "/nowhere/rule.json"), 1, "/nowhere/rule.json: cannot be read"),
        (("--file", "-"), 65, "-: no JSON"),
        (("--name", "r"), 65, "conditions: "),
        (("--name", "r", "--when", "sender looks-like x", "--do", "block"), 65, "'sender looks-like x': no condition"),
        (("--name", "r", "--when", "weather is fine", "--do", "block"), 65, "conditions.0.type: "),
        (("--name", "r", "--when", "sender is x", "--do", "dance"), 65, "actions.0.type: "),
        (
            ("--name", "r", "--when", "sender is x", "--do", "forward-to she@inbox.example"),
            1,
            "she@inbox.example is no",
        ),
        (("--name", "r", "--when", "subject matches-regex ok ab(?=c)", "--do", "block"), 65, "conditions.0.values.1: "),
    ],
)
def test_what_is_wrong_is_named_and_not_stored(
    told: Command,
    said: Said,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    complaint: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("{"))
    found, printed, words = said("rule", "add", "johndoe", *arguments)
    assert (found, printed) == (code, "")
    assert complaint in words
    assert told("rule", "list") == []


def test_a_pattern_that_is_refused_is_named_with_its_place(told: Command, said: Said) -> None:
    words = said("rule", "add", "johndoe", "--name", "r", "--when", "subject matches-regex ab(?=c)", "--do", "block")[2]
    assert words.endswith(", behind 2 characters\n")


def test_the_list_is_in_the_order_of_evaluation(told: Command, said: Said) -> None:
    told("account", "add", "other", "--recipient", "you@inbox.example", "--verified")
    for name, account in (("one", "johndoe"), ("two", "johndoe"), ("three", "johndoe"), ("another's", "other")):
        told("rule", "add", account, "--name", name, "--when", "alias contains x", "--do", "block")
    reordered = told("rule", "reorder", "johndoe", "3", "1", "2")
    assert [(record["name"], record["position"]) for record in reordered] == [("three", 0), ("one", 1), ("two", 2)]
    assert told("rule", "list", "JohnDoe") == reordered
    code, printed, _ = said("rule", "list")
    assert code == 0
    assert [line.split()[:5] for line in printed.splitlines()] == [
        ["ID", "ACCOUNT", "POSITION", "NAME", "ACTIVE"],
        ["3", "johndoe", "0", "three", "yes"],
        ["1", "johndoe", "1", "one", "yes"],
        ["2", "johndoe", "2", "two", "yes"],
        ["4", "other", "0", "another's", "yes"],
    ]
    assert said("rule", "reorder", "johndoe", "1", "4")[::2] == (1, "mailrelay: the account has no rule 4\n")
    assert said("rule", "reorder", "johndoe", "1", "1")[0] == 65
    assert said("rule", "reorder", "johndoe")[0] == 2


def test_a_rule_is_switched_off_and_on_and_removed(told: Command, said: Said) -> None:
    uuid = told(*ADD)["uuid"]
    assert told("rule", "disable", "1")["active"] is False
    assert told("rule", "enable", uuid)["active"] is True
    assert told("rule", "remove", "1")["name"] == "no shops"
    for verb in ("show", "enable", "disable", "remove"):
        assert said("rule", verb, "1")[::2] == (1, "mailrelay: there is no rule 1\n")


def test_a_rule_that_cannot_be_understood_is_shown_with_what_is_wrong(told: Command, said: Said, dsn: str) -> None:
    told(*ADD)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("""update rule set conditions = '[{"type": "weather", "match": "is", "values": [1]}]'""")
    [record] = told("rule", "list")
    [fault] = record["faults"]
    assert "weather" in fault
    assert fault in said("rule", "list")[1]
    shown = said("rule", "show", "1")[1]
    assert fault in shown
    assert '{"type": "weather", "match": "is", "values": [1]}' in shown


def test_names_do_no_harm_to_the_terminal(told: Command, said: Said, dsn: str) -> None:
    told(*ADD)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("""update rule set name = e'\\x1b[2J', actions = '[{"type": "subject", "value": "\\u001b[2J"}]'""")
    for arguments in (("rule", "list"), ("rule", "show", "1")):
        assert "\x1b" not in said(*arguments)[1]


# --- tried before they are switched on -------------------------------------------------------------------------------

WISH = {
    "name": "parcels",
    "conditions": [
        {"type": "sender", "match": "ends with", "values": ["@shop.example"]},
        {"type": "alias_description", "match": "contains", "values": ["shopping"]},
    ],
    "actions": [{"type": "quarantine", "value": True}],
    "forwards": True,
}
MESSAGE = "From: News <News@shop.example>\nSubject: Your order\n\nThank you.\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A rule and a message."""
    rule, message = tmp_path / "rule.json", tmp_path / "message.eml"
    rule.write_text(json.dumps(WISH))
    message.write_text(MESSAGE)
    return str(rule), str(message)


def counters(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as conn:
        return conn.execute("select id, applied, last_applied, updated_at from rule order by id").fetchall()


def test_a_rule_is_tried_on_a_message(told: Command, said: Said, dsn: str, files: tuple[str, str]) -> None:
    told(*ADD, "--when", "subject matches-regex '(?i)parcel'", "--inactive")
    before = counters(dsn)
    found = told("rule", "try", "1", files[1])
    assert found == {
        "rule": "no shops",
        "flow": "F",
        "matches": False,
        "conditions": [
            {"condition": 'sender ends-with "@shop.example"', "holds": True},
            {"condition": 'subject matches-regex "(?i)parcel"', "holds": False},
        ],
        "effects": ["the message is blocked"],
        "faults": [],
    }
    code, printed, words = said("rule", "try", "1", files[1])
    assert (code, words) == (0, "")
    assert [line.split("  ", 1)[1].strip() for line in printed.splitlines()] == [
        "no shops",
        "forwarded mail",
        'holds: sender ends-with "@shop.example"',
        'does not hold: subject matches-regex "(?i)parcel"',
        "no",
        "the message is blocked",
    ]
    assert counters(dsn) == before


def test_a_rule_in_a_file_is_tried_and_not_stored(told: Command, said: Said, files: tuple[str, str]) -> None:
    rule, message = files
    told("domain", "add", "alias.example", "--shared")
    told("alias", "add", "shop@alias.example", "--account", "johndoe", "--description", "for shopping")
    asked = ("rule", "try", "--file", rule, "--account", "JohnDoe", message)
    assert [one["holds"] for one in told(*asked)["conditions"]] == [True, None]
    assert told(*asked)["matches"] is None
    assert "matches      not known\n" in said(*asked)[1]
    assert told(*asked, "--to", "shop+tag@alias.example")["matches"] is True
    assert told(*asked, "--to", "other@alias.example")["matches"] is False
    assert told("rule", "list") == []


def test_a_rule_is_replayed_on_past_mail(told: Command, said: Said, dsn: str, files: tuple[str, str]) -> None:
    told(*ADD)
    told(*ADD[:-4], "--when", "subject contains x", "--when", "sender contains shop", "--do", "block")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "insert into ledger (ingress_key, account_id, rcpt, sender, outcome, fingerprint)"
            " select decode(lpad(n::text, 32, '0'), 'hex'), 1, 'shop@alias.example', 'n' || n || '@shop.example',"
            " 'delivered', 7 from generate_series(1, 12) n"
        )
    before = counters(dsn)
    found = told("rule", "replay", "1")
    assert [one["sender"] for one in found["examples"]] == [f"n{number}@shop.example" for number in range(12, 2, -1)]
    assert (found["messages"], found["matching"], found["undecided"], found["complete"]) == (12, 12, 0, True)
    code, printed, words = said("rule", "replay", "1")
    assert (code, words) == (0, "note: the ledger has senders of envelopes, who need not be the authors\n")
    assert printed.count("shop@alias.example") == 10
    found = told("rule", "replay", "2")
    assert (found["matching"], found["undecided"], found["unknown"]) == (0, 12, ["subject"])
    assert "what depends on them is undecided" in said("rule", "replay", "2")[2]
    found = told("rule", "replay", "--file", files[0], "--account", "johndoe")
    assert (found["rule"], found["matching"], found["near"]) == ("parcels", 0, ["alias_description", "sender"])
    assert counters(dsn) == before


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("try", "{message}"), 2, "the ID of a rule, or a --file"),
        (("try", "1", "--file", "{rule}", "--account", "johndoe", "{message}"), 2, "the ID of a rule, or a --file"),
        (("try", "1", "2", "{message}"), 2, "one rule and one message"),
        (("try", "--file", "{rule}", "{message}"), 2, "--account goes with --file"),
        (("try", "1", "--account", "johndoe", "{message}"), 2, "--account goes with --file"),
        (("try", "--file", "-", "--account", "johndoe", "-"), 2, "standard input is either"),
        (("try", "1", "/nowhere/message.eml"), 1, "/nowhere/message.eml: cannot be read"),
        (("try", "1", "{message}"), 1, "there is no rule 1"),
        (("replay",), 2, "the ID of a rule, or a --file"),
        (("replay", "1"), 1, "there is no rule 1"),
        (("replay", "--file", "{message}", "--account", "johndoe"), 65, "no JSON"),
        (("replay", "--file", "{rule}", "--account", "nobody"), 1, "there is no account nobody"),
    ],
)
def test_what_cannot_be_tried_is_said(
    told: Command, said: Said, files: tuple[str, str], arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    rule, message = files
    found, printed, words = said("rule", *(word.format(rule=rule, message=message) for word in arguments))
    assert (found, printed) == (code, "")
    assert complaint in words


def test_what_is_not_understood_of_a_rule_that_is_tried_is_said(
    told: Command, said: Said, dsn: str, files: tuple[str, str]
) -> None:
    told(*ADD)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("""update rule set actions = '[{"type": "dance", "value": 1}]', forwards = false""")
    remarks = "note: it is for no mail: forwards, replies and sends are all false\n" + (
        "note: not understood: action 1: unknown type 'dance'\n"
    )
    code, printed, words = said("rule", "try", "1", files[1])
    assert (code, words) == (0, remarks)
    assert printed.endswith("nothing is done\n")
