"""Which DNS records of a domain are right, and what one is told of those that are not."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from mailrelay.core.dkim import SigningKey, public_record
from mailrelay.core.domaincheck import (
    Answers,
    Expected,
    Finding,
    Report,
    best,
    examine,
    questions,
)
from mailrelay.core.lookup import ABSENT, Answer, Mx, Question
from mailrelay.core.naming import ServiceNames

NAME = "own.example"
SERVICE = ServiceNames("relay.example", "bounces.relay.example", "srs.relay.example", "mx.relay.example")


def public(octet: int) -> str:
    key = Ed25519PrivateKey.from_private_bytes(bytes([octet]) * 32)
    return public_record(SigningKey(NAME, "mr1e", "ed25519-sha256", key))


OURS, SECOND, ANOTHER = public(1), public(2), public(3)
EXPECTED = Expected(NAME, SERVICE, (("mr1", OURS), ("mr1e", SECOND)))


def txt(*texts: str) -> Answer:
    return Answer(tuple(text.encode() for text in texts))


RIGHT: Answers = {
    (NAME, "MX"): Answer((Mx(10, "mx.relay.example"),)),
    (NAME, "TXT"): txt("hello", "v=spf1 a:mx.relay.example ~all"),
    ("_dmarc.own.example", "TXT"): txt("v=DMARC1; p=none"),
    ("mr1._domainkey.own.example", "TXT"): txt(OURS),
    ("mr1e._domainkey.own.example", "TXT"): txt(SECOND),
    ("mx.relay.example", "A"): Answer(("192.0.2.1",)),
    ("mx.relay.example", "AAAA"): Answer(("2001:db8::1",)),
}


def looked(**more: Answer | None) -> Report:
    """With some answers otherwise. more: mx, txt, dmarc, mr1, mr1e."""
    places: dict[str, Question] = {
        "mx": (NAME, "MX"),
        "txt": (NAME, "TXT"),
        "dmarc": ("_dmarc.own.example", "TXT"),
        "mr1": ("mr1._domainkey.own.example", "TXT"),
        "mr1e": ("mr1e._domainkey.own.example", "TXT"),
    }
    return examine(EXPECTED, {**RIGHT, **{places[name]: answer for name, answer in more.items()}})


def of(report: Report, key: str) -> Finding:
    return next(one for one in report.findings if one.key == key)


def test_all_is_right() -> None:
    report = looked()
    assert [(one.key, one.state) for one in report.findings] == [
        ("MX", "right"),
        ("SPF", "right"),
        ("DMARC", "right"),
        ("DKIM", "right"),
        ("DKIM", "right"),
    ]
    assert (report.verdict("EMAIL"), report.verdict("SENDING")) == (True, True)
    assert set(questions(EXPECTED)) == set(RIGHT)


def test_nothing_is_there_and_one_is_told_what_to_publish() -> None:
    report = examine(EXPECTED, dict.fromkeys(RIGHT, ABSENT))
    assert [one.state for one in report.findings] == ["missing"] * 5
    assert (report.verdict("EMAIL"), report.verdict("SENDING")) == (False, False)
    assert [str(one.publish) for one in report.findings] == [
        "own.example. IN MX 10 mx.relay.example.",
        'own.example. IN TXT "v=spf1 a:mx.relay.example ~all"',
        '_dmarc.own.example. IN TXT "v=DMARC1; p=none; adkim=r; aspf=r"',
        f'mr1._domainkey.own.example. IN TXT "{OURS}"',
        f'mr1e._domainkey.own.example. IN TXT "{SECOND}"',
    ]
    assert [one.reason for one in report.faults("SENDING")] == [
        "dns_spf_missing",
        "dns_dmarc_missing",
        "dns_dkim_missing",
    ]


def test_no_answer_is_no_verdict() -> None:
    report = examine(EXPECTED, dict.fromkeys(RIGHT))
    assert [one.state for one in report.findings] == ["unknown"] * 5
    assert (report.verdict("EMAIL"), report.verdict("SENDING")) == (None, None)
    assert all("says nothing about the domain" in one.sentence for one in report.findings)
    assert examine(EXPECTED, {}).verdict("EMAIL") is None


def test_no_answer_beside_a_fault_is_a_fault_and_beside_what_is_right_nothing() -> None:
    assert looked(dmarc=None).verdict("SENDING") is None
    assert looked(dmarc=None, txt=ABSENT).verdict("SENDING") is False


@pytest.mark.parametrize(
    ("records", "state", "words"),
    [
        (((10, "mx.relay.example"),), "right", "comes to mx.relay.example."),
        (((0, "mx.relay.example"), (5, "b.example")), "right", "When this host is away, mail goes to b.example."),
        (((5, "b.example"), (10, "mx.relay.example")), "wrong", "goes to b.example first"),
        (((10, "b.example"), (10, "mx.relay.example")), "wrong", "some of the mail goes there"),
        (((10, "b.example"),), "wrong", "goes to b.example, not to mx.relay.example"),
        (((10, "a.mx.relay.example"),), "wrong", "not to mx.relay.example"),
        (((0, ""),), "wrong", "goes to nowhere"),
        ((), "missing", "no MX record"),
    ],
)
def test_the_mx_of_the_lowest_preference_counts(records: tuple[tuple[int, str], ...], state: str, words: str) -> None:
    found = of(looked(mx=Answer(tuple(Mx(*one) for one in records))), "MX")
    assert (found.state, words in found.sentence) == (state, True), found.sentence
    assert len(found.found) == len(records)


@pytest.mark.parametrize(
    ("texts", "state"),
    [
        (["v=spf1 a:mx.relay.example -all"], "right"),
        (["V=SPF1 +A:MX.Relay.Example -ALL"], "right"),
        (["v=spf1 mx ~all"], "right"),
        (["v=spf1 mx:own.example ~all"], "right"),
        (["v=spf1 include:relay.example -all"], "right"),
        (["v=spf1 include:other.example ip4:192.0.2.0/24 -all"], "right"),
        (["v=spf1 ip6:2001:db8::/32 -all"], "right"),
        (["v=spf1 redirect=relay.example"], "right"),
        (["v=spf1 +all"], "right"),
        (["v=spf1 all"], "right"),
        (["v=spf1"], "wrong"),
        (["v=spf1 -all"], "wrong"),
        (["v=spf1 -all a:mx.relay.example"], "wrong"),
        (["v=spf1 -a:mx.relay.example ~all"], "wrong"),
        (["v=spf1 ?a:mx.relay.example ~all"], "wrong"),
        (["v=spf1 ~all redirect=relay.example"], "wrong"),
        (["v=spf1 ip4:198.51.100.0/24 ip4:nonsense ip4: -all"], "wrong"),
        (["v=spf1 include:other.example -all"], "wrong"),
        (["v=spf1 a:mx.relay.example.evil.example -all"], "wrong"),
        (["v=spf1 a:mx.relay.example -all", "v=spf1 -all"], "wrong"),
        (["v=spf10 a:mx.relay.example -all"], "missing"),
        (["spf2.0/pra a:mx.relay.example -all"], "missing"),
        ([], "missing"),
    ],
)
def test_spf_has_to_let_our_host_send(texts: list[str], state: str) -> None:
    assert of(looked(txt=txt("aa-verify=00", *texts)), "SPF").state == state


def test_spf_by_mx_holds_only_where_the_mx_is_ours() -> None:
    elsewhere = Answer((Mx(10, "b.example"),))
    assert of(looked(mx=elsewhere, txt=txt("v=spf1 mx -all")), "SPF").state == "wrong"


def test_spf_is_not_wrong_for_want_of_an_answer_about_something_else() -> None:
    assert of(looked(mx=None, txt=txt("v=spf1 mx -all")), "SPF").state == "unknown"
    assert of(looked(mx=None, txt=txt("v=spf1 ip4:198.51.100.1 -all")), "SPF").state == "wrong"
    mute = {**RIGHT, ("mx.relay.example", "A"): None, (NAME, "TXT"): txt("v=spf1 ip4:192.0.2.1 -all")}
    assert of(examine(EXPECTED, mute), "SPF").state == "unknown"
    mute[NAME, "TXT"] = txt("v=spf1 a:mx.relay.example -all")
    assert of(examine(EXPECTED, mute), "SPF").state == "right"


@pytest.mark.parametrize(
    ("texts", "state"),
    [
        (["v=DMARC1; p=none"], "right"),
        (["v=DMARC1;p=REJECT; rua=mailto:a@own.example"], "right"),
        (["other", "v=DMARC1; p=quarantine"], "right"),
        (["v=DMARC1; p=reject", "v=DMARC1; p=none"], "wrong"),
        (["v=DMARC1"], "wrong"),
        (["v=DMARC1; p=perhaps"], "wrong"),
        (["other"], "missing"),
        ([], "missing"),
    ],
)
def test_a_dmarc_record_has_to_be_one_that_receivers_read(texts: list[str], state: str) -> None:
    assert of(looked(dmarc=txt(*texts)), "DMARC").state == state


@pytest.mark.parametrize(
    ("texts", "state", "words"),
    [
        ([OURS], "right", "is published"),
        ([OURS.replace("; ", ";").replace("v=DKIM1;", "")], "right", "is published"),
        ([OURS, OURS + " "], "right", "is published"),
        ([ANOTHER], "wrong", "Another key"),
        ([OURS, ANOTHER], "wrong", "Another key"),
        (["v=DKIM1; k=ed25519; p="], "wrong", "no usable key"),
        (["v=DKIM1; k=ed25519; p=!!"], "wrong", "no usable key"),
        ([], "missing", "is not published"),
    ],
)
def test_the_key_that_is_published_has_to_be_the_one_that_signs(texts: list[str], state: str, words: str) -> None:
    report = looked(mr1=txt(*texts))
    found = of(report, "DKIM")
    assert (found.state, words in found.sentence) == (state, True), found.sentence
    assert report.verdict("SENDING") is (state == "right")


@pytest.mark.parametrize("answer", [ABSENT, txt(ANOTHER), None])
def test_the_second_key_is_told_of_but_mail_does_without(answer: Answer | None) -> None:
    report = looked(mr1e=answer)
    second = report.findings[-1]
    assert (second.state != "right", second.needed, report.verdict("SENDING")) == (True, False, True)


def test_without_keys_there_is_nothing_to_publish_and_nothing_is_right() -> None:
    report = examine(Expected(NAME, SERVICE, ()), RIGHT)
    found = report.findings[-1]
    assert (found.key, found.state, found.publish.value) == ("DKIM", "missing", "")
    assert (report.verdict("EMAIL"), report.verdict("SENDING")) == (True, False)


def test_what_others_publish_is_shown_harmless_and_short() -> None:
    texts = (b"v=spf1 \x1b[31m\x00\xff" + b"x" * 1000, *(b"v=spf1 %d" % number for number in range(60)))
    found = of(looked(txt=Answer(texts)), "SPF")
    assert (len(found.found), max(map(len, found.found))) == (21, 513)  # one more than is shown tells that it is cut
    assert found.found[0].startswith("v=spf1 \ufffd[31m\ufffd\ufffdx")


def test_of_several_resolvers_each_record_is_believed_where_it_is_best() -> None:
    stale, silent = looked(mx=ABSENT, dmarc=ABSENT), examine(EXPECTED, {})
    fresh = looked(txt=txt("v=spf1 -all"))
    merged = best([silent, stale, fresh])
    assert merged == looked()
    assert best([silent, stale]).verdict("EMAIL") is False
    assert best([silent, silent]).verdict("EMAIL") is None
    assert best([stale, looked(mx=Answer((Mx(10, "b.example"),)))]).findings[0].state == "wrong"


def test_rsa_keys_are_compared_as_well() -> None:
    text = public_record(SigningKey(NAME, "mr1", "rsa-sha256", generate_private_key(65537, 2048)))
    expected = Expected(NAME, SERVICE, (("mr1", text),))
    right = {**RIGHT, ("mr1._domainkey.own.example", "TXT"): txt(text)}
    assert examine(expected, right).verdict("SENDING") is True
    assert examine(expected, RIGHT).verdict("SENDING") is False
