"""The lists of reserved names, ours and an operator's."""

import re
from pathlib import Path

import pytest

from mailrelay import reserved
from mailrelay.core.errors import BadConfig
from mailrelay.core.naming import RESERVED_USERNAMES, is_role
from mailrelay.core.screen import OPERATOR_NAMES


def test_ours_has_what_readers_would_take_for_the_service() -> None:
    names = reserved.usernames()
    assert {"admin", "api", "mail", "postmaster", "www", "support", "abuse", "autodiscover", "billing"} <= names
    assert len(names) >= 540
    assert {"john", "janedoe", "shopping"}.isdisjoint(names)


def test_ours_are_names_that_could_be_taken() -> None:
    assert [name for name in reserved.usernames() if re.fullmatch("[a-z0-9]{1,20}", name) is None] == []


def test_ours_has_what_is_reserved_from_everybody() -> None:
    plain = {name for name in RESERVED_USERNAMES if name.isalnum() and len(name) <= 20}
    assert plain - reserved.usernames() == set()


def test_an_operators_list_takes_the_place_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("# ours\nHelpdesk  root # and others\n\nfirma\n")
    assert reserved.usernames(path) == {"helpdesk", "root", "firma"}


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "names"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadConfig, match="names: "):
        reserved.usernames(path)


# Those of the specification (9.2), and those that certificate authorities use or used.
_NEVER = """
    mail nomail postmaster hostmaster webmaster abuse admin administrator root security noc info support noreply
    no-reply mailer-daemon bounce usenet uucp ftp www ssladmin sslwebmaster ssladministrator is it mis sysadmin
"""


@pytest.mark.parametrize("local", [*_NEVER.split(), *sorted(OPERATOR_NAMES), "no_reply", "post.master", "web-master"])
def test_roles_are_nobodys_address(local: str) -> None:
    assert is_role(local, reserved.local_parts())


@pytest.mark.parametrize("local", ["john", "sales", "shop", "news", "github", "admin1", "my.mail", "info2026", "..."])
def test_other_names_may_be_taken(local: str) -> None:
    assert not is_role(local, reserved.local_parts())


def test_roles_are_spelt_as_they_are_compared() -> None:
    assert [name for name in reserved.local_parts() if re.fullmatch("[a-z0-9]+", name) is None] == []
