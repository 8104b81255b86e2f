"""Each defect that the description of the Haltman API names has a test of its own, so that it does not come back."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
_NAMED = re.compile(r"def (test_(?:d_\d\d_)+\w+)\(")
# Settled by tests that are called after what they are about: file and function.
ELSEWHERE = {
    17: "system/test_srs.py::test_12_7_190_a_bounce_reaches_the_writer_without_the_mailbox",
    18: "system/test_submission.py::test_a_login_sends_with_its_own_addresses",
    19: "system/test_rcpt.py::test_12_1_45_a_handle_is_switched_off_for_one_domain",
    30: "store/test_migrate.py::test_schema_and_migrations_build_the_same",
    35: "unit/test_keyring.py::test_keys_that_are_made_while_we_run_are_found",
    36: "system/test_rcpt.py::test_somebody_says_to_be",
}


@cache
def named() -> dict[int, list[str]]:
    """Tests by the defects that they are named after."""
    found: dict[int, list[str]] = {}
    for name in _names(TESTS):
        for number in re.findall(r"(?<=_)\d\d(?=_)", re.match(r"test_((?:d_\d\d_)+)", name)[0]):  # type: ignore[index]
            found.setdefault(int(number), []).append(name)
    return found


def _names(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("test_*.py")):
        yield from _NAMED.findall(path.read_text())


@pytest.mark.parametrize("number", range(1, 47))
def test_a_defect_has_a_test(number: int) -> None:
    assert number in named() or number in ELSEWHERE
    assert not (number in named() and number in ELSEWHERE), named()[number]


@pytest.mark.parametrize("place", ELSEWHERE.values())
def test_what_is_settled_elsewhere_is_there(place: str) -> None:
    path, _, name = place.partition("::")
    assert re.search(rf"def {name}\(", (TESTS / path).read_text())


def test_no_other_number_is_named() -> None:
    assert set(named()) <= set(range(1, 47))
