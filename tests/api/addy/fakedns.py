"""DNS that tests fill; test_fakedns.py holds it to what the real client does."""

from dataclasses import dataclass, field

from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import ABSENT, Answer, Kind, Question


@dataclass
class FakeDns:
    """answers: by folded name and kind, None for trouble; a name with other kinds only is there without these records.

    asked: every question, in order.
    """

    answers: dict[Question, Answer | None] = field(default_factory=dict)
    asked: list[Question] = field(default_factory=list)

    async def lookup(self, name: str, kind: Kind) -> Answer:
        """Raises Unavailable."""
        folded = name.lower().removesuffix(".")
        self.asked.append((folded, kind))
        if (folded, kind) not in self.answers:
            return Answer() if any(known == folded for known, _ in self.answers) else ABSENT
        found = self.answers[folded, kind]
        if found is None:
            raise Unavailable("DNS gave no answer")
        return found

    def txt(self, name: str, *texts: str) -> None:
        """The TXT records of a name, instead of those that it had."""
        self.answers[name, "TXT"] = Answer(tuple(text.encode() for text in texts))

    def fails(self, name: str, kind: Kind = "TXT") -> None:
        """There is no answer, as for SERVFAIL or silence."""
        self.answers[name, kind] = None
