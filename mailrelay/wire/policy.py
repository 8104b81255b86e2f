"""The policy delegation protocol of Postfix: requests in, one action out for each.

Source: Postfix SMTPD_POLICY_README. A request is a block of `name=value` lines ended by an empty
line; the client sends the next one after it has read the answer, on the same connection.
"""

from dataclasses import dataclass

from mailrelay.core.errors import Malformed


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """The attributes of one request that we use; "" where Postfix sent none or an empty one.

    Text is UTF-8 with surrogateescape: octets that are no UTF-8 (the client chooses helo_name and
    sender) become lone surrogates, which no strict codec and no database takes.
    """

    protocol_state: str = ""
    protocol_name: str = ""  # SMTP or ESMTP
    sender: str = ""  # "" is also the null sender
    recipient: str = ""
    client_address: str = ""
    client_name: str = ""  # "unknown" if the name is not verified
    helo_name: str = ""
    instance: str = ""  # the same for all requests about one message
    queue_id: str = ""  # "" before the first recipient is accepted
    sasl_username: str = ""
    size: str = ""  # octets the client announced with MAIL FROM, "0" if none
    encryption_protocol: str = ""  # such as TLSv1.3


class Decoder:
    """Cuts a byte stream into policy requests.

    limit: octets one request may have. After Malformed the stream has lost its place: hang up.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, chunk: bytes) -> list[PolicyRequest]:
        """The requests that `chunk` completes, in order.

        Raises Malformed for a line without `=`, a NUL octet, another kind of request, too long a one.
        """
        *blocks, rest = (self._rest + chunk).split(b"\n\n")
        self._rest = rest
        if rest[:1] == b"\n":
            raise Malformed("policy request without attributes")
        # The line end that belongs to the final empty line may come alone.
        if len(rest) - rest.endswith(b"\n") > self._limit:
            raise Malformed(f"policy request of more than {self._limit} octets")
        return [self._parse(block) for block in blocks]

    def _parse(self, block: bytes) -> PolicyRequest:
        if len(block) > self._limit:
            raise Malformed(f"policy request of more than {self._limit} octets")
        if b"\0" in block:
            raise Malformed("policy request with a NUL octet")
        try:
            # One decoding and one dict for the block: this runs for every RCPT of the host.
            attributes = dict([line.split("=", 1) for line in block.decode("utf-8", "surrogateescape").split("\n")])
        except ValueError:
            raise Malformed("policy request with a line that has no '='") from None
        get = attributes.get
        if get("request") != "smtpd_access_policy":
            raise Malformed("policy request of an unknown kind")
        return PolicyRequest(
            get("protocol_state", ""),
            get("protocol_name", ""),
            get("sender", ""),
            get("recipient", ""),
            get("client_address", ""),
            get("client_name", ""),
            get("helo_name", ""),
            get("instance", ""),
            get("queue_id", ""),
            get("sasl_username", ""),
            get("size", ""),
            get("encryption_protocol", ""),
        )


def encode_action(action: str) -> bytes:
    """The answer to one request, such as action `550 5.1.1 Address does not exist`.

    Raises ValueError unless the action is one line of printable ASCII: anything else would put
    words into the protocol.
    """
    if not (action and action.isascii() and action.isprintable()):
        raise ValueError(f"not one line of printable ASCII: {action!r}")
    return b"action=%b\n\n" % action.encode("ascii")
