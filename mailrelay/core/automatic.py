"""Mail that no human wrote: told apart from what people write, and never answered (spec section 9.3, RFC 3834)."""

from mailrelay.core.address import Address
from mailrelay.core.header import Message
from mailrelay.core.realm import Realm

_UNANSWERED_PRECEDENCES = frozenset({b"bulk", b"list", b"junk"})


def is_report(message: Message) -> bool:
    """True for multipart/report: a bounce, a read receipt, a complaint (RFC 6522)."""
    content_type = message.first(b"content-type") or b""
    return _token(content_type) == b"multipart/report"


def is_backscatter(message: Message, sender: str, *, accept_foreign_dsn: bool = False) -> bool:
    """True for a bounce of mail that was forged with an alias as its sender.

    Not to be asked about return paths of ours. accept_foreign_dsn: the account sends mail elsewhere under its aliases,
    and wants the bounces of that; the two cannot be told apart.
    """
    return not sender and not accept_foreign_dsn and is_report(message)


def is_automatic(message: Message, sender: str) -> bool:
    """True for out-of-office answers, bounces, receipts and the like (spec section 4.2 a). sender: '' is null."""
    return (
        not sender
        or any(_token(value) not in (b"no", b"") for value in message.values(b"auto-submitted"))
        or any(_token(value) == b"auto_reply" for value in message.values(b"precedence"))
        or message.count(b"x-autoreply") > 0
    )


def may_answer(message: Message, sender: Address | None, realm: Realm) -> bool:
    """True if a message of ours may answer this one: somebody else wrote it, to us, by hand (RFC 3834 section 2).

    sender: of the envelope, None is the null sender.
    """
    return (
        sender is not None
        and realm.locate(sender.domain) is None
        and not is_automatic(message, str(sender))
        and not message.count(b"list-id")
        and all(_token(value) not in _UNANSWERED_PRECEDENCES for value in message.values(b"precedence"))
    )


def _token(value: bytes) -> bytes:
    """The first word of a value, less parameters and comments, in lower case."""
    return value.partition(b";")[0].partition(b"(")[0].strip().lower()
