"""Every golden case: what comes in, what is known, what goes out, octet for octet."""

import dkim as dkimpy
import pytest

from mailrelay.core import verp
from mailrelay.core.dkim import public_record
from mailrelay.core.screen import day_number
from mailrelay.signing import DkimKeys
from tests.golden.cases import KEYS, Case, cases, run
from tests.unit.fakes import NOW
from tests.unit.office import KEY

CASES = cases()
NAMES = [case.folder.name for case in CASES]
SENT = [case for case in CASES if case.facts["outcome"] == "delivered"]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_message_leaves_as_it_is_written_down(case: Case) -> None:
    facts, result = case.facts, run(case)
    assert result.reply == facts["reply"]
    assert [(row["outcome"], row["reason"]) for row in result.entries] == (
        [(facts["outcome"], facts["reason"])] if facts["outcome"] else []
    )
    assert result.out == case.expected


@pytest.mark.parametrize("case", SENT, ids=[case.folder.name for case in SENT])
def test_the_envelope_of_a_copy(case: Case) -> None:
    [copy] = run(case).copies
    assert copy.rcpt == "real@inbox.example"
    assert copy.envelope_id == "0123456789abcdef"
    assert copy.eight_bit is not case.expected.isascii()
    assert copy.smtputf8 is case.facts["smtputf8"]
    local, _, domain = copy.sender.partition("@")
    path = verp.VerpId(verp.EmailType.FORWARD, 0x0123456789ABCDEF, day_number(NOW))
    assert verp.decode(local, domain, (KEY,), day_number(NOW)) == path
    assert domain == ("alias.example" if case.folder.name in REWRITTEN else "bounces.relay.example")


# These lose fields, or get an empty line before their body, or have a line above our fields.
CHANGED = {"traces-removed", "forged-own-fields", "blank-before-colon"}
CHANGED |= {"no-separator", "mbox-line"}
# And these are rewritten, though untouched copies were asked for.
REWRITTEN = {"body-only", "duplicate-fields", "empty", "garbage-header"}
UNCHANGED = [case for case in SENT if case.folder.name not in CHANGED | REWRITTEN]


@pytest.mark.parametrize("case", UNCHANGED, ids=[case.folder.name for case in UNCHANGED])
def test_below_our_fields_not_one_octet_differs(case: Case) -> None:
    assert case.expected.endswith(b"\r\nX-Forwarded-For: %b real@inbox.example\r\n%b" % _added_to(case))


def _added_to(case: Case) -> tuple[bytes, bytes]:
    """The recipient, and what follows our last field."""
    automatic = (
        b"" if case.facts["sender"] or b"Auto-Submitted" in case.message else b"Auto-Submitted: auto-replied\r\n"
    )
    return case.facts["rcpt"].lower().encode(), automatic + case.message


READABLE = [case for case in SENT if case.folder.name != "blank-before-colon"]


@pytest.mark.parametrize("case", READABLE, ids=[case.folder.name for case in READABLE])
def test_both_signatures_verify_by_another_implementation(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    content = case.expected
    if case.folder.name == "mbox-line":
        content = content.partition(b"\r\n")[2]  # Postfix takes that line off
    monkeypatch.setattr("dkim.time.time", NOW.timestamp)
    records = {
        f"{key.selector}._domainkey.{key.domain}.".encode(): public_record(key).encode()
        for domain in ("relay.example", "alias.example")
        for key in DkimKeys(KEYS)(domain)
    }

    def answer(name: bytes, timeout: int = 5) -> bytes:
        return records[name]

    assert [bool(dkimpy.DKIM(content).verify(index, dnsfunc=answer)) for index in (0, 1)] == [True, True]


def test_every_case_says_why() -> None:
    assert len(CASES) >= 15
    for case in CASES:
        assert {path.name for path in case.folder.iterdir()} == {"in.eml", "facts.json", "out.eml", "why.md"}
        assert len((case.folder / "why.md").read_text()) > 40, case.folder.name
