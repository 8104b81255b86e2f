"""The commands for recipients' keys from end to end, with real keys and the real gate."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pysequoia
import pytest

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent
from mailrelay.wiring import keys as wiring
from tests.store.test_manage_cli import Command, mailrelay, peopled, said, settings

__all__ = ["mailrelay", "peopled", "said", "settings"]  # fixtures

ME = "me@inbox.example"
Said = Callable[..., tuple[int, str, str]]


def made(user_id: str = f"Me <{ME}>") -> pysequoia.Tsk:
    return pysequoia.Tsk.generate(user_id)


def public(key: pysequoia.Tsk) -> bytes:
    return bytes(key.extract_certificate())


def armored(key: pysequoia.Tsk) -> str:
    return str(key.extract_certificate())


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes | str], str]:
    def write(content: bytes | str) -> str:
        path = tmp_path / "key"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What domains publish, by mailbox."""
    known: dict[str, bytes] = {}

    async def fetch(mailbox: Address, /) -> bytes:
        if str(mailbox) not in known:
            raise Absent(f"nothing is published for {mailbox}")
        return known[str(mailbox)]

    monkeypatch.setattr(wiring, "directory", lambda config, resolver: SimpleNamespace(fetch=fetch))
    return known


def test_a_key_is_given_in_armor_or_binary_and_shown(
    peopled: Command, said: Said, file: Callable[[bytes | str], str]
) -> None:
    key = made()
    given = peopled("recipient", "key", ME, file(armored(key)))
    fingerprint = key.extract_certificate().fingerprint.upper()
    assert (given["fingerprint"], given["should_encrypt"], given["key_problem"]) == (fingerprint, True, None)
    assert given["key_user_ids"] == [f"Me <{ME}>"]
    assert given["key_encryption_subkeys"] == 1
    assert peopled("recipient", "key", ME, file(public(key)))["fingerprint"] == fingerprint
    shown = peopled("recipient", "show", ME)
    assert {name: shown[name] for name in given if name not in ("key_checked_at",)} == {
        name: value for name, value in given.items() if name not in ("key_checked_at",)
    }
    [listed] = peopled("recipient", "list")
    assert (listed["fingerprint"], listed["key_expires_at"]) == (fingerprint, None)
    code, text, _ = said("recipient", "list")
    assert code == 0 and fingerprint in text


def test_a_key_from_standard_input_with_other_line_ends(peopled: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    text = armored(made()).replace("\n", "\r\n").encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    assert peopled("recipient", "key", ME, "-")["should_encrypt"] is True


def test_the_end_of_a_key_is_shown(peopled: Command, file: Callable[[bytes | str], str]) -> None:
    key = made()
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=20)
    certificate = key.extract_certificate().set_expiration(end, key.certifier())
    given = peopled("recipient", "key", ME, file(bytes(certificate)))
    assert given["key_expires_at"][:10] == end.isoformat()[:10]


def test_what_is_no_public_key_is_refused_with_the_reason_and_changes_nothing(
    peopled: Command, said: Said, file: Callable[[bytes | str], str], dsn: str
) -> None:
    key = made()
    peopled("recipient", "key", ME, file(public(key)))
    for content, word in (
        (str(key), "secret key"),
        (public(key) + public(made()), "more than one key"),
        (b"junk", "not an OpenPGP public key"),
        (public(key)[:200], "damaged"),
        (bytes(600_000), "too large"),
    ):
        code, printed, words = said("recipient", "key", ME, file(content))
        assert (code, printed, word in words) == (65, "", True), words
    with psycopg.connect(dsn) as conn:
        [(stored, count)] = conn.execute(
            "select fingerprint, (select count(*) from audit where action = 'recipient.key_set') from recipient"
        ).fetchall()
    assert (stored, count) == (key.extract_certificate().fingerprint.upper(), 1)


def test_a_key_of_another_address_is_taken_with_a_remark(
    peopled: Command, said: Said, file: Callable[[bytes | str], str]
) -> None:
    assert peopled("recipient", "list")
    code, _, words = said("recipient", "key", ME, file(public(made("Other <other@inbox.example>"))))
    assert (code, f"no user id of the key is of {ME}" in words) == (0, True)


def test_a_key_is_taken_away_with_what_hangs_on_it(peopled: Command, file: Callable[[bytes | str], str]) -> None:
    peopled("recipient", "key", ME, file(public(made())))
    peopled("recipient", "encryption", ME, "inline")
    for _ in range(2):
        gone = peopled("recipient", "key", ME, "--remove")
        assert (gone["fingerprint"], gone["should_encrypt"], gone["inline_encryption"]) == (None, False, False)
    assert peopled("recipient", "show", ME)["key_problem"] is None


def test_forms_of_encryption(peopled: Command, said: Said, file: Callable[[bytes | str], str]) -> None:
    code, _, words = said("recipient", "encryption", ME, "on")
    assert (code, "You need to add a public key to this recipient" in words) == (1, True)
    peopled("recipient", "key", ME, file(public(made())))
    for form, wanted in (
        ("inline", [True, True, False]),
        ("hide-subject", [True, False, True]),
        ("off", [False, False, True]),
        ("on", [True, False, False]),
    ):
        found = peopled("recipient", "encryption", ME, form)
        assert [found[name] for name in ("should_encrypt", "inline_encryption", "protected_headers")] == wanted
    found = peopled("recipient", "encryption", ME, "--on-failure", "stub", "--never-plaintext")
    assert (found["encryption_failure"], found["never_plaintext"]) == ("stub", True)
    found = peopled("recipient", "encryption", ME, "off", "--on-failure", "default", "--plaintext-allowed")
    assert (found["encryption_failure"], found["never_plaintext"], found["should_encrypt"]) == (None, False, False)
    assert said("recipient", "encryption", ME)[0] == 2


def test_a_refresh_takes_a_longer_life_but_no_other_key(
    peopled: Command, said: Said, file: Callable[[bytes | str], str], published: dict[str, bytes]
) -> None:
    key = made()
    code, _, words = said("recipient", "key", ME, "--refresh")
    assert (code, "has no key that could be refreshed" in words) == (1, True)
    peopled("recipient", "key", ME, file(public(key)))
    code, _, words = said("recipient", "key", ME, "--refresh")
    assert (code, "nothing is published" in words) == (1, True)
    published[ME] = public(made())
    code, _, words = said("recipient", "key", ME, "--refresh")
    assert (code, "a new key has to be given by its owner" in words) == (1, True)
    end = datetime.now(UTC) + timedelta(days=99)
    published[ME] = bytes(key.extract_certificate().set_expiration(end, key.certifier()))
    assert peopled("recipient", "key", ME, "--refresh")["key_expires_at"][:10] == end.isoformat()[:10]
    code, _, words = said("recipient", "key", ME, "--refresh")
    assert (code, "is the one that is there" in words) == (0, True)


def test_one_thing_at_a_time(peopled: Command, said: Said, file: Callable[[bytes | str], str]) -> None:
    path = file(public(made()))
    for arguments in ([], [path, "--remove"], ["--remove", "--refresh"]):
        assert said("recipient", "key", ME, *arguments)[0] == 2
    assert said("recipient", "key", ME, path + "-gone")[0] == 1
    assert json.loads(said("--json", "recipient", "show", ME)[1])["fingerprint"] is None
    assert said("recipient", "key", "nobody@inbox.example", path)[0] == 1


def test_the_account_s_choices_for_failures_can_be_set(peopled: Command) -> None:
    before: Any = peopled("account", "set", "johndoe")
    assert (before["encryption_failure"], before["never_plaintext"]) == ("hold", False)
    after = peopled("account", "set", "johndoe", "encryption_failure=stub", "never_plaintext=yes")
    assert (after["encryption_failure"], after["never_plaintext"]) == ("stub", True)
