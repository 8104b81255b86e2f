"""Encryption at rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.errors import Malformed
from mailrelay.core.sealed import NONCE_OCTETS, OVERHEAD_OCTETS, Vault, seal, unseal, vault

OLD, NEW = bytes(range(32)), b"another key of any length"
NONCE = b"\x07" * NONCE_OCTETS


@given(clear=st.binary(max_size=2000), place=st.binary(max_size=40))
def test_what_was_sealed_opens(clear: bytes, place: bytes) -> None:
    sealed = seal(vault([OLD]), NONCE, place, clear)
    assert len(sealed) == len(clear) + OVERHEAD_OCTETS
    assert unseal(vault([OLD]), place, sealed) == clear


def test_the_form_on_disk_stays_readable() -> None:
    """Rows of this release are opened by later ones."""
    sealed = "0116a7e9e2070707070707070707070707c4abe017d91d2faedfe31d19b78009eaf5016ed189"
    assert seal(vault([OLD]), NONCE, b"row 1", b"hello").hex() == sealed
    assert unseal(vault([OLD]), b"row 1", bytes.fromhex(sealed)) == b"hello"


def test_the_first_key_seals_and_all_open() -> None:
    before = seal(vault([OLD]), NONCE, b"row 1", b"hello")
    rotated = vault([NEW, OLD])
    assert unseal(rotated, b"row 1", before) == b"hello"
    after = seal(rotated, NONCE, b"row 1", b"hello")
    assert unseal(vault([NEW]), b"row 1", after) == b"hello"
    assert rotated.key_id == vault([NEW]).key_id == after[1:5].hex()


def test_a_forgotten_key_is_named() -> None:
    sealed = seal(vault([OLD]), NONCE, b"row 1", b"hello")
    with pytest.raises(Malformed, match=f"key {vault([OLD]).key_id}, which storage.key no longer holds"):
        unseal(vault([NEW]), b"row 1", sealed)


def test_keys_that_share_their_name_are_all_tried() -> None:
    (old,), (new,) = vault([OLD]).keys, vault([NEW]).keys
    namesake = type(new)(old.id, new.cipher)
    assert unseal(Vault((namesake, old)), b"row 1", seal(vault([OLD]), NONCE, b"row 1", b"hello")) == b"hello"


def test_another_row_is_no_place_for_it() -> None:
    with pytest.raises(Malformed, match="moved to another row"):
        unseal(vault([OLD]), b"row 2", seal(vault([OLD]), NONCE, b"row 1", b"hello"))


@pytest.mark.parametrize("at", range(len(b"hello") + OVERHEAD_OCTETS))
def test_no_octet_can_change(at: int) -> None:
    sealed = bytearray(seal(vault([OLD]), NONCE, b"row 1", b"hello"))
    sealed[at] ^= 0x40
    with pytest.raises(Malformed):
        unseal(vault([OLD]), b"row 1", bytes(sealed))


@given(st.binary(max_size=80))
def test_anything_else_is_malformed(sealed: bytes) -> None:
    with pytest.raises(Malformed):
        unseal(vault([OLD]), b"row 1", sealed)


def test_keys_do_not_show_in_words() -> None:
    assert OLD.hex() not in repr(vault([OLD]))
    assert repr(OLD) not in repr(vault([OLD]))
