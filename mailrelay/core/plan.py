"""What is to be done with one recipient, as data, and what came of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as Postfix hands it over.

    sender: '' for the null sender; rcpts as written; content with CRLF line ends, dots unstuffed;
    client: address of the SMTP client that Postfix had it from, '' if unknown.
    """

    queue_id: str
    sender: str
    rcpts: tuple[str, ...]
    content: bytes
    client: str = ""
    smtputf8: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """One composed copy, ready for the outgoing queue.

    content: chunks whose concatenation is the message; each ends with CRLF.
    envelope_id: for ENVID, return_full: for RET, RFC 3461 sections 4.4 and 4.3.
    """

    sender: str
    rcpt: str
    content: tuple[bytes, ...]
    envelope_id: str
    eight_bit: bool
    smtputf8: bool
    return_full: bool = False  # if it fails, its owner wants the whole of it back, not just the header


@dataclass(frozen=True, slots=True)
class Handed:
    """The listener took it. queue_id: of the outgoing message, '' if it did not say."""

    queue_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The listener said no, for now (4xx) or for good (5xx)."""

    code: int
    text: str
