"""Which expressions owners may have for names that become aliases."""

import pytest

from mailrelay.core.autocreate import is_heavy, is_valid, nests


@pytest.mark.parametrize(
    "pattern", ["^prefix", r"a\/b", r"\d+[a-z]*$", "(a|b)+", "a{2,}", r"\\", "(.*)*", "ü", r"[\/]", "^$"]
)
def test_valid(pattern: str) -> None:
    assert is_valid(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["///", "a/b", r"a\\/b", "[/]", "(a", "a)", "[a", "*a", "a\\", "(?=a)", "(?<!a)b", r"(a)\1", "a{2000}", "\ud800"],
)
def test_invalid(pattern: str) -> None:
    assert not is_valid(pattern)


@pytest.mark.parametrize("inner", [".*", ".+", r"\w+", r"\w*", r"\s+", r"\s*", r"\d+", r"\d*"])
@pytest.mark.parametrize("outer", ["*", "+"])
def test_the_sixteen_heavy_texts(inner: str, outer: str) -> None:
    assert is_heavy(f"^x({inner}){outer}y$")
    assert not is_heavy(f"^x({inner})y$")
    assert not is_heavy(f"^x({inner}){{2}}y$")


@pytest.mark.parametrize(
    "pattern", ["(a+)+", "(a*)*", "((a+)b)*", "(a+)  +", "x(y|z*)+", r"(\)+)+", "(a+))(b+)*", "((a)+)+"]
)
def test_nested(pattern: str) -> None:
    assert nests(pattern)


@pytest.mark.parametrize(
    "pattern", ["a+b*", "(a)+", "(a+)", r"(a\+)+", r"\(a+\)+", "(a+){2,}", "(a{2,})+", "(a+)b+", "))+", "(a+)?"]
)
def test_not_nested(pattern: str) -> None:
    assert not nests(pattern)
