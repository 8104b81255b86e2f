"""ARC chains as received: made by dkimpy and by us, judged by us and by dkimpy (spec section 11.4)."""

import re
import time

import dkim as dkimpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.arc import seal
from mailrelay.core.arcverify import check, received
from mailrelay.core.dkim import body_hash
from mailrelay.core.dkimverify import Content
from mailrelay.core.findings import Arc, Sealer
from mailrelay.core.header import split
from mailrelay.core.lookup import ABSENT, Answer
from tests.unit.test_dkim import RSA, SHOP
from tests.unit.test_dkimverify import KEYS, pem, s1

NOW = int(time.time())
PLAIN = SHOP + b"\r\nhello  world \r\n\r\n\r\n"
RECORDS = {**KEYS, **s1()}
ANSWERS = {name: Answer((text,)) for name, text in RECORDS.items()}
RESULTS = b"Authentication-Results: %b; arc=%b; dmarc=pass (p=reject) header.from=shop.example\r\n"


def judge(content: bytes, answers: dict[str, Answer | None] | None = None) -> Arc:
    message = split(content)
    return check(received(message.fields), ANSWERS if answers is None else answers, Content(message), NOW)


def dkimpy_says(content: bytes) -> str:
    """Its verdict, with the traps of spec section 11.4 undone."""
    records = {f"{name}.".encode(): text for name, text in RECORDS.items()}
    try:
        verdict, _, _ = dkimpy.arc_verify(content, dnsfunc=lambda name, timeout=5: records.get(name))
    except Exception:
        return "fail"
    return "fail" if verdict is None else str(verdict, "ascii").lower()


def by_dkimpy(content: bytes, validation: bytes = b"none") -> bytes:
    """One more set of alias.example, selector s1."""
    server = b"list%d.example" % len(split(content).fields)  # dkimpy takes all fields of one server together
    content = RESULTS % (server, validation) + content
    fields = dkimpy.arc_sign(content, b"s1", b"alias.example", pem(2048), server, [b"from", b"subject", b"to"])
    assert fields
    return b"".join(fields) + content


def by_us(content: bytes, validation: str = "none") -> bytes:
    """One more set of alias.example, selector mr1."""
    message = split(content)
    results = b"mx.relay.example; dmarc=fail header.from=shop.example"
    assert validation in ("none", "pass", "fail")
    fields = seal(message.fields, body_hash(message.body), results, validation, RSA, NOW)  # type: ignore[arg-type]
    assert fields
    return b"".join(fields) + content


ONE = by_dkimpy(PLAIN)
TWO = by_us(ONE, "pass")
THREE = by_dkimpy(TWO, b"pass")


def test_a_message_without_arc_fields_has_no_chain() -> None:
    assert judge(PLAIN) == Arc("none")


@pytest.mark.parametrize(("content", "sets"), [(ONE, 1), (TWO, 2), (THREE, 3), (by_us(PLAIN), 1)])
def test_whole_chains_pass(content: bytes, sets: int) -> None:
    found = judge(content)
    assert (found.result, found.oldest_pass, found.highest, found.reason) == ("pass", 0, sets, "")
    assert dkimpy_says(content) == "pass"
    assert judge(content.replace(b"Your order", b"My order")).result == "fail"
    assert judge(content + b"more\r\n").result == "fail"


def test_the_sealers_are_told_with_their_results() -> None:
    assert judge(THREE).sealers == (
        Sealer(3, "alias.example", "pass", "shop.example"),
        Sealer(2, "alias.example", "fail", "shop.example"),
        Sealer(1, "alias.example", "pass", "shop.example"),
    )


def test_oldest_pass_is_the_set_after_the_last_change() -> None:
    changed = ONE + b"-- \r\nthe list\r\n"
    content = by_us(changed, "pass")
    found = judge(content)
    assert (found.result, found.oldest_pass) == ("pass", 2)
    assert judge(by_dkimpy(content, b"pass")).oldest_pass == 2


def test_an_ended_chain_is_told() -> None:  # 195
    ended = by_us(ONE + b"more\r\n", "fail")
    found = judge(ended)
    assert (found.result, found.ended, found.highest) == ("fail", True, 2)
    assert dkimpy_says(ended) == "fail"


@pytest.mark.parametrize("name", [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"])
@pytest.mark.parametrize("instance", [1, 2, 3])
def test_a_missing_or_doubled_field_fails(name: bytes, instance: int) -> None:
    fields = split(THREE).fields
    (at,) = (
        number
        for number, one in enumerate(fields)
        if one.name == name.lower() and re.search(rb"[ ;]i=%d;" % instance, one.raw)
    )
    raws = [one.raw for one in fields]
    for changed in ([*raws[:at], *raws[at + 1 :]], [*raws[: at + 1], *raws[at:]]):
        found = judge(b"".join(changed) + b"\r\nhello  world \r\n\r\n\r\n")
        assert found.result == "fail"


@pytest.mark.parametrize("number", [b"0", b"51", b"99999999999999999999", b"", b"x", b"-1"])
def test_instances_outside_of_1_to_50_fail(number: bytes) -> None:
    content = ONE.replace(b" i=1;", b" i=%b;" % number).replace(b"=1; list", b"=%b; list" % number)
    assert judge(content).result == "fail"


def test_a_gap_fails() -> None:
    content = re.sub(rb"i=1;", b"i=2;", ONE)
    found = judge(content)
    assert (found.result, found.highest) == ("fail", 2)


def test_fifty_sets_pass_and_one_more_does_not() -> None:  # 196
    content = by_us(PLAIN)
    for _ in range(49):
        content = by_us(content, "pass")
    begin = time.process_time()
    found = judge(content)
    assert time.process_time() - begin < 0.5
    assert (found.result, found.highest, found.oldest_pass) == ("pass", 50, 0)
    more = [one.raw for one in split(content).fields[:3]]
    assert judge(b"".join(more).replace(b"i=50;", b"i=51;") + content).result == "fail"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (rb"(ARC-Seal: [^:]*?)cv=none", rb"\1cv=pass"),
        (rb"(ARC-Seal: [^:]*?)cv=none", rb"\1cv=maybe"),
        (rb"(ARC-Seal: [^:]*?)cv=none;", rb"\1"),
        (rb"(ARC-Seal: )", rb"\1h=from; "),
        (rb"(ARC-Seal: )", rb"\1d=other.example; "),
        (rb"(ARC-Seal: [^:]*?)a=rsa-sha256", rb"\1a=rsa-sha1"),
        (rb"(ARC-Message-Signature: [^:]*?)a=rsa-sha256", rb"\1a=rsa-sha1"),
        (rb"(ARC-Message-Signature: )", rb"\1i=2; "),
        (rb"h=from", rb"h=arc-seal:from"),
        (rb"(ARC-Authentication-Results: [^=]*=1; [^=]*=none; dmarc)=pass", rb"\1=fail"),
    ],
)
def test_a_set_that_was_touched_fails(before: bytes, after: bytes) -> None:
    content = ONE.replace(b"\r\n ", b" ")
    changed, count = re.subn(before, after, content, count=1)
    assert count == 1
    assert judge(changed).result == "fail"


def test_a_layout_that_dkimpy_chokes_on_is_judged() -> None:
    content = re.sub(rb"ARC-Message-Signature: i=1; ?", b"ARC-Message-Signature:i=1;", by_us(PLAIN))
    # Relaxed canonicalisation drops the blank after the colon; the one after the semicolon was signed.
    assert judge(content).result == "fail"
    content = re.sub(rb"ARC-Message-Signature: i=1;", b"ARC-Message-Signature:i=1;", by_us(PLAIN))
    assert judge(content).result == "pass"
    assert dkimpy_says(content) == "fail"  # IndexError


def test_dns_trouble_is_told_unless_something_else_is_wrong() -> None:
    trouble = dict.fromkeys(ANSWERS)
    assert judge(TWO, trouble).result == "temperror"
    assert judge(TWO, {**trouble, "s1._domainkey.alias.example": ANSWERS["s1._domainkey.alias.example"]}).result == (
        "temperror"
    )
    assert judge(TWO.replace(b"hello", b"hallo"), {**ANSWERS, "s1._domainkey.alias.example": None}).result == "fail"
    assert judge(TWO, {**trouble, "s1._domainkey.alias.example": ABSENT}).result == "fail"


def test_keys_are_named_once_the_newest_first_and_not_for_hopeless_chains() -> None:
    assert received(split(THREE).fields).key_names == ("s1._domainkey.alias.example", "mr1._domainkey.alias.example")
    assert received(split(by_us(ONE, "fail")).fields).key_names == ()
    assert received(split(PLAIN).fields).key_names == ()


@given(st.binary(max_size=8), st.integers(0, 4000), st.integers(0, 3))
def test_dkimpy_agrees_about_changed_chains(noise: bytes, at: int, cut: int) -> None:
    at = min(at, len(TWO))
    changed = TWO[:at] + noise + TWO[at + cut :]
    if judge(changed).result == "pass":
        assert dkimpy_says(changed) == "pass"


@given(
    st.lists(
        st.sampled_from([b"ARC-Seal:", b"ARC-Message-Signature:", b"ARC-Authentication-Results:"]).flatmap(
            lambda name: st.lists(
                st.sampled_from([b"i=1", b"i=2", b" cv=none", b"cv=fail", b"a=rsa-sha256", b"b=AA==", b"d=a.example"])
                | st.binary(max_size=9),
                max_size=9,
            ).map(lambda pieces: name + b";".join(pieces).replace(b"\n", b"\n ") + b"\r\n")
        ),
        max_size=7,
    )
)
def test_nothing_raises(fields: list[bytes]) -> None:
    found = judge(b"".join(fields) + PLAIN, {})
    assert found.result in ("none", "fail")
    assert found.reason.isascii()
