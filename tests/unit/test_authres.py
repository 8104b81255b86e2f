"""Authentication-Results: our text, and whether a field claims to be ours (spec section 11.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.authres import dmarc_of, field, is_ours, own_value, value
from mailrelay.core.findings import RESULTS, Arc, Dkim, Dmarc, Findings, Iprev, Spf
from mailrelay.core.header import split

OURS = "mx.relay.example"
SHOP = Findings(
    iprev=Iprev("pass", "mta.shop.example"),
    spf=Spf("pass", "mta.shop.example"),
    dkim=(Dkim("pass", "shop.example", "k1", "rsa-sha256", "AuUoFEfD"),),
    dmarc=Dmarc("pass", "shop.example", has_record=True, published="reject", policy="reject"),
)


def test_the_text_is_that_of_the_specification() -> None:
    assert value(SHOP, OURS, "192.0.2.10") == (
        b"mx.relay.example; iprev=pass policy.iprev=192.0.2.10; spf=pass smtp.mailfrom=mta.shop.example; "
        b"dkim=pass header.d=shop.example header.s=k1 header.a=rsa-sha256 header.b=AuUoFEfD; "
        b"dmarc=pass (p=reject) header.from=shop.example; arc=none"
    )


def test_every_signature_has_its_result_and_arc_is_always_there() -> None:
    findings = Findings(
        spf=Spf("none", "mx.shop.example", "helo"),
        dkim=(
            Dkim("fail", "shop.example", "k1", "rsa-sha256", "Au/+FEfD", "the body was changed"),
            Dkim("permerror", reason="no list of tags"),
        ),
        dmarc=Dmarc("fail", "shop.example", has_record=True, published="reject", policy="reject"),
        arc=Arc("pass", 0, highest=2),
    )
    assert value(findings, OURS, "2001:db8::1", "arc-override") == (
        b"mx.relay.example; spf=none smtp.helo=mx.shop.example; "
        b'dkim=fail reason="the body was changed" header.d=shop.example header.s=k1 header.a=rsa-sha256 '
        b'header.b="Au/+FEfD"; dkim=permerror reason="no list of tags"; '
        b"dmarc=fail (p=reject) reason=arc-override header.from=shop.example; "
        b'arc=pass header.oldest-pass=0 smtp.remote-ip="2001:db8::1"'
    )
    assert value(Findings(), OURS) == b"mx.relay.example; dkim=none; dmarc=none; arc=none"


def test_the_field_is_folded_and_never_cut() -> None:
    findings = Findings(dkim=tuple(Dkim("pass", f"{'d' * 60}.{n}.example", "s" * 60) for n in range(10)))
    text = value(findings, OURS)
    raw = field(text)
    assert raw.startswith(b"Authentication-Results: mx.relay.example; ")
    assert raw.endswith(b"\r\n") and max(map(len, raw.splitlines())) < 200
    assert b" ".join(split(raw).fields[0].value.split()) == text


@given(st.text(), st.text(), st.text(max_size=300), st.text())
def test_nothing_from_outside_becomes_a_result(selector: str, domain: str, algorithm: str, b: str) -> None:
    findings = Findings(
        spf=Spf("fail", domain),
        dkim=(Dkim("fail", domain, selector, algorithm, b),),
        dmarc=Dmarc("fail", domain),
    )
    raw = field(value(findings, OURS))
    (parsed,) = split(raw).fields
    assert parsed.raw == raw
    assert raw.isascii()
    outside = b"".join(parsed.value.split(b'"')[::2])  # without the quoted strings
    methods = [part.split(b"=")[0].strip() for part in outside.split(b";")]
    assert methods == [OURS.encode(), *([b"spf"] if domain else []), b"dkim", b"dmarc", b"arc"]
    assert b"(" not in outside


@pytest.mark.parametrize(
    "text",
    [
        b"mx.relay.example; dmarc=pass",  # 52
        b"MX.Relay.Example; dmarc=pass",
        b"mx.relay.example 1; dmarc=pass",
        b"mx.relay.example/1; dmarc=pass",
        b"(really) mx.relay.example (us) 1; dmarc=pass",
        b"((nested) \\) ) mx.relay.example; dmarc=pass",
        b'"mx.relay.example"; dmarc=pass',
        b"mx.relay.example",
        b"mx.relay.example.; none",
        b" \t mx.relay.example\r\n\t; none",
        b"mx.relay.example\x00; dmarc=pass",
        b"mx.relay.example(; dmarc=pass",
        b"(mx.relay.example; dmarc=pass",
    ],
)
def test_fields_in_our_name_are_found(text: bytes) -> None:
    assert is_ours(text, OURS)


@pytest.mark.parametrize(
    "text",
    [
        b"mx.other.example; dmarc=pass",
        b"xmx.relay.example; none",
        b"mx.relay.example.other.example; none",
        b"relay.example; none",
        b"other.example; dkim=pass header.d=mx.relay.example",
        b"",
        b";;;",
        b"(mx.relay.example) other.example; none",
    ],
)
def test_other_fields_are_left_alone(text: bytes) -> None:
    assert not is_ours(text, OURS)


def test_our_own_field_is_the_topmost_in_our_name() -> None:
    fields = split(
        b"Authentication-Results: other.example; spf=pass\r\n"
        b"authentication-results: mx.relay.example; spf=fail;\r\n\tdkim=none\r\n"
        b"Authentication-Results: mx.relay.example; spf=pass\r\n"
    ).fields
    assert own_value(fields, OURS) == b"mx.relay.example; spf=fail;\tdkim=none"
    assert own_value(fields[:1], OURS) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"i=1; mx.a.example; spf=pass; dmarc=pass (p=none) header.from=A.Example", ("pass", "a.example")),
        (b"i=1; mx.a.example;\r\n dmarc=PASS header.from=news@a.example.; arc=none", ("pass", "a.example")),
        (b'i=1; mx.a.example; dmarc = pass reason="x; dmarc=fail" header.from="a.example"', ("pass", "a.example")),
        (b"i=1; mx.a.example; dmarc/1=fail", ("fail", "")),
        (b"i=1; mx.a.example; dmarc=pass; dmarc=fail", ("", "")),
        (b"i=1; mx.a.example; (dmarc=pass; dmarc=pass) dkim=none", ("", "")),
        (b'i=1; mx.a.example; dkim=pass header.x="; dmarc=pass"', ("", "")),
        (b"i=1; mx.a.example; x-dmarc=pass; dmarcx=pass", ("", "")),
        (b"", ("", "")),
    ],
)
def test_the_dmarc_result_of_others_is_read(text: bytes, expected: tuple[str, str]) -> None:
    found = dmarc_of(text)
    assert (found.get("dmarc", ""), found.get("header.from", "")) == expected


@given(st.binary(max_size=300))
def test_nothing_raises(text: bytes) -> None:
    is_ours(text, OURS)
    assert set(dmarc_of(text)) <= {"dmarc", "header.from"}


@given(st.sampled_from(sorted(RESULTS)), st.sampled_from(["", "a.example"]))
def test_what_we_write_is_read_back(result: str, domain: str) -> None:
    findings = Findings(dmarc=Dmarc(result, domain, has_record=True))  # type: ignore[arg-type]
    found = dmarc_of(b"i=1; " + value(findings, OURS))
    assert (found["dmarc"], found.get("header.from", "")) == (result, domain)
    assert is_ours(value(findings, OURS), OURS)
