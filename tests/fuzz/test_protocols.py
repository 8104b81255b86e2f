"""Policy and socketmap decoders against random octets: they answer or say Malformed, in whatever pieces."""

from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core.errors import Malformed
from mailrelay.wire import netstring, policy, socketmap

Feed = Callable[[bytes], Sequence[object]]

POLICY_PIECES = st.sampled_from(
    [b"request=smtpd_access_policy", b"\n", b"\n\n", b"=", b"sender=a@b.example", b"\r\n", b"size=", b"\xff", b"x"]
)
NETSTRING_PIECES = st.sampled_from(
    [b"1:", b"0:,", b",", b"3:a b,", b"12:", b"0", b"999999", b"domain k,", b"8:", b"\xff"]
)


def stream(pieces: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(pieces | st.binary(max_size=20), max_size=30).map(b"".join)


def outcome(feed: Feed, data: bytes, size: int) -> tuple[list[object], bool]:
    """Everything decoded before the end or the first Malformed, and whether there was one."""
    results: list[object] = []
    try:
        for at in range(0, len(data), size):
            results += feed(data[at : at + size])
    except Malformed:
        return results, True
    return results, False


def check_chunking(new: Callable[[], Feed], data: bytes, size: int) -> None:
    whole, whole_broken = outcome(new(), data, max(len(data), 1))
    pieces, pieces_broken = outcome(new(), data, size)
    assert pieces_broken == whole_broken
    # A whole stream that is broken somewhere yields nothing; in pieces its good beginning is seen.
    assert whole_broken or pieces == whole


@settings(max_examples=300)
@given(stream(POLICY_PIECES), st.integers(1, 40))
def test_policy_decoding_does_not_depend_on_the_pieces(data: bytes, size: int) -> None:
    check_chunking(lambda: policy.Decoder(limit=200).feed, data, size)


@settings(max_examples=300)
@given(stream(NETSTRING_PIECES), st.integers(1, 40))
def test_netstring_decoding_does_not_depend_on_the_pieces(data: bytes, size: int) -> None:
    check_chunking(lambda: netstring.Decoder(limit=50).feed, data, size)


@settings(max_examples=300)
@given(stream(NETSTRING_PIECES), st.integers(1, 40))
def test_socketmap_decoding_does_not_depend_on_the_pieces(data: bytes, size: int) -> None:
    check_chunking(lambda: socketmap.Decoder(limit=50).feed, data, size)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=60), max_size=10), st.integers(1, 40))
def test_netstrings_come_back_as_they_were(strings: list[bytes], size: int) -> None:
    results, broken = outcome(
        netstring.Decoder().feed,
        b"".join(netstring.encode(string) for string in strings),
        size,
    )
    assert (results, broken) == (strings, False)
