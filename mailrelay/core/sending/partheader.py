"""Which fields the header of a part or of an attached message keeps: none that tell of the owner's programs and hosts.

Only fields about content mean anything in a part (RFC 2046 section 5.1); what else stands there is for the program that
wrote it.
"""

# Others name places (Content-Location, Content-Base) or are wrong once a body has changed (Content-MD5).
ABOUT_CONTENT = frozenset(
    b"content-" + name for name in (b"type", b"transfer-encoding", b"disposition", b"id", b"description", b"language")
)
_IN_PARTS = ABOUT_CONTENT | {b"mime-version"}


def belongs_to_part(name: bytes) -> bool:
    """Whether a field may stay in the header of a part. name: lower case, b"" for what is no field."""
    return name in _IN_PARTS
