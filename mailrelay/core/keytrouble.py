"""Mail that cannot be encrypted: what becomes of it, and what its reader is told (spec section 6.5)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailrelay.core.certificate import Unusable
from mailrelay.core.facts import Target
from mailrelay.core.ledger import Envelope
from mailrelay.core.locks import EncryptionFailure, Lock
from mailrelay.core.notices import Code, Notice, Value


@dataclass(frozen=True, slots=True)
class Useless:
    """A recipient whose key cannot be used now, and what becomes of its copy."""

    target: Target
    lock: Lock
    why: Unusable

    @property
    def fate(self) -> EncryptionFailure:
        """What was chosen, as far as it keeps what was promised."""
        return "hold" if self.lock.never_plaintext and self.lock.failure == "plain" else self.lock.failure

    @property
    def sentence(self) -> str:
        """For whoever asked for the copy, and for logs, so that it names no mailbox."""
        return f"the key {self.lock.fingerprint} cannot be used: {self.why.sentence}"


def notices(
    useless: Sequence[Useless], envelope: Envelope, alias: str, at: str, *, held: bool = True
) -> Iterator[Notice]:
    """What the readers of a message are told, unencrypted. alias: as shown; at: when it came, RFC 3339.

    Of each message there is a stub, which names nothing of its author but the domain; about the key there is one
    notice a day. Who gets plain text hears of it from where that was decided. held: the mail is kept for those who are
    to wait for it.
    """
    assert envelope.account_id is not None  # recipients are an account's
    domain = envelope.sender.rpartition("@")[2]
    for one in useless:
        if one.fate == "plain":
            continue
        number, problem = one.target.id, f"key_{one.why.value}"
        key: dict[str, Value] = {"recipient": str(one.target.address), "fingerprint": one.lock.fingerprint}
        yield Notice(Code.GKE, envelope.account_id, number, data={**key, "problem": problem})
        told: dict[str, Value] = {"alias": alias, "domain": domain, "at": at, "problem": problem}
        told["kept"] = held and one.fate == "hold"
        # Postfix may bring a message again, at another time.
        message = f"{envelope.key.hex()} {number} {envelope.rcpt}"
        yield Notice(Code.NOT_ENCRYPTED, envelope.account_id, number, about=message, data=told)
