"""Local parts by lot for new aliases, in the formats that an owner chooses between (addy.io API, section 3.4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never
from uuid import UUID

# A uniform number from 0 to n - 1, of a cryptographic source: whoever can foretell aliases can write to them.
Below = Callable[[int], int]

SEPARATORS = (".", "_", "-")
ANY_SEPARATOR = "random"

_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LENGTH = 8


class AliasFormat(StrEnum):
    """How the local part of a new alias comes about. CUSTOM: its owner says it."""

    RANDOM_CHARACTERS = "random_characters"
    UUID = "uuid"
    RANDOM_WORDS = "random_words"
    RANDOM_MALE_NAME = "random_male_name"
    RANDOM_FEMALE_NAME = "random_female_name"
    RANDOM_NOUN = "random_noun"
    CUSTOM = "custom"


@dataclass(frozen=True, slots=True)
class WordLists:
    """What names are put together from; every entry is of a-z, every list holds at least two."""

    words: tuple[str, ...]
    male_names: tuple[str, ...]
    female_names: tuple[str, ...]
    surnames: tuple[str, ...]
    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coiner:
    """Draws local parts."""

    lists: WordLists
    below: Below

    def local(self, format: AliasFormat, separator: str) -> str:
        """A folded local part; that nobody has it yet is not certain.

        format: CUSTOM is like RANDOM_CHARACTERS here. separator: one of the three, or `random`; between two words.
        """
        lists = self.lists
        match format:
            case AliasFormat.RANDOM_CHARACTERS | AliasFormat.CUSTOM:
                return "".join(self._one(_CHARACTERS) for _ in range(_LENGTH))
            case AliasFormat.UUID:
                return str(self.uuid())
            case AliasFormat.RANDOM_WORDS:
                first = self.below(len(lists.words))
                second = self.below(len(lists.words) - 1)
                second += second >= first
                return self._joined(lists.words[first], separator, lists.words[second], str(self.below(1000)))
            case AliasFormat.RANDOM_MALE_NAME:
                return self._pair(lists.male_names, separator, lists.surnames)
            case AliasFormat.RANDOM_FEMALE_NAME:
                return self._pair(lists.female_names, separator, lists.surnames)
            case AliasFormat.RANDOM_NOUN:
                return self._pair(lists.adjectives, separator, lists.nouns)
            case _:
                assert_never(format)

    def uuid(self) -> UUID:
        """A random one, RFC 9562 section 5.4."""
        return UUID(int=self.below(1 << 128), version=4)

    def _one(self, choices: Sequence[str]) -> str:
        return choices[self.below(len(choices))]

    def _pair(self, first: Sequence[str], separator: str, second: Sequence[str]) -> str:
        return self._joined(self._one(first), separator, self._one(second), f"{self.below(1000):03}")

    def _joined(self, first: str, separator: str, second: str, number: str) -> str:
        between = self._one(SEPARATORS) if separator == ANY_SEPARATOR else separator
        return f"{first}{between}{second}{number}"
