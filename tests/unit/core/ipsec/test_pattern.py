"""Patterns of identities."""

import re
import time

import pytest

from nhrpd_py.core.ipsec.pattern import Pattern

ALPHABET = ("", "a", "b", "A", ".", "ab", "ba", "aab", "abab", "b.a", "aaaa", "a\nb")
PATTERNS = ("", "a", "*", "?", "a*", "*a", "*a*", "a?", "?*?", "**", "*a*b", "a.b", "*?b*", "a*?b")


def by_regexp(pattern: str, text: str) -> bool:
    """The meaning of a pattern, in other words."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.IGNORECASE | re.DOTALL) is not None


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_the_whole_text_in_either_case(pattern: str) -> None:
    matcher = Pattern(pattern)
    assert [matcher.matches(text) for text in ALPHABET] == [
        by_regexp(pattern, text) for text in ALPHABET
    ]


@pytest.mark.parametrize("pattern", ["*a*a*a*a*b", "*a*a*a*a*a*a*a*a*?b", "*" * 64 + "b"])
def test_many_stars_cost_no_time(pattern: str) -> None:
    """39 s it took, in the one task that does everything."""
    began = time.process_time()
    assert not Pattern(pattern).matches("a" * 256)
    assert time.process_time() - began < 0.1
