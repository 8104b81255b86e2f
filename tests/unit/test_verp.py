"""Return paths of section 7.1: the vectors, what damages them and how long they live."""

import pytest

from mailrelay.core.verp import EmailType, Invalid, VerpId, decode, encode

KEY = bytes(range(32))
OTHER_KEY = bytes(32)
DOMAIN = "alias.example"
DAY = 20454
VECTORS = [
    (EmailType.FORWARD, "b-caasgrlhrgv4332p4zrlah3w2fka2ampsm"),
    (EmailType.REPLY, "b-ceasgrlhrgv4332p42tilbsa6rzhs2rqli"),
    (EmailType.SEND, "b-ciasgrlhrgv4332p4ydewa4coarulsvxrm"),
    (EmailType.NOTIFICATION, "b-cmasgrlhrgv4332p4za5zvhj76f2e4hevu"),
]
FORWARD = VECTORS[0][1]
FORWARDED = VerpId(EmailType.FORWARD, 0x0123456789ABCDEF, DAY)


@pytest.mark.parametrize(("type_", "local"), VECTORS)
def test_vectors_of_the_specification(type_: EmailType, local: str) -> None:
    verp = VerpId(type_, 0x0123456789ABCDEF, DAY)
    assert encode(verp, DOMAIN, KEY) == local
    assert decode(local, DOMAIN, [KEY], DAY) == verp


@pytest.mark.parametrize("outbound_id", [0, 1, 2**63, 2**64 - 1])
def test_all_ids_of_64_bits_fit(outbound_id: int) -> None:
    verp = VerpId(EmailType.SEND, outbound_id, 65535)
    local = encode(verp, DOMAIN, KEY)
    assert len(local) == 36
    assert decode(local, DOMAIN, [KEY], 65535) == verp


def test_hosts_may_fold_case() -> None:
    assert decode(FORWARD.upper(), "ALIAS.Example", [KEY], DAY) == FORWARDED


def test_the_previous_key_still_verifies() -> None:
    assert decode(FORWARD, DOMAIN, [OTHER_KEY, KEY], DAY) == FORWARDED
    assert decode(FORWARD, DOMAIN, [OTHER_KEY], DAY) is Invalid.FORGED
    assert decode(FORWARD, DOMAIN, [], DAY) is Invalid.FORGED


@pytest.mark.parametrize("at", range(2, 36))
def test_a_changed_character_is_noticed_wherever_it_is(at: int) -> None:
    changed = FORWARD[:at] + ("n" if FORWARD[at] != "n" else "p") + FORWARD[at + 1 :]
    assert decode(changed, DOMAIN, [KEY], DAY) is Invalid.FORGED


def test_a_path_is_good_at_its_own_domain_only() -> None:
    assert decode(FORWARD, "bounces.relay.example", [KEY], DAY) is Invalid.FORGED


@pytest.mark.parametrize("age", [-1, 0, 10])
def test_ten_days_and_a_clock_that_is_ahead_are_accepted(age: int) -> None:
    assert decode(FORWARD, DOMAIN, [KEY], DAY + age) == FORWARDED


@pytest.mark.parametrize("age", [-2, 11, 5000])
def test_other_ages_have_expired(age: int) -> None:
    assert decode(FORWARD, DOMAIN, [KEY], DAY + age) is Invalid.EXPIRED


@pytest.mark.parametrize(
    "local",
    [
        "",
        "b",
        "b-",
        "shop",
        "b-shop",
        FORWARD[:-1],
        FORWARD + "a",
        FORWARD[1:],
        "c" + FORWARD[1:],
        FORWARD[:-1] + "8",
        "B-\u212a" + FORWARD[3:],  # the Kelvin sign, whose lower case is k
        FORWARD + "\n",
        FORWARD + "+x",
    ],
)
def test_ordinary_local_parts_are_not_ours(local: str) -> None:
    assert decode(local, DOMAIN, [KEY], DAY) is None


def test_numbers_too_wide_are_not_cut() -> None:
    with pytest.raises(OverflowError):
        encode(VerpId(EmailType.FORWARD, 2**64, DAY), DOMAIN, KEY)
