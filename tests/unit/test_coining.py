"""Local parts by lot: their shapes, their spread, and the lists that they are drawn from."""

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from uuid import UUID

import pytest

from mailrelay import words
from mailrelay.core.address import is_creatable
from mailrelay.core.coining import AliasFormat, Coiner, WordLists
from mailrelay.core.errors import BadConfig

LISTS = words.load()
SMALL = WordLists(("ant", "bee"), ("john",), ("jane",), ("smith",), ("calm",), ("river",))
TWO_WORDS = re.compile(r"^[a-z]+[._-][a-z]+\d{1,3}$")
PADDED = (AliasFormat.RANDOM_MALE_NAME, AliasFormat.RANDOM_FEMALE_NAME, AliasFormat.RANDOM_NOUN)


def drawing(*numbers: int) -> Callable[[int], int]:
    """A source that gives these, and says when one is out of range."""
    left: Iterator[int] = iter(numbers)

    def below(limit: int) -> int:
        number = next(left)
        assert 0 <= number < limit
        return number

    return below


def test_random_characters_are_eight_of_thirty_six() -> None:
    coiner = Coiner(LISTS, secrets.randbelow)
    drawn = [coiner.local(AliasFormat.RANDOM_CHARACTERS, ".") for _ in range(2000)]
    assert all(re.fullmatch("[0-9a-z]{8}", local) for local in drawn)
    counts = Counter("".join(drawn))
    assert len(counts) == 36
    assert min(counts.values()) > 0.6 * 16000 / 36  # ten standard deviations off


def test_a_default_of_custom_draws_characters() -> None:
    assert Coiner(SMALL, drawing(*range(28, 36))).local(AliasFormat.CUSTOM, ".") == "stuvwxyz"


def test_uuids_are_of_version_four() -> None:
    coiner = Coiner(LISTS, secrets.randbelow)
    drawn = {coiner.local(AliasFormat.UUID, ".") for _ in range(50)}
    assert len(drawn) == 50
    assert all(UUID(local).version == 4 and str(UUID(local)) == local for local in drawn)


@pytest.mark.parametrize("format", [AliasFormat.RANDOM_WORDS, *PADDED])
@pytest.mark.parametrize("separator", [".", "_", "-", "random"])
def test_two_words_a_separator_and_a_number(format: AliasFormat, separator: str) -> None:
    coiner = Coiner(LISTS, secrets.randbelow)
    drawn = [coiner.local(format, separator) for _ in range(200)]
    assert all(TWO_WORDS.fullmatch(local) and is_creatable(local) for local in drawn)
    seen = {char for local in drawn for char in local if not char.isalnum()}
    assert seen == ({".", "_", "-"} if separator == "random" else {separator})


def test_the_number_of_words_is_not_padded_that_of_names_is() -> None:
    assert Coiner(SMALL, drawing(0, 0, 7)).local(AliasFormat.RANDOM_WORDS, ".") == "ant.bee7"
    assert Coiner(SMALL, drawing(0, 0, 7)).local(AliasFormat.RANDOM_NOUN, ".") == "calm.river007"
    assert Coiner(SMALL, drawing(0, 0, 0)).local(AliasFormat.RANDOM_MALE_NAME, "_") == "john_smith000"
    assert Coiner(SMALL, drawing(0, 0, 999)).local(AliasFormat.RANDOM_FEMALE_NAME, "-") == "jane-smith999"


def test_the_two_words_differ_and_come_in_either_order() -> None:
    coiner = Coiner(SMALL, secrets.randbelow)
    drawn = {coiner.local(AliasFormat.RANDOM_WORDS, ".").rstrip("0123456789") for _ in range(200)}
    assert drawn == {"ant.bee", "bee.ant"}


def test_our_lists_are_about_as_long_as_the_original_s() -> None:
    about = {
        "words": 7770,
        "male_names": 450,
        "female_names": 420,
        "surnames": 1730,
        "adjectives": 3700,
        "nouns": 2300,
    }
    assert {field.name for field in fields(WordLists)} == set(about)
    for name, size in about.items():
        assert abs(len(getattr(LISTS, name)) - size) <= 0.01 * size, name


@pytest.mark.parametrize("path", sorted(Path(words.__file__).parent.glob("*.txt")), ids=lambda path: path.stem)
def test_every_list_of_ours_says_where_it_comes_from(path: Path) -> None:
    lines = path.read_text().splitlines()
    head = " ".join(line for line in lines if line.startswith("#"))
    assert re.search("licence|public domain", head)
    assert path.name in (path.parent / "LICENSES.md").read_text()
    entries = [line for line in lines if not line.startswith("#")]
    assert entries == sorted(set(entries))


def test_the_operator_s_lists_come_before_ours(tmp_path: Path) -> None:
    own = [f"wort{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(120)]
    (tmp_path / "nouns.txt").write_text("# ours\n\n" + "\n".join(own) + "\n")
    lists = words.load(tmp_path)
    assert lists.nouns == tuple(own)
    assert lists.words == LISTS.words


def test_all_mistakes_in_lists_are_reported(tmp_path: Path) -> None:
    (tmp_path / "nouns.txt").write_text("Haus\nbaum\n")
    (tmp_path / "words.txt").write_bytes(b"\xff")
    with pytest.raises(BadConfig) as caught:
        words.load(tmp_path)
    text = str(caught.value)
    assert "'Haus' is not" in text and "holds 2 entries" in text and "words.txt: cannot be read" in text
    with pytest.raises(BadConfig, match="is no folder"):
        words.load(tmp_path / "nowhere")
