"""Every golden case of a resend, octet for octet; see tests/golden/resent.py."""

import pytest

from mailrelay.core.dkim import public_record
from mailrelay.core.dkimverify import Content, signatures, verify
from mailrelay.core.header import split
from mailrelay.core.lookup import Answer
from mailrelay.signing import DkimKeys
from tests.golden.cases import KEYS
from tests.golden.resent import Case, cases, out, run

CASES = cases()
each = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def test_there_are_cases() -> None:
    assert len(CASES) >= 6


@each
def test_the_message_is_resent_as_it_is_written_down(case: Case) -> None:
    assert out(case) == case.expected


@each
def test_a_resent_copy_goes_to_the_recipient_and_is_signed(case: Case) -> None:
    [copy] = run(case)
    assert copy.rcpt == "real@inbox.example"
    assert not copy.return_full
    message = split(b"".join(copy.content))
    assert message.values(b"x-mailrelay-resend") == [b"Yes"]
    keys = [key for name in ("relay.example", "alias.example") for key in DkimKeys(KEYS)(name)]
    records = {f"{key.selector}._domainkey.{key.domain}": Answer((public_record(key).encode(),)) for key in keys}
    ours = [one for one in signatures(message) if one.key_name in records]
    assert ours
    content = Content(message)
    now = int(case.now.timestamp()) + 3600
    assert {verify(one, records, content, now).result for one in ours} == {"pass"}


@each
def test_a_resend_adds_no_banner(case: Case) -> None:
    stored = (case.folder / "stored.eml").read_bytes()
    assert case.expected.count(b"<!--mr-banner-->") == stored.count(b"<!--mr-banner-->")
