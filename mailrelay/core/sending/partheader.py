"""Which fields the header of a part or of an attached message keeps: none that tell of the owner's programs and hosts.

Only fields about content mean anything in a part (RFC 2046 section 5.1); what else stands there is for the program that
wrote it.
"""

import re
from collections.abc import Mapping

from mailrelay.core.contenttype import content_type
from mailrelay.core.header import unfold

# Others name places (Content-Location, Content-Base) or are wrong once a body has changed (Content-MD5).
ABOUT_CONTENT = frozenset(
    b"content-" + name for name in (b"type", b"transfer-encoding", b"disposition", b"id", b"description", b"language")
)
_IN_PARTS = ABOUT_CONTENT | {b"mime-version"}
# The way of a message to the owner, and what those on it found out.
_TRACE = frozenset(
    b"received x-received return-path delivered-to x-delivered-to x-original-to original-recipient envelope-to"
    b" x-envelope-to apparently-to x-apparently-to x-forwarded-to x-forwarded-for x-rcpt-to x-resolved-to"
    b" authentication-results received-spf x-originating-ip x-sender-ip x-authenticated-sender".split()
)
# What people see of a message, and what makes its thread.
_SEEN = _IN_PARTS.union(
    b"from sender reply-to to cc bcc subject date message-id in-reply-to references comments keywords"
    b" resent-from resent-sender resent-to resent-cc resent-date resent-message-id".split()
)
_ESCAPED = re.compile(rb'(["\\])')
_UNPRINTABLE = re.compile(rb"[^\t -~]")


def belongs_to_part(name: bytes) -> bool:
    """Whether a field may stay in the header of a part. name: lower case, b"" for what is no field."""
    return name in _IN_PARTS


def belongs_to_attached(name: bytes, *, tells: bool) -> bool:
    """Whether a field may stay in the header of an attached message. name: as above. tells: it names the owner's
    address or a host of theirs, which only fields may do that people see: there, something else stands for it.
    """
    if not name or name in _TRACE or name.startswith(b"arc-"):
        return False
    return not tells or name in _SEEN


def with_parameters(raw: bytes, changes: Mapping[bytes, bytes]) -> bytes:
    """A Content-Type field with other values of parameters that it has; written anew only if it must."""
    name, _, value = raw.partition(b":")
    old = content_type(unfold(value))
    wanted = {**old.params, **changes}
    for parameter, text in changes.items():
        if value.count(old.params[parameter]) == 1:
            value = value.replace(old.params[parameter], text)
    if content_type(unfold(value)).params == wanted:
        return name + b":" + value
    said = [b'%b="%b"' % (one, _ESCAPED.sub(rb"\\\1", _UNPRINTABLE.sub(b"?", text))) for one, text in wanted.items()]
    return b"%b: %b\r\n" % (name, b";\r\n\t".join([old.word, *said]))
