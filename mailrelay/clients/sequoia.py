"""The only place that speaks to pysequoia: one operation at a time, blocking, holding the interpreter's lock.

Texts of its errors can carry backtraces and parts of keys, so they go no further than this; a panic of the library is
no Exception, but an error like others. What it is given has passed the gate (core/pgppackets.py): by itself it takes
revoked keys and knows no limits.
"""

import contextlib
from collections.abc import Iterator, Sequence

import pysequoia

from mailrelay.core.errors import Malformed

PublicKey = pysequoia.Cert
SecretKey = pysequoia.Tsk
Signer = pysequoia.PySigner


class Refused(Malformed):  # says what happened
    """The library would not do it with this key or this message."""


def certificate(octets: bytes) -> PublicKey:
    """A public key, ready for use. Raises Refused."""
    with _no_details("the OpenPGP library does not take the key"):
        return pysequoia.Cert.from_bytes(octets)


def secret_key(octets: bytes) -> SecretKey:
    """A secret key, ready for use. Raises Refused."""
    with _no_details("the OpenPGP library does not take the secret key"):
        return pysequoia.Tsk.from_bytes(octets)


def signer(key: SecretKey) -> Signer:
    """What signs with a key. Raises Refused: it cannot sign, or no longer."""
    with _no_details("the secret key cannot sign"):
        return key.signer()


def encrypt(content: bytes, certificates: Sequence[PublicKey], signing: Signer | None) -> bytes:
    """The content, encrypted to all, armored with LF; signed unless signing is None. Raises Refused."""
    with _no_details("the OpenPGP library does not encrypt to the key"):
        return pysequoia.encrypt(content, recipients=list(certificates), signer=signing)


def encrypt_stream(source: str, sink: str, certificates: Sequence[bytes], signing_key: bytes) -> None:
    """The same, from one file to another, in little memory; pipes will do. Raises Refused."""
    keys = [certificate(each) for each in certificates]
    with _no_details("the OpenPGP library does not encrypt to the key"):
        pysequoia.encrypt_file(source, sink, recipients=keys, signer=signer(secret_key(signing_key)))


def decrypt_stream(source: str, sink: str, key: bytes) -> None:
    """What a message says that was encrypted to a key, from one file to another. Signatures in it are not looked at.

    Raises Refused: it is not encrypted to this key, is damaged, or is no such message.
    """
    with _no_details("the message does not decrypt with the key"):
        pysequoia.decrypt_file(source, sink, decryptor=secret_key(key).decryptor())


def create(user_id: str) -> bytes:
    """A new secret key that signs and decrypts, for ever: Ed25519 and Curve25519, version 4, which all clients know."""
    with _no_details("the OpenPGP library made no key"):
        return bytes(pysequoia.Tsk.generate(user_id=user_id, profile=pysequoia.Profile.RFC4880))


def public_of(secret: bytes) -> bytes:
    """The public part of a secret key. Raises Refused."""
    key = secret_key(secret)
    with _no_details("the OpenPGP library does not give the public key"):
        return bytes(key.extract_certificate())


@contextlib.contextmanager
def _no_details(text: str) -> Iterator[None]:
    try:
        yield
    except Refused:
        raise
    except MemoryError:
        raise
    except Exception:
        raise Refused(text) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise Refused(text) from None
