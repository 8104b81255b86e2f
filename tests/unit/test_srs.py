"""SRS addresses of sections 10.3 and 10.4: vectors, chains of forwarders, damage and age."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Malformed
from mailrelay.core.realm import Realm
from mailrelay.core.srs import (
    Invalid,
    Scheme,
    TooLong,
    applies,
    forward,
    looks_srs,
    reverse,
    rewrite_sender,
    stamp_age,
)

DAY = 18262  # 2020-01-01
SECRET = b"tops3cr3t"
SENDER = parse_address("user@sender.example")
FWD1 = Scheme("fwd1.example", [SECRET], hash_length=4, min_hash_length=4)
FWD2 = Scheme("fwd2.example", [SECRET], hash_length=4, min_hash_length=4)
FWD3 = Scheme("fwd3.example", [SECRET], hash_length=4, min_hash_length=4)
OURS = Scheme("srs.relay.example", [b"new secret", b"old secret"])


def rewritten(sender: str, scheme: Scheme) -> str:
    result = forward(parse_address(sender), scheme, DAY)
    assert isinstance(result, Address)
    return str(result)


@pytest.mark.parametrize(
    ("sender", "scheme", "expected"),
    [
        (
            "test@otherdomain.com",
            Scheme("example.com", [SECRET], hash_length=4),
            "SRS0=vmyz=2W=otherdomain.com=test@example.com",
        ),
        ("user@sender.example", FWD1, "SRS0=lfjD=2W=sender.example=user@fwd1.example"),
        (
            "SRS0=lfjD=2W=sender.example=user@fwd1.example",
            FWD2,
            "SRS1=8gtx=fwd1.example==lfjD=2W=sender.example=user@fwd2.example",
        ),
        (
            "SRS1=8gtx=fwd1.example==lfjD=2W=sender.example=user@fwd2.example",
            FWD3,
            "SRS1=8gtx=fwd1.example==lfjD=2W=sender.example=user@fwd3.example",
        ),
        (
            "user@sender.example",
            Scheme("fwd1.example", [SECRET], hash_length=10),
            "SRS0=lfjDuMurw7=2W=sender.example=user@fwd1.example",
        ),
    ],
)
def test_vectors_of_the_specification(sender: str, scheme: Scheme, expected: str) -> None:
    """12.7-187"""
    assert rewritten(sender, scheme) == expected


def test_the_way_back_skips_the_hosts_in_between() -> None:
    chain = "SRS1=8gtx=fwd1.example==lfjD=2W=sender.example=user"
    first = reverse(chain, FWD3, DAY)
    assert first == Address("SRS0=lfjD=2W=sender.example=user", "fwd1.example")
    assert reverse(first.local, FWD1, DAY) == SENDER


def test_a_sender_at_the_srs_domain_stays() -> None:
    own = Address("SRS0=lfjD=2W=sender.example=user", "fwd1.example")
    assert forward(own, FWD1, DAY) is own


@pytest.mark.parametrize(
    "user", ["user", "bounce+77=x", "SRS0", "srs0x", "a=b=c", "SRS1=ab=broken", "prvs=1234=u", "ü"]
)
def test_any_user_part_finds_its_way_back(user: str) -> None:
    sender = Address(user, "sender.example")
    result = forward(sender, OURS, DAY)
    assert isinstance(result, Address)
    assert result.local.startswith("SRS0=")
    assert reverse(result.local, OURS, DAY) == sender


@pytest.mark.parametrize("foreign", ["SRS0+abcd=2W=x.example=u", "srs0-ab-d=2w=x.example=u"])
def test_foreign_separators_survive_the_round_trip(foreign: str) -> None:
    result = forward(Address(foreign, "fwd.example"), OURS, DAY)
    assert isinstance(result, Address)
    assert reverse(result.local, OURS, DAY) == Address("SRS0" + foreign[4:], "fwd.example")


@pytest.mark.parametrize("separator", ["+", "-"])
def test_separators_are_interchangeable_when_reading(separator: str) -> None:
    for chain in ["SRS0=lfjD=2W=sender.example=user", "SRS1=8gtx=fwd1.example==lfjD=2W=sender.example=user"]:
        assert isinstance(reverse(chain[:4] + separator + chain[5:], FWD1, DAY), Address)


def test_the_separator_written_is_configurable() -> None:
    assert rewritten("user@sender.example", Scheme("x.example", [SECRET], separator="+")).startswith("SRS0+lfjDuMur=")


def test_hosts_may_fold_case() -> None:
    """12.7-188"""
    written = rewritten("user@sender.example", OURS).partition("@")[0]
    assert reverse(written.lower(), OURS, DAY) == SENDER
    assert reverse("srs0" + written[4:].upper(), OURS, DAY) == Address("USER", "sender.example")


def test_both_base64_alphabets_are_read() -> None:
    schemes = [Scheme("x.example", [b"%d" % i], hash_length=27) for i in range(50)]
    locals_ = [rewritten("user@sender.example", scheme).partition("@")[0] for scheme in schemes]
    assert any("-" in local[5:32] for local in locals_)
    assert any("_" in local[5:32] for local in locals_)
    for scheme, local in zip(schemes, locals_, strict=True):
        classic = local[:5] + local[5:32].replace("-", "+").replace("_", "/") + local[32:]
        assert reverse(classic, scheme, DAY) == SENDER


def test_all_secrets_verify_and_the_first_signs() -> None:
    old = rewritten("user@sender.example", Scheme(OURS.domain, [b"old secret"]))
    new = rewritten("user@sender.example", Scheme(OURS.domain, [b"new secret"]))
    assert rewritten("user@sender.example", OURS) == new
    assert reverse(old.partition("@")[0], OURS, DAY) == SENDER
    assert reverse(old.partition("@")[0], Scheme(OURS.domain, [b"new secret"]), DAY) is Invalid.FORGED


@pytest.mark.parametrize(("length", "valid"), [(4, False), (7, False), (8, True), (27, True), (28, False)])
def test_short_hashes_are_refused(length: int, valid: bool) -> None:
    full = rewritten("user@sender.example", Scheme("x.example", [SECRET], hash_length=27)).partition("@")[0]
    local = "SRS0=" + (full[5:32] + "A")[:length] + full[32:]
    assert isinstance(reverse(local, Scheme("x.example", [SECRET]), DAY), Address) is valid


@pytest.mark.parametrize(
    "local",
    [
        "SRS0=lfjE=2W=sender.example=user",
        "SRS0=lfjD=2X=sender.example=user",
        "SRS0=lfjD=2W=sender.example=users",
        "SRS0=lfjD=2W=sendes.example=user",
        "SRS0=lfjD=2W=sender.example=",
        "SRS0=lfjD=2W=sender.example",
        "SRS0==2W=sender.example=user",
        "SRS0=lfjD=1W=sender.example=user",
        "SRS0=",
        "SRS1=8gtx=fwd2.example==lfjD=2W=sender.example=user",
        "SRS1=8gtx=fwd1.example=lfjD=2W=sender.example=user",
        "SRS1=8gtx=fwd1.example=",
        "SRS1=8gtx=",
        "SRS0=lfj\u212a=2W=sender.example=user",
        "user",
        "",
    ],
)
def test_damaged_addresses_do_not_lead_back(local: str) -> None:
    assert reverse(local, FWD1, DAY) is Invalid.FORGED


@pytest.mark.parametrize(
    ("age", "valid"),
    [(-2, False), (-1, True), (0, True), (21, True), pytest.param(22, False, id="12.7-189"), (500, False)],
)
def test_addresses_live_21_days_and_clocks_may_differ_by_one(age: int, valid: bool) -> None:
    result = reverse("SRS0=lfjD=2W=sender.example=user", FWD1, DAY + age)
    assert result == (SENDER if valid else Invalid.EXPIRED)


def test_the_age_survives_the_turn_of_the_calendar() -> None:
    turn = 18 * 1024 - 1
    local = forward(SENDER, OURS, turn)
    assert isinstance(local, Address)
    assert "=77=" in local.local
    assert reverse(local.local, OURS, turn + 21) == SENDER


@pytest.mark.parametrize(("stamp", "day"), [("2W", DAY), ("2w", DAY), ("AA", 0), ("77", 1023)])
def test_stamps_of_the_specification(stamp: str, day: int) -> None:
    assert stamp_age(stamp, day) == 0


@pytest.mark.parametrize("stamp", ["", "A", "AAA", "A1", "A ", "A\u0131"])
def test_other_stamps_are_malformed(stamp: str) -> None:
    with pytest.raises(Malformed):
        stamp_age(stamp, DAY)


def test_what_does_not_fit_is_told_apart() -> None:
    room = 64 - len("SRS0=abcdefgh=2W=sender.example=")
    fits = forward(Address("u" * room, "sender.example"), OURS, DAY)
    assert isinstance(fits, Address)
    assert len(fits.local) == 64
    assert forward(Address("u" * (room + 1), "sender.example"), OURS, DAY) is TooLong.TOO_LONG
    assert forward(Address('"a b"', "sender.example"), OURS, DAY) is TooLong.TOO_LONG


def test_a_verified_address_still_has_to_be_one() -> None:
    forged = forward(Address("user", "not a host"), OURS, DAY)
    assert isinstance(forged, Address)
    assert reverse(forged.local, OURS, DAY) is Invalid.FORGED


@pytest.mark.parametrize(
    ("local", "shaped"),
    [
        ("SRS0=x", True),
        ("srs1+x", True),
        ("SRS0-", True),
        ("SRS0", False),
        ("SRS2=x", False),
        ("xSRS0=x", False),
        ("\u017frs0=x", False),
    ],
)
def test_the_tag_is_recognised(local: str, shaped: bool) -> None:
    assert looks_srs(local) is shaped


REALM = Realm(
    frozenset({"relay.example", "srs.relay.example"}),
    "srs.relay.example",
    "bounces.relay.example",
    shared=frozenset({"alias.example"}),
    custom=frozenset({"own.example"}),
)
OUTSIDE = parse_address("real@inbox.example")


@pytest.mark.parametrize(
    "sender",
    ["", "x@own.example", "a1@u1.alias.example", "SRS0=lfjD=2W=x.example=y@srs.relay.example", "x@relay.example"],
)
def test_the_null_sender_and_senders_at_our_domains_stay(sender: str) -> None:
    assert rewrite_sender(sender, OUTSIDE, REALM, OURS, DAY) == sender


def test_mail_that_stays_here_keeps_its_sender() -> None:
    for destination in ("a1@alias.example", "x@own.example"):
        assert rewrite_sender("news@shop.example", parse_address(destination), REALM, OURS, DAY) == "news@shop.example"


@pytest.mark.parametrize(
    ("sender", "start"),
    [
        ("news@shop.example", "SRS0="),
        ("bounce+77@shop.example", "SRS0="),
        ("prvs=1234=u@shop.example", "SRS0="),
        ("SRS0=lfjD=2W=sender.example=user@fwd1.example", "SRS1="),
        ("SRS1=8gtx=fwd1.example==lfjD=2W=sender.example=user@fwd2.example", "SRS1="),
    ],
)
def test_what_leaves_is_rewritten(sender: str, start: str) -> None:
    rewritten_sender = rewrite_sender(sender, OUTSIDE, REALM, OURS, DAY)
    assert isinstance(rewritten_sender, str)
    assert rewritten_sender.startswith(start)
    assert rewritten_sender.endswith("@srs.relay.example")


@pytest.mark.parametrize("sender", ["x" * 60 + "@shop.example", '"a b"@shop.example', "no address", "a@[192.0.2.1]"])
def test_what_cannot_be_rewritten_gets_another_return_path(sender: str) -> None:
    assert rewrite_sender(sender, OUTSIDE, REALM, OURS, DAY) is TooLong.TOO_LONG


def test_an_address_of_ours_that_others_wrapped_leads_back_in_two_steps() -> None:
    ours = rewritten("user@sender.example", OURS)
    there = rewritten(ours, Scheme("fwd.example", [b"theirs"]))
    again = rewritten(there, OURS)
    assert again.startswith("SRS1=")
    first = reverse(again.partition("@")[0], OURS, DAY)
    assert str(first) == ours
    assert reverse(ours.partition("@")[0], OURS, DAY) == SENDER


def test_failures_that_are_kept_need_verp() -> None:
    assert applies("srs", store_failed_deliveries=False)
    assert not applies("srs", store_failed_deliveries=True)
    assert not applies("verp", store_failed_deliveries=False)


def test_hashes_below_the_minimum_are_forged() -> None:
    short = "SRS0=lfjD=2W=sender.example=user"
    assert reverse(short, FWD1, DAY) == SENDER
    assert reverse(short, Scheme("fwd1.example", [SECRET]), DAY) is Invalid.FORGED
    assert reverse("SRS0=lfj=2W=sender.example=user", FWD1, DAY) is Invalid.FORGED


@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(st.sampled_from(["SRS0", "srs1", "=", "+", "-", "2W", "lfjD", "a.example", "u", "\u0131"])).map(
            "".join
        ),
    ),
    st.integers(0, 40_000),
)
def test_any_local_part_leads_somewhere_or_nowhere(local: str, today: int) -> None:
    assert isinstance(reverse(local, FWD1, today), Address | Invalid)
    assert isinstance(rewrite_sender(f"{local}@sender.example", OUTSIDE, REALM, OURS, today), str | TooLong)


@given(
    st.text("abcXYZ019.=+-_~!#$%&'*/?^`{|}", min_size=1, max_size=30).filter(
        lambda text: not text.startswith(".") and not text.endswith(".") and ".." not in text
    ),
    st.integers(0, 40_000),
    st.booleans(),
)
def test_any_sender_gets_its_bounces(local: str, today: int, folded: bool) -> None:
    sender = parse_address(f"{local}@sender.example")
    result = forward(sender, OURS, today)
    assert isinstance(result, Address)
    back = reverse(result.local.lower() if folded else result.local, OURS, today + 21)
    assert isinstance(back, Address)
    assert back.folded == sender.folded
