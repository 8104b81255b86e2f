"""Where a service listens: an IP address and port, or a unix socket."""

from dataclasses import dataclass
from ipaddress import ip_address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Either host and port, or path."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """`192.0.2.1:25`, `[2001:db8::1]:25` or `unix:/run/mailrelay/lmtp`. Raises ValueError."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path.startswith("/") or len(path) > 100:
                raise ValueError(f"{text!r}: a unix socket needs an absolute path of at most 100 characters")
            return cls(path=path)
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{text!r} is neither ADDRESS:PORT nor unix:/PATH")
        try:
            ip_address(host)
        except ValueError:
            raise ValueError(f"{text!r}: {host!r} is not an IP address") from None
        return cls(host=host, port=int(port))

    @property
    def postfix(self) -> str:
        """As Postfix writes it: `inet:127.0.0.1:10031` or `unix:/run/mailrelay/policy`."""
        return f"unix:{self.path}" if self.path else f"inet:{self._host_port}"

    @property
    def loopback(self) -> bool:
        """True if only this host can connect."""
        return bool(self.path) or ip_address(self.host).is_loopback

    @property
    def _host_port(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else self._host_port
