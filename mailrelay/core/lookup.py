"""What DNS answers, as data: so that checks can be computed without a network."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["A", "AAAA", "MX", "TXT", "PTR", "CNAME"]

Question = tuple[str, Kind]  # the name is ASCII, lower case, without the trailing dot


@dataclass(frozen=True, slots=True)
class Mx:
    """One MX record."""

    preference: int
    host: str  # lower case, without the trailing dot; "" for the null MX (RFC 7505)


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one name and kind, aliases (CNAME) followed unless they were asked for.

    records: addresses and names as str, MX as Mx, TXT as bytes with its strings joined. None at all with
    exists=True: the name is there, records of that kind are not; exists=False: NXDOMAIN.
    """

    records: tuple[str | bytes | Mx, ...] = ()
    exists: bool = True

    @property
    def texts(self) -> tuple[bytes, ...]:
        """The TXT records."""
        return tuple(record for record in self.records if isinstance(record, bytes))

    @property
    def names(self) -> tuple[str, ...]:
        """The addresses or names."""
        return tuple(record for record in self.records if isinstance(record, str))


ABSENT = Answer(exists=False)
