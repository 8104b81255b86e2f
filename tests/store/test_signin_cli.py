"""Second factors and the end of accounts, by command."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from mailrelay.core import totp
from mailrelay.core.sealed import unseal, vault
from mailrelay.keyring import read_secret
from mailrelay.wiring.runtime import utc_now
from tests.store.test_manage_cli import Command, mailrelay, peopled, said, settings

__all__ = ["mailrelay", "peopled", "said", "settings"]  # fixtures

Said = Callable[..., tuple[int, str, str]]
URI = re.compile(
    r"otpauth://totp/relay\.example:johndoe\?secret=([A-Z2-7]{32})&issuer=relay\.example&digits=6&period=30"
)


class Phone(io.StringIO):
    """Types the code of the secret that it has been shown, when somebody reads."""

    def __init__(self, capsys: pytest.CaptureFixture[str], wrong: bool = False) -> None:
        super().__init__()
        self.capsys, self.wrong, self.secret = capsys, wrong, b""

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        import base64

        found = URI.search(self.capsys.readouterr().err)
        assert found is not None
        self.secret = base64.b32decode(found[1])
        code = totp.code(self.secret, totp.step_at(utc_now().timestamp()) + (100 if self.wrong else 0))
        return f"{code[:3]} {code[3:]}\n"


@pytest.fixture
def with_password(peopled: Command, mailrelay: Command, tmp_path: Path) -> Command:
    mailrelay("secrets", "init")
    (tmp_path / "password").write_text("correct horse\n")
    mailrelay("account", "passwd", "johndoe", "--password-file", str(tmp_path / "password"))
    return mailrelay


@pytest.mark.usefixtures("with_password")
def test_a_code_proves_the_second_factor(
    said: Said, mailrelay: Command, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    phone = Phone(capsys)
    monkeypatch.setattr("sys.stdin", phone)
    code, out, _ = said("account", "totp", "JohnDoe")
    assert (code, bool(out)) == (0, True)
    with psycopg.connect(dsn) as conn:
        row = conn.execute("select uuid, totp_secret, totp_last_step from account where name = 'johndoe'").fetchone()
    assert row is not None
    uuid, sealed, step = row
    assert unseal(vault(read_secret(tmp_path / "secrets", "storage.key")), totp.place(uuid), sealed) == phone.secret
    assert abs(step - totp.step_at(utc_now().timestamp())) <= 1
    assert mailrelay("account", "show", "johndoe")["has_second_factor"]
    assert not mailrelay("account", "totp", "johndoe", "--disable")["has_second_factor"]


@pytest.mark.usefixtures("with_password")
def test_a_wrong_code_changes_nothing(
    said: Said, mailrelay: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Phone(capsys, wrong=True))
    code, _, err = said("account", "totp", "johndoe")
    assert (code, "not the code" in err) == (65, True)
    assert not mailrelay("account", "show", "johndoe")["has_second_factor"]


@pytest.mark.usefixtures("peopled")
def test_without_a_password_there_is_no_second_one(said: Said, mailrelay: Command) -> None:
    mailrelay("secrets", "init")
    code, _, err = said("account", "totp", "johndoe")
    assert (code, "no password" in err) == (1, True)


@pytest.mark.usefixtures("peopled")
def test_an_account_is_deleted_after_a_question(
    said: Said, mailrelay: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert said("account", "delete", "johndoe")[0] == 130
    assert mailrelay("account", "show", "johndoe")["state"] == "active"
    assert mailrelay("account", "delete", "johndoe", "--yes", "--reason", "moved")["state"] == "deleting"
    assert said("account", "delete", "johndoe", "--yes")[0] == 1
