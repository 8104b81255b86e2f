"""DMARC: records, where they are, and alignment (RFC 7489, RFC 9091)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.dmarc import Record, align, asks_existence, evaluate, read_records, record_names
from mailrelay.core.findings import Dkim, Dmarc, Policy, Result, Spf
from mailrelay.core.lookup import ABSENT, Answer
from mailrelay.wiring.suffixes import organisational_domains

ORG = organisational_domains()
PASS = Dkim("pass", "shop.example", aligned=True)


def texts(*records: str) -> Answer:
    return Answer(tuple(record.encode() for record in records))


def verdict(
    record: str | None = "v=DMARC1; p=reject",
    spf: Spf = Spf("fail", "other.example"),  # noqa: B008
    dkim: tuple[Dkim, ...] = (),
    author: str = "shop.example",
    above: str | None = None,
    exists: bool = True,
) -> Dmarc:
    answers = [ABSENT if text is None else texts(text) for text in (record, above)]
    if ORG(author) == author:
        answers = answers[:1]
    return evaluate(author, answers, spf, align(dkim, author, ORG), ORG, exists)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("v=DMARC1; p=reject", Record("reject", "reject", "reject")),
        ("v=DMARC1;p=Reject", Record("reject", "reject", "reject")),
        (" v = DMARC1 ; p=none; ", Record("none", "none", "none")),
        ("v=DMARC1; p=quarantine; sp=none", Record("quarantine", "none", "none")),
        ("v=DMARC1; p=none; np=reject", Record("none", "none", "reject")),
        ("v=DMARC1; p=none; sp=quarantine; np=x", Record("none", "quarantine", "quarantine")),
        ("v=DMARC1; p=reject; adkim=s; aspf=s", Record("reject", "reject", "reject", "s", "s")),
        ("v=DMARC1; p=reject; adkim=x; aspf=", Record("reject", "reject", "reject", "r", "r")),
        ("v=DMARC1; p=reject; pct=0", Record("reject", "reject", "reject", percent=0)),
        ("v=DMARC1; p=reject; pct=101", Record("reject", "reject", "reject")),
        ("v=DMARC1; p=reject; pct=-1", Record("reject", "reject", "reject")),
        ("v=DMARC1; p=reject; p=none", Record("reject", "reject", "reject")),
        ("v=DMARC1; rua=mailto:a@shop.example; p=reject; x; =; \u00e9=1", Record("reject", "reject", "reject")),
        ("v=DMARC1; rua=mailto:a@shop.example", Record("none", "none", "none")),
        ("v=DMARC1; p=junk; rua=mailto:a@shop.example", Record("none", "none", "none")),
        ("v=DMARC1; p=reject; sp=junk; rua=mailto:a@shop.example", Record("none", "none", "none")),
        ("v=DMARC1; p=junk", None),
        ("v=DMARC1; p=reject; sp=junk", None),
        ("v=DMARC1; rua=nonsense", None),
        ("v=DMARC1", None),
        ("v=DMARC2; p=reject", None),
        ("v=DMARC1x; p=reject", None),
        ("v=dmarc1; p=reject", None),
        ("p=reject; v=DMARC1", None),
        ("p=reject", None),
        ("", None),
        ("v=DMARC1; p=reject" + " " * 9000, None),
    ],
)
def test_records_are_read_as_the_rfc_says(record: str, expected: Record | None) -> None:
    assert read_records([record.encode()]) == expected


def test_several_records_are_none_and_other_texts_do_not_count() -> None:
    assert read_records([b"v=DMARC1; p=reject", b"v=DMARC1; p=none"]) is None
    assert read_records([b"v=spf1 -all", b"v=DMARC1; p=reject", b"\xff"]) == Record("reject", "reject", "reject")
    assert read_records([]) is None


def test_where_the_record_is() -> None:
    assert record_names("news.eu.shop.co.uk", ORG) == ("_dmarc.news.eu.shop.co.uk", "_dmarc.shop.co.uk", "_dmarc.co.uk")
    assert record_names("shop.example", ORG) == ("_dmarc.shop.example", "_dmarc.example")
    assert record_names("example", ORG) == ("_dmarc.example",)


@pytest.mark.parametrize(
    ("domain", "relaxed", "strict"),
    [
        ("shop.example", True, True),
        ("news.shop.example", True, False),
        ("a.b.shop.example", True, False),
        ("example", False, False),
        ("othershop.example", False, False),
        ("shop.example.other.example", False, False),
        ("", False, False),
    ],
)
def test_alignment(domain: str, relaxed: bool, strict: bool) -> None:
    spf, dkim = Spf("pass", domain), (Dkim("pass", domain),)
    loose, tight = "v=DMARC1; p=reject", "v=DMARC1; p=reject; adkim=s; aspf=s"
    assert verdict(loose, spf=spf).result == ("pass" if relaxed else "fail")
    assert verdict(loose, dkim=dkim).result == ("pass" if relaxed else "fail")
    assert verdict(tight, spf=spf).result == ("pass" if strict else "fail")
    assert verdict(tight, dkim=dkim).result == ("pass" if strict else "fail")
    assert align(dkim, "shop.example", ORG)[0].aligned == relaxed


def test_public_suffixes_are_no_common_ground() -> None:
    assert verdict(author="shop.co.uk", dkim=(Dkim("pass", "other.co.uk"),)).result == "fail"


def test_it_is_told_what_passed() -> None:
    found = verdict(spf=Spf("pass", "news.shop.example"), dkim=(Dkim("fail", "shop.example"), PASS))
    assert found == Dmarc("pass", "shop.example", True, "reject", "reject", dkim_aligned=True, spf_aligned=True)
    assert verdict(dkim=(Dkim("policy", "shop.example"),)).result == "fail"
    assert verdict(spf=Spf("softfail", "shop.example")).result == "fail"


@pytest.mark.parametrize(
    ("record", "published", "policy"),
    [
        ("v=DMARC1; p=reject; pct=0", "reject", "quarantine"),
        ("v=DMARC1; p=quarantine; pct=0", "quarantine", "none"),
        ("v=DMARC1; p=none; pct=0", "none", "none"),
        ("v=DMARC1; p=reject; pct=1", "reject", "reject"),
        ("v=DMARC1; p=reject; pct=99", "reject", "reject"),
    ],
)
def test_a_percentage_of_nought_weakens_the_policy(record: str, published: Policy, policy: Policy) -> None:
    found = verdict(record)
    assert (found.result, found.published, found.policy) == ("fail", published, policy)


@pytest.mark.parametrize(
    ("own", "above", "exists", "published"),
    [
        ("v=DMARC1; p=none", "v=DMARC1; p=reject", True, "none"),
        (None, "v=DMARC1; p=reject", True, "reject"),
        (None, "v=DMARC1; p=reject; sp=none", True, "none"),
        (None, "v=DMARC1; p=reject; sp=none; np=quarantine", True, "none"),
        (None, "v=DMARC1; p=reject; sp=none; np=quarantine", False, "quarantine"),
        (None, "v=DMARC1; p=quarantine; sp=none", False, "none"),
        ("v=DMARC1; p=none; sp=reject; np=reject", None, True, "none"),
        ("v=DMARC1; p=junk", "v=DMARC1; p=reject", True, "reject"),
    ],
)
def test_subdomains(own: str | None, above: str | None, exists: bool, published: Policy) -> None:
    assert verdict(own, author="news.shop.example", above=above, exists=exists).published == published


@pytest.mark.parametrize(
    ("own", "above", "wanted"),
    [
        (ABSENT, texts("v=DMARC1; p=none; np=reject"), True),
        (ABSENT, texts("v=DMARC1; p=reject"), False),
        (ABSENT, texts("v=DMARC1; p=reject; np=reject"), False),
        (texts("v=DMARC1; p=none; np=reject"), ABSENT, False),
        (ABSENT, ABSENT, False),
        (ABSENT, None, False),
    ],
)
def test_existence_is_asked_for_only_if_it_matters(own: Answer | None, above: Answer | None, wanted: bool) -> None:
    assert asks_existence("news.shop.example", [own, above], ORG) == wanted


def test_the_policy_of_a_public_suffix_is_the_last_resort() -> None:
    answers = [ABSENT, ABSENT, texts("v=DMARC1; p=none; sp=reject; np=reject")]
    found = evaluate("news.shop.example", answers, Spf(), (), ORG)
    assert (found.result, found.published) == ("fail", "reject")


def test_without_a_record_there_is_no_result() -> None:
    assert verdict(None) == Dmarc("none", "shop.example")
    assert verdict(None, dkim=(PASS,)) == Dmarc("none", "shop.example", dkim_aligned=True)
    assert evaluate("", [], Spf("pass", "x.example"), (), ORG) == Dmarc()


@pytest.mark.parametrize(
    ("spf", "dkim", "result"),
    [
        (Spf("temperror", "shop.example"), (), "temperror"),
        (Spf("temperror", "other.example"), (), "fail"),
        (Spf("temperror", "shop.example"), (PASS,), "pass"),
        (Spf("fail", "shop.example"), (Dkim("temperror", "shop.example"),), "temperror"),
        (Spf("fail", "shop.example"), (Dkim("temperror", "other.example"),), "fail"),
        (Spf("pass", "shop.example"), (Dkim("temperror", "shop.example"),), "pass"),
    ],
)
def test_dns_trouble_is_no_failure(spf: Spf, dkim: tuple[Dkim, ...], result: Result) -> None:
    found = verdict(spf=spf, dkim=dkim)
    assert (found.result, found.policy) == (result, "reject")


def test_dns_trouble_with_the_record_itself() -> None:
    assert evaluate("shop.example", [None], Spf(), (PASS,), ORG).result == "temperror"
    assert evaluate("news.shop.example", [ABSENT, None], Spf(), (PASS,), ORG).result == "temperror"


@given(st.lists(st.binary(max_size=60) | st.binary(max_size=60).map(b"v=DMARC1;".__add__), max_size=4))
def test_nothing_raises(records: list[bytes]) -> None:
    found = evaluate("shop.example", [Answer(tuple(records))], Spf(), (), ORG)
    assert found.result in ("none", "fail")
