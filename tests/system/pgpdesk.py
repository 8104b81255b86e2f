"""Readers of encrypted mail, with GnuPG as their program and as the judge of what reaches them."""

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.system.letters import names
from tests.system.scenario import (
    Person,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.world import Mail, World
from tests.unit import pgp
from tests.unit.pgp import Gpg
from tools.sandbox.show import Arrived

CURVE, RSA = ("ed25519 cert,sign", "cv25519"), ("rsa2048 cert,sign", "rsa2048")
BOTH = {"alias.example/mr1": "valid", "alias.example/mr1e": "valid"}

_KIND = re.compile(r'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="([\w.=+\'-]{1,70})"')
_TOP = """--{0}
Content-Type: application/pgp-encrypted
Content-Description: PGP/MIME version identification

Version: 1

--{0}
Content-Type: application/octet-stream; name="encrypted.asc"
Content-Description: OpenPGP encrypted message
Content-Disposition: inline; filename="encrypted.asc"

"""
_BEGIN, _END = b"-----BEGIN PGP MESSAGE-----\r\n", b"\r\n-----END PGP MESSAGE-----"


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody whose mailbox has a key, and an alias for it."""

    person: Person
    alias: str
    fingerprint: str

    @property
    def mailbox(self) -> str:
        return self.person.mailbox


@dataclass(frozen=True, slots=True)
class Desk:
    """service: public key of the service; signer: its fingerprint."""

    scenario: Scenario
    gpg: Gpg
    service: bytes
    signer: str

    def give(self, mailbox: str, fingerprint: str) -> None:
        """Set the key of a mailbox as it is in the ring now."""
        armored = self.gpg.public(fingerprint, armor=True).decode()
        self.scenario.world.cli("recipient", "key", mailbox, "-", stdin=armored)

    def choose(self, mailbox: str, *words: str) -> None:
        """Say how mail to a mailbox is encrypted."""
        self.scenario.world.cli("recipient", "encryption", mailbox, *words)

    def reader(self, *words: str, kind: tuple[str, str] = CURVE) -> Reader:
        """Somebody new with a key. words: of the command `recipient encryption`."""
        person = self.scenario.person(forward_mode="transparent")
        fingerprint = self.gpg.create(f"<{person.mailbox}>", *kind)
        self.give(person.mailbox, fingerprint)
        if words:
            self.choose(person.mailbox, *words)
        return Reader(person, self.scenario.alias(person), fingerprint)

    def expired(self, *words: str) -> Reader:
        """Somebody whose key was good once."""
        reader = self.reader(*words)
        old = self.gpg.create(f"Old <{reader.mailbox}>", *CURVE, expires="1y", at="20200101T000000")
        self.put(reader, old)
        return Reader(reader.person, reader.alias, old)

    def put(self, reader: Reader, fingerprint: str) -> None:
        """Put a key in place without any look at it."""
        self.scenario.sql(
            "update recipient set public_key = %s, fingerprint = %s where account_id = %s",
            *(self.gpg.public(fingerprint), fingerprint, reader.person.account),
        )

    def received(self, reader: Reader, mail: Mail) -> Arrived:
        """The one copy of a message."""
        sent = self.scenario.send(reader.alias, mail=mail)
        (copy,) = self.scenario.copies(sent, reader.mailbox)
        return copy

    def opened(self, copy: Arrived, *marks: str) -> bytes:
        """The entity in a PGP/MIME copy, after a look at all that is around it (spec section 6.2).

        marks: words that it says nowhere but inside.
        """
        (kind,) = header(copy, "Content-Type")
        boundary = _KIND.fullmatch(kind)
        assert boundary, kind
        about = re.findall(rb"(?im)^(content-[^:]*|mime-version):", copy.header)
        assert sorted(name.lower() for name in about) == [b"content-type", b"mime-version"]
        assert header(copy, "MIME-Version") == ["1.0"]
        top = _TOP.format(boundary[1]).replace("\n", "\r\n").encode()
        bottom = f"\r\n\r\n--{boundary[1]}--\r\n".encode()
        assert copy.body.startswith(top) and copy.body.endswith(bottom), copy.body
        return self.decrypted(copy, copy.body[len(top) : -len(bottom)], *marks)

    def opened_inline(self, copy: Arrived, *marks: str) -> bytes:
        """The text in an inline copy, whose body is armor and nothing else (section 6.4)."""
        assert header(copy, "Content-Type") == ["text/plain; charset=utf-8"]
        assert header(copy, "Content-Transfer-Encoding") == []
        return self.decrypted(copy, copy.body.strip(), *marks)

    def decrypted(self, copy: Arrived, armor: bytes, *marks: str) -> bytes:
        """What the armor says, signed by the service."""
        assert armor.startswith(_BEGIN) and armor.endswith(_END) and armor.count(b"-----") == 4
        assert copy.body.isascii() and max(map(len, copy.body.split(b"\r\n"))) <= 76
        assert names(copy, *marks) == []
        assert set(self.scenario.world.signatures(copy).values()) == {"valid"}
        content, signer = self.gpg.decrypt(armor, self.service)
        assert signer == self.signer
        lowered = content.decode("utf-8", "replace").lower()
        assert [mark for mark in marks if mark.lower() not in lowered] == []
        return content

    def recorded(self, copy: Arrived) -> bool:
        """Whether the outbound record says that the last copy to this mailbox was encrypted."""
        found = "select encrypted from outbound where destination = %s order by created_at desc limit 1"
        return bool(self.scenario.value(found, copy.recipients[0]))


def read(entity: bytes) -> EmailMessage:
    """As a mail program reads what was inside."""
    return email.message_from_bytes(entity, policy=policy.default)


@pytest.fixture(name="desk_parts", scope="module")
def provide_desk_parts(session_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gpg, bytes]]:
    folder = Path(tmp_path_factory.mktemp("gpg"))
    session_world.cli("pgp-key", "publish", str(folder / "web"))
    (public,) = folder.rglob("service-key.asc")
    for gpg in pgp.home(folder / "home"):
        yield gpg, public.read_bytes()


@pytest.fixture(name="desk")
def provide_desk(scenario: Scenario, desk_parts: tuple[Gpg, bytes]) -> Desk:
    """Test modules import it and the fixtures it needs by name."""
    gpg, service = desk_parts
    shown = scenario.world.cli("pgp-key", "show")
    return Desk(scenario, gpg, service, (shown if isinstance(shown, dict) else shown[0])["fingerprint"].upper())
