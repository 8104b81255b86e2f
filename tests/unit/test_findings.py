"""Questions that modes and decisions ask of the findings (spec sections 3.2, 4.2, 11.3)."""

from dataclasses import replace

import pytest

from mailrelay.core.findings import Arc, Dkim, Dmarc, Findings, Result, Sealer, Spf

NOW = 1767690002
DAY = 86400
GOOD = Dkim("pass", "shop.example", aligned=True)
REJECT = Dmarc("pass", "shop.example", True, "reject", "reject", dkim_aligned=True)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (GOOD, True),
        (replace(GOOD, expires=NOW + DAY), True),
        (replace(GOOD, expires=NOW + DAY - 1), False),
        (replace(GOOD, has_length=True), False),
        (replace(GOOD, aligned=False), False),
        (replace(GOOD, result="fail"), False),
        (replace(GOOD, result="policy"), False),
    ],
)
def test_a_signature_that_survives(one: Dkim, expected: bool) -> None:
    assert Findings(dkim=(one,), dmarc=REJECT).survives(NOW) == expected
    assert Findings(dkim=(replace(GOOD, result="fail"), one), dmarc=REJECT).dkim_aligned(NOW) == expected


@pytest.mark.parametrize(
    ("dmarc", "spf", "dkim", "expected"),
    [
        (Dmarc("none", "shop.example"), "pass", "none", True),
        (Dmarc("none", "shop.example"), "fail", "pass", True),
        (Dmarc("none", "shop.example"), "fail", "fail", False),
        (Dmarc("fail", "shop.example", True, "none"), "pass", "none", True),
        (Dmarc("pass", "shop.example", True, "quarantine"), "pass", "none", False),
        (Dmarc("pass", "shop.example", True, "reject", "quarantine"), "pass", "pass", False),
        (Dmarc("temperror", "shop.example"), "pass", "pass", False),
    ],
)
def test_nobody_asks_for_a_signature(dmarc: Dmarc, spf: Result, dkim: Result, expected: bool) -> None:
    findings = Findings(spf=Spf(spf, "shop.example"), dkim=(Dkim(dkim, "other.example"),), dmarc=dmarc)
    assert findings.survives(NOW) == expected


@pytest.mark.parametrize(
    ("dmarc", "authenticated", "temporary"),
    [
        (REJECT, True, False),
        (Dmarc("fail", "shop.example", True, "none"), False, False),
        (Dmarc("none", "shop.example", dkim_aligned=True), True, False),
        (Dmarc("none", "shop.example", spf_aligned=True), False, False),
        (Dmarc("none", "shop.example"), False, False),
        (Dmarc("temperror", "shop.example", dkim_aligned=True), False, True),
        (Dmarc("temperror", "shop.example", True, "reject"), False, True),
    ],
)
def test_who_may_reply(dmarc: Dmarc, authenticated: bool, temporary: bool) -> None:
    findings = Findings(dmarc=dmarc, spf=Spf("temperror", "elsewhere.example"))
    assert (findings.author_authenticated, findings.temporary) == (authenticated, temporary)


def test_an_aligned_key_that_could_not_be_fetched_is_temporary() -> None:
    dmarc = Dmarc("none", "shop.example")
    assert Findings(dkim=(replace(GOOD, result="temperror"),), dmarc=dmarc).temporary
    assert not Findings(dkim=(Dkim("temperror", "other.example"),), dmarc=dmarc).temporary


GOOGLE = Sealer(2, "google.example", "pass", "shop.example")
LIST = Sealer(1, "list.example", "fail", "shop.example")


@pytest.mark.parametrize(
    ("sealers", "trusted", "expected"),
    [
        ((GOOGLE,), {"google.example"}, True),  # 50
        ((GOOGLE,), {"list.example"}, False),
        ((GOOGLE,), set(), False),
        ((LIST, GOOGLE), {"google.example"}, False),
        ((LIST, GOOGLE), {"google.example", "list.example"}, True),
        ((GOOGLE, LIST), {"google.example"}, True),
        ((LIST,), {"list.example"}, False),
        ((replace(GOOGLE, author=""),), {"google.example"}, True),
        ((replace(GOOGLE, author="other.example"),), {"google.example"}, False),
        ((replace(GOOGLE, dmarc=""),), {"google.example"}, False),
        ((), {"google.example"}, False),
    ],
)
def test_a_trusted_chain_overrides(sealers: tuple[Sealer, ...], trusted: set[str], expected: bool) -> None:
    dmarc = Dmarc("fail", "shop.example", True, "reject", "reject")
    assert Findings(dmarc=dmarc, arc=Arc("pass", 0, sealers)).arc_override(trusted) == expected
    assert not Findings(dmarc=dmarc, arc=Arc("fail", None, sealers)).arc_override(trusted)
    assert not Findings(dmarc=dmarc, arc=Arc("temperror", None, sealers)).arc_override(trusted)
