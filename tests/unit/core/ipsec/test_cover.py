"""The widest of counted prefixes, and how they change."""

from nhrpd_py.core.address import Prefix, parse_prefix
from nhrpd_py.core.ipsec.cover import Covers


def prefixes(*texts: str) -> list[Prefix]:
    return list(map(parse_prefix, texts))


def changed(
    covers: Covers, added: tuple[str, ...] = (), removed: tuple[str, ...] = ()
) -> list[str]:
    came, left = covers.change(prefixes(*added), prefixes(*removed))
    return [*(f"+{each}" for each in came), *(f"-{each}" for each in left)]


def test_what_lies_within_another_prefix_is_not_told_until_that_goes() -> None:
    covers = Covers()
    assert changed(covers, ("10.0.0.0/8",)) == ["+10.0.0.0/8"]
    assert changed(covers, ("10.1.0.0/16", "10.1.1.0/24", "10.2.0.0/16")) == []
    assert changed(covers, removed=("10.2.0.0/16",)) == []
    assert changed(covers, removed=("10.0.0.0/8",)) == ["+10.1.0.0/16", "-10.0.0.0/8"]
    assert changed(covers, ("10.0.0.0/8",)) == ["+10.0.0.0/8", "-10.1.0.0/16"]
    assert list(covers) == prefixes("10.0.0.0/8")


def test_a_prefix_goes_when_it_was_removed_as_often_as_it_was_added() -> None:
    covers = Covers()
    assert changed(covers, ("10.1.0.0/16", "10.1.0.0/16")) == ["+10.1.0.0/16"]
    assert changed(covers, removed=("10.1.0.0/16",)) == []
    assert changed(covers, removed=("10.1.0.0/16",)) == ["-10.1.0.0/16"]


def test_what_comes_and_goes_in_one_change_is_no_change() -> None:
    covers = Covers()
    assert changed(covers, ("10.1.0.0/16",), ("10.1.0.0/16",)) == []
    assert changed(covers, ("10.1.0.0/16", "2001:db8::/32")) == ["+10.1.0.0/16", "+2001:db8::/32"]
    assert changed(covers, ("10.0.0.0/8",), ("10.0.0.0/8",)) == []
    assert list(covers) == prefixes("10.1.0.0/16", "2001:db8::/32")
