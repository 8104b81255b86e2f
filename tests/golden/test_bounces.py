"""What came to a return path, in the formats of many mail systems, and everything that is read out of it.

Each of tests/data/bounces/*.eml was written by hand after what such a system sends; expected.json says what it means.
`returned` is "whole" or "header" for the message copy.eml that came back, or what else did.
"""

import ipaddress
import json
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mailrelay.core.bounce import Arrival, BounceType, Complained, Failed, News, Returned
from mailrelay.wire.arrival import read
from mailrelay.wire.parts import opened

FOLDER = Path(__file__).parents[1] / "data" / "bounces"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
COPY = (FOLDER / "copy.eml").read_bytes()
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9]*.eml"))


@cache
def content(name: str) -> bytes:
    return (FOLDER / f"{name}.eml").read_bytes()


def arrival(name: str) -> Arrival:
    [full] = [known for known in NAMES if known.startswith(name)]
    return read(content(full), EXPECTED[full]["sender"])


def text(octets: bytes) -> str:
    return octets.replace(b"\r\n", b"\n").decode()


def told(back: Returned | None) -> object:
    """What came back, as expected.json has it. Empty lines at the end belong to reports as much as to messages."""
    if back is None:
        return None
    if text(back.header) != text(opened(COPY).message.content[: opened(COPY).message.header_end]):
        return {"header": text(back.header), "content": text(back.content).rstrip("\n") if back.content else None}
    if back.content is None:
        return "header"
    assert text(back.content).rstrip("\n") == text(COPY).rstrip("\n")
    return "whole"


def described(found: Arrival, sender: str) -> dict[str, Any]:
    """A whole value, as expected.json has it."""
    value: dict[str, Any] = {"sender": sender, "arrival": type(found).__name__}
    if isinstance(found, Failed):
        value["failures"] = [asdict(failure) for failure in found.failures]
        value["returned"] = told(found.returned)
    if isinstance(found, Complained):
        header = text(found.complaint.header)
        whole = asdict(found.complaint) | {"header": "copy.eml" if header and text(COPY).startswith(header) else header}
        value["complaint"] = json.loads(json.dumps(whole))
    return value


def test_every_sample_has_its_meaning() -> None:
    assert sorted(EXPECTED) == NAMES
    assert len([name for name in NAMES if EXPECTED[name]["arrival"] == "Failed"]) >= 60


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_understood(name: str) -> None:
    sender = EXPECTED[name]["sender"]
    assert described(read(content(name), sender), sender) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_understood_with_bare_line_feeds(name: str) -> None:
    sender = EXPECTED[name]["sender"]
    found = read(content(name).replace(b"\r\n", b"\n"), sender)
    assert described(found, sender) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_can_be_stored(name: str) -> None:
    found = arrival(name)
    for failure in found.failures if isinstance(found, Failed) else ():
        for value in (failure.status, failure.code, failure.remote_mta, failure.recipient):
            assert value.isprintable()
            assert len(value.encode()) <= 8000


@pytest.mark.parametrize("name", NAMES)
def test_samples_name_nobody_real(name: str) -> None:
    octets = content(name).decode("latin-1")
    for domain in re.findall(r"@((?:[\w-]+\.)+[a-z]{2,})", octets):
        assert domain.endswith(".example")
    for quad in re.findall(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])", octets):
        assert ipaddress.ip_address(quad) in ipaddress.ip_network("192.0.2.0/24")


# -- Rows of section 12.6 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["003", "018", "028", "037", "042", "052"])
def test_row_161_a_delay_is_no_failure(name: str) -> None:
    assert arrival(name) == News()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("105", BounceType.SOFT, id="162"),
        pytest.param("108", BounceType.SPAM, id="163-spam"),
        pytest.param("106", BounceType.HARD, id="163-transaction-failed"),
        pytest.param("107", BounceType.SOFT, id="164"),
    ],
)
def test_rows_162_to_164_failures_are_classified(name: str, kind: BounceType) -> None:
    found = arrival(name)
    assert isinstance(found, Failed)
    assert [failure.type for failure in found.failures] == [kind]


def test_row_165_a_bounce_without_a_part_for_machines_is_read_from_its_text() -> None:
    found = arrival("022")
    assert isinstance(found, Failed)
    [failure] = found.failures
    assert (failure.status, failure.recipient, failure.type) == ("5.1.1", "real@inbox.example", BounceType.HARD)
    assert failure.code.startswith("550 5.1.1")
