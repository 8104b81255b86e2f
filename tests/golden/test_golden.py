"""Every golden case: what comes in, what is known, what goes out, octet for octet.

Names of cases begin with the row of spec section 12 they are for, where there is one.
"""

import re
from functools import cache

import dkim as dkimpy
import pytest

from mailrelay.core import dkim, verp
from mailrelay.core.header import Message, split
from mailrelay.core.screen import day_number
from mailrelay.signing import DkimKeys
from tests.golden.cases import KEYS, Case, Result, cases, run
from tests.unit.office import KEY

CASES = cases()
NAMES = [case.name for case in CASES]
SENT = [case for case in CASES if case.facts["outcome"] == "delivered"]
REWRITTEN = [case for case in SENT if case.is_rewritten]
# Their topmost line is none that dkimpy takes for a field.
ODD = {"blank-before-colon"}

each = pytest.mark.parametrize("case", CASES, ids=NAMES)
each_sent = pytest.mark.parametrize("case", SENT, ids=[case.name for case in SENT])


@cache
def result(case: Case) -> Result:
    return run(case)


@each
def test_the_message_leaves_as_it_is_written_down(case: Case) -> None:
    facts, done = case.facts, result(case)
    assert done.reply == facts["reply"]
    entries = [(row["outcome"], row["reason"]) for row in done.entries]
    assert entries == [(facts["outcome"], facts["reason"])] * max(1, len(facts["to"]))
    assert done.out == case.expected


@each_sent
def test_the_envelope_of_a_copy(case: Case) -> None:
    facts, copies = case.facts, result(case).copies
    assert [copy.rcpt for copy in copies] == facts["to"]
    for number, copy in enumerate(copies):
        outbound_id = 0x0123456789ABCDEF + number
        assert copy.envelope_id == f"{outbound_id:016x}"
        assert copy.eight_bit is not b"".join(copy.content).isascii()
        assert copy.smtputf8 is (facts["smtputf8"] and not case.is_rewritten)
        local, _, domain = copy.sender.partition("@")
        path = verp.VerpId(verp.EmailType.FORWARD, outbound_id, day_number(case.now))
        assert verp.decode(local, domain, (KEY,), day_number(case.now)) == path
        assert domain == _sending_domain(case)


def _sending_domain(case: Case) -> str:
    if not case.is_rewritten:
        return "bounces.relay.example"
    domain: str = case.facts["rcpt"].lower().rpartition("@")[2]
    return "relay.example" if domain == "unsent.example" else domain


# These lose fields, or get an empty line before their body, or have a line above our fields.
CHANGED = {"traces-removed", "forged-own-fields", "blank-before-colon"}
CHANGED |= {"no-separator", "mbox-line"}
UNCHANGED = [case for case in SENT if not case.is_rewritten and case.name not in CHANGED]


@pytest.mark.parametrize("case", UNCHANGED, ids=[case.name for case in UNCHANGED])
def test_below_our_fields_not_one_octet_differs(case: Case) -> None:
    _, found, rest = case.expected.partition(b"X-Forwarded-For: ")
    assert found
    rcpt = case.facts["rcpt"].lower().encode()
    automatic = (
        b"" if case.facts["sender"] or b"Auto-Submitted" in case.message else b"Auto-Submitted: auto-replied\r\n"
    )
    rest = rest.removeprefix(b"%b real@inbox.example\r\n%b" % (rcpt, automatic))
    if case.facts["ingress"] is not None and b"Authentication-Results: mx.relay.example" not in case.message:
        rest = re.sub(rb"^Authentication-Results: mx\..*\r\n(?:\t.*\r\n)*", b"", rest, count=1, flags=re.MULTILINE)
    assert rest == case.message


def test_what_is_rewritten_says_why_unless_it_was_asked_for() -> None:
    for case in SENT:
        for content in result(case).contents:
            mode = split(content).first(b"x-mailrelay-mode") or b""
            rewritten = mode.startswith(b"rewrite")
            assert rewritten is case.is_rewritten
            assert mode.startswith(b"rewrite; reason=") is (rewritten and case.facts["forward_mode"] != "rewrite")


# -- Signatures ----------------------------------------------------------------------------------------------------

RECORDS = {
    f"{key.selector}._domainkey.{key.domain}.".encode(): dkim.public_record(key).encode()
    for folder in KEYS.iterdir()
    if folder.is_dir()
    for key in DkimKeys(KEYS)(folder.name)
}


def answer(name: bytes, timeout: int = 5) -> bytes:
    """The DNS of the golden cases."""
    return RECORDS[name]


def signed_content(case: Case, content: bytes) -> bytes:
    # Postfix takes that line off.
    return content.partition(b"\r\n")[2] if case.name == "mbox-line" else content


READABLE = [case for case in SENT if case.name not in ODD]


@pytest.mark.parametrize("case", READABLE, ids=[case.name for case in READABLE])
def test_both_signatures_verify_by_another_implementation(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """12.3-88, 12.3-94, 12.7-198"""
    monkeypatch.setattr("dkim.time.time", case.now.timestamp)
    for content in result(case).contents:
        signer = dkimpy.DKIM(signed_content(case, content))
        assert [bool(signer.verify(index, dnsfunc=answer)) for index in (0, 1)] == [True, True]


@pytest.mark.parametrize("case", READABLE, ids=[case.name for case in READABLE])
def test_whoever_adds_a_field_that_mail_programs_show_breaks_both(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """12.7-198"""
    monkeypatch.setattr("dkim.time.time", case.now.timestamp)
    for content in result(case).contents:
        for name in (b"Subject", b"From", b"Reply-To", b"List-Unsubscribe"):
            signer = dkimpy.DKIM(b"%b: x@x.example\r\n%b" % (name, signed_content(case, content)))
            assert [bool(signer.verify(index, dnsfunc=answer)) for index in (0, 1)] == [False, False]


def test_the_senders_signature_survives_an_untouched_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """12.3-88"""
    found = 0
    for case in READABLE:
        verifier = dkimpy.DKIM(case.expected)
        for index, (_, raw) in enumerate(s for s in verifier.headers if s[0].lower() == b"dkim-signature"):
            if b"d=shop.example; s=k1;\r\n\tt=" in raw:  # a real one
                monkeypatch.setattr("dkim.time.time", case.now.timestamp)
                assert verifier.verify(index, dnsfunc=answer)
                found += 1
    assert found >= 3


SEALED = [case for case in SENT if case.expected.startswith(b"ARC-Seal: i=1;")]


@pytest.mark.parametrize("case", SEALED, ids=[case.name for case in SEALED])
def test_the_seal_verifies_by_another_implementation(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """12.3-88"""
    monkeypatch.setattr("dkim.time.time", case.now.timestamp)
    result, sets, reason = dkimpy.ARC(case.expected).verify(dnsfunc=answer)
    assert (result, len(sets), reason) == (b"pass", 1, "success")


def test_untouched_copies_of_examined_mail_are_sealed() -> None:
    assert {case.name for case in SEALED} >= {"88-transparent-signed", "worked-example-transparent", "193-arc-always"}


@pytest.mark.parametrize("case", REWRITTEN, ids=[case.name for case in REWRITTEN])
def test_a_rewritten_copy_signs_what_it_has_and_keeps_no_signature_of_others(case: Case) -> None:
    """12.3-95"""
    for content in result(case).contents:
        message = split(content)
        assert message.count(b"dkim-signature") == 2
        for field in message.fields:
            if field.name == b"dkim-signature":
                assert _signed(field.raw) >= _oversigned(message)


def _signed(raw: bytes) -> frozenset[tuple[bytes, int]]:
    found = re.search(rb"h=([^;]*);", raw)
    assert found is not None
    names = re.sub(rb"\s", b"", found[1]).split(b":")
    return frozenset((name, names.count(name)) for name in names)


_OVERSIGNED = (
    b"from reply-to subject date to cc message-id in-reply-to references mime-version content-type "
    b"content-transfer-encoding sender list-unsubscribe list-unsubscribe-post feedback-id auto-submitted"
).split()
_SIGNED = b"list-id list-help list-post list-owner list-archive list-subscribe content-id content-description".split()


def _oversigned(message: Message) -> frozenset[tuple[bytes, int]]:
    """What spec section 11.6 demands of h=."""
    oversigned = {(name, message.count(name) + 1) for name in _OVERSIGNED}
    return frozenset(oversigned | {(name, message.count(name)) for name in _SIGNED if message.count(name)})


# -- The corpus ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", REWRITTEN, ids=[case.name for case in REWRITTEN])
def test_a_rewritten_copy_fits_into_what_every_host_takes(case: Case) -> None:
    """12.3-62, 12.3-94, 12.2-59"""
    for content in result(case).contents:
        message = split(content)
        header = content[: message.header_end]
        assert header.isascii()
        assert max(map(len, header.split(b"\r\n"))) <= 998
        assert max(map(len, message.body.split(b"\r\n"))) <= 990
        assert not set(content.replace(b"\r\n", b"")) & set(b"\0\r\n")


def test_every_case_says_why() -> None:
    assert len(CASES) >= 100
    for case in CASES:
        assert {path.name for path in case.folder.iterdir()} == {"in.eml", "facts.json", "out.eml", "why.md"}
        why = (case.folder / "why.md").read_text()
        assert len(why) > 40, case.name
        row = re.match(r"\d+a?-", case.name)
        assert row is None or "spec" in why, case.name
