"""What anybody may ask of whoever has an alias or handle: to end or change it, by a code that goes to them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mailrelay.core.codes import Intent
from mailrelay.core.errors import Malformed


@dataclass(frozen=True, slots=True)
class OwnerRequest:
    """name, domain: of an alias; or of a handle, and of the domain that a rule is about, else ''.

    link: what the code is appended to for the button of the mail, '' for none. ip, user_agent: of whoever asks.
    """

    intent: Intent
    name: str
    domain: str
    link: str
    ip: str
    user_agent: str

    @property
    def about(self) -> str:
        """What is told apart when somebody asks again."""
        return f"{self.name}@{self.domain}" if self.domain else self.name

    def to_json(self) -> dict[str, Any]:
        """The payload of the job."""
        return {"data": asdict(self)}


def from_json(payload: Mapping[str, object]) -> OwnerRequest:
    """Raises Malformed."""
    data = payload.get("data")
    if not isinstance(data, Mapping):
        raise Malformed("the job asks for nothing")
    members = {name: str(data.get(name, "")) for name in ("name", "domain", "link", "ip", "user_agent")}
    try:
        return OwnerRequest(Intent(str(data.get("intent"))), **members)
    except ValueError as error:
        raise Malformed("the job has an unknown intent") from error
