"""Editing main.cf and master.cf byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core import maincf

OURS = ("ours:1",)
CHECK = ("check_policy_service", "inet:127.0.0.1:10031")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        (" , ,\t", []),
        ("a, b\tc,d", ["a", "b", "c", "d"]),
        (
            "check_policy_service { inet:127.0.0.1:1, timeout=5 } x",
            ["check_policy_service", "{ inet:127.0.0.1:1, timeout=5 }", "x"],
        ),
        ("${a?{b, c}:{d}}, e", ["${a?{b, c}:{d}}", "e"]),
        ("a} b", ["a}", "b"]),
    ],
)
def test_lists_are_split_as_postfix_does(value: str, expected: list[str]) -> None:
    assert maincf.texts(value) == expected


def test_an_entry_goes_over_comments_and_blank_lines() -> None:
    content = b"# head\na = 1,\n\n  # inner\n# outer\n\t2\n# behind\nb=3\nbroken\n"
    entries = maincf.parameters(content)
    assert [entry.key for entry in entries] == ["a", "b"]
    assert content[entries[0].start : entries[0].end] == b"a = 1,\n\n  # inner\n# outer\n\t2\n"
    assert [word.text for word in maincf.entry_words(content, entries[0])] == ["1", "2"]


def test_services_are_known_by_name_and_type() -> None:
    content = b"# none\nsmtp inet n - y - - smtpd\n  -o a=b\nsmtp unix - - y - - smtp\n"
    assert [entry.key for entry in maincf.services(content)] == ["smtp/inet", "smtp/unix"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"p = a, ours:1\n", b"p = a\n"),
        (b"p = a, ours:1", b"p = a"),
        (b"p = a, ours:1, b\n", b"p = a, b\n"),
        (b"p = ours:1, b\n", b"p = b\n"),
        (b"p = a ours:1 b\n", b"p = a b\n"),
        (b"p = a,\n    ours:1,\n    b\n", b"p = a,\n    b\n"),
        (b"p = a,\n    ours:1\n", b"p = a\n"),
        (b"p = a\n    , ours:1\n    , b\n", b"p = a\n    , b\n"),
        (b"p =\n\tours:1,\n\tb\n", b"p =\n\tb\n"),
        (b"p = a,\n# about us\n    ours:1\nq = 1\n", b"p = a\n# about us\nq = 1\n"),
        (b"p = a,\n# about us\n    ours:1,\n# about b\n    b\n", b"p = a,\n# about us\n# about b\n    b\n"),
        (b"p = a, ours:1,\n    b\n", b"p = a,\n    b\n"),
        (b"p = a,\n    ours:1, b\n", b"p = a,\n    b\n"),
        (b"p = ours:1,\n    b\n", b"p = \n    b\n"),
        (b"p = ours:1, a, ours:1\np = b ours:1\n", b"p = a\np = b\n"),
        (b"p = ours:10, xours:1, {ours:1}\n", b"p = ours:10, xours:1, {ours:1}\n"),
        (b"q = ours:1\n# p = ours:1\n", b"q = ours:1\n# p = ours:1\n"),
    ],
)
def test_an_element_goes_with_its_separator_and_nothing_else(before: bytes, after: bytes) -> None:
    assert maincf.without(before, "p", [OURS]) == after


def test_a_check_and_its_argument_go_together() -> None:
    before = b"p = a, check_policy_service inet:192.0.2.1:1, check_policy_service\n   inet:127.0.0.1:10031, b\n"
    assert maincf.without(before, "p", [CHECK]) == b"p = a, check_policy_service inet:192.0.2.1:1, b\n"


@given(
    st.lists(st.sampled_from(["a", "b", "ours:1", "{x, y}"]), min_size=1),
    st.lists(st.sampled_from([", ", " ", ",\n  ", "\n# note, ours:1\n\t", ",\n\n  ", " ,"]), min_size=20, max_size=20),
)
def test_taking_out_leaves_the_other_elements_and_the_next_entry(elements: list[str], separators: list[str]) -> None:
    value = "".join(element + separators[at % 20] for at, element in enumerate(elements[:-1])) + elements[-1]
    content = f"p = {value}\nq = ours:1 #\n".encode()
    found = maincf.main_meaning(maincf.without(content, "p", [OURS]))
    assert found == {"p": [element for element in elements if element != "ours:1"], "q": ["ours:1", "#"]}


ORIGINAL = b"a = 1\np =\n\tx,\n# why y\n\ty\nq = 2\nlast = 3"
ADOPTED = b"a = 1\np = x, y, ours:1\n# why y\nq = 2\nlast = 3\nnew = ours:1\n"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (ADOPTED, ORIGINAL),
        (ADOPTED.replace(b"a = 1", b"a = 9"), ORIGINAL.replace(b"a = 1", b"a = 9")),
        (b"# top\n" + ADOPTED, b"# top\n" + ORIGINAL),
        (ADOPTED + b"z = 1\n", ORIGINAL + b"\nz = 1\n"),
        (ADOPTED.replace(b"q = 2\n", b""), ORIGINAL.replace(b"q = 2\n", b"")),
    ],
)
def test_our_change_is_undone_around_edits(now: bytes, expected: bytes) -> None:
    assert maincf.undo(now, ADOPTED, ORIGINAL) == expected


def test_an_entry_that_was_edited_is_not_half_undone() -> None:
    now = ADOPTED.replace(b"x, y, ours:1", b"x, y, ours:1, z")
    found = maincf.main_meaning(maincf.undo(now, ADOPTED, ORIGINAL))
    assert found["p"] == ["x", "y", "ours:1", "z"]
    assert "new" not in found


@given(st.lists(st.sampled_from([b"a = 1\n", b"p = x\n", b" y\n", b"# c\n", b"\n", b"p = ours:1\n"])), st.data())
def test_undoing_in_an_untouched_file_gives_the_original(lines: list[bytes], data: st.DataObject) -> None:
    changed = data.draw(st.lists(st.sampled_from([b"a = 1\n", b"p = x, ours:1\n", b"# c\n", b"\n", b"n = 2\n"])))
    assert maincf.undo(b"".join(changed), b"".join(changed), b"".join(lines)) == b"".join(lines)


def test_the_old_layout_comes_back_when_the_words_are_the_same() -> None:
    now = b"p =   x,  y\n# why y\nq = 2\n"
    assert maincf.relaid(now, "p", ORIGINAL) == b"p =\n\tx,\n# why y\n\ty\nq = 2\n"
    assert maincf.relaid(b"p = x, z\n", "p", ORIGINAL) == b"p = x, z\n"
