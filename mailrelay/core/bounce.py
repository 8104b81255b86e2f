"""What a delivery report says about one copy."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounce:
    """failed: for good, anything else (delayed, relayed, delivered) is only news; status: RFC 3463, '' if none."""

    failed: bool
    status: str
    text: str
