"""The longest-prefix map against the obvious way to do it."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.core.address import Prefix, parse_address, parse_prefix, prefix_of
from nhrpd_py.core.base.prefixmap import PrefixMap


def a_map(*texts: str) -> PrefixMap[str]:
    map_: PrefixMap[str] = PrefixMap(4)
    for text in texts:
        map_[parse_prefix(text)] = text
    return map_


def test_longest_prefix_wins() -> None:
    map_ = a_map("0.0.0.0/0", "172.16.0.0/16", "172.16.4.0/24")
    assert map_.longest(parse_address("172.16.4.1")) == "172.16.4.0/24"
    assert map_.longest(parse_address("172.16.5.1")) == "172.16.0.0/16"
    assert map_.longest(parse_address("8.8.8.8")) == "0.0.0.0/0"
    assert a_map("10.0.0.0/8").longest(parse_address("8.8.8.8")) is None


def test_matches_come_longest_first() -> None:
    map_ = a_map("0.0.0.0/0", "172.16.4.0/24", "172.16.0.0/16")
    found = list(map_.matches(parse_address("172.16.4.1")))
    assert found == ["172.16.4.0/24", "172.16.0.0/16", "0.0.0.0/0"]


def test_inside_includes_the_prefix_itself_and_nothing_wider() -> None:
    map_ = a_map("0.0.0.0/0", "172.16.0.0/16", "172.16.4.0/24", "172.17.0.0/24")
    assert set(map_.inside(parse_prefix("172.16.0.0/16"))) == {"172.16.0.0/16", "172.16.4.0/24"}
    assert len(list(map_.inside(parse_prefix("0.0.0.0/0")))) == 4


def test_popped_prefixes_are_gone_and_popping_twice_is_harmless() -> None:
    map_ = a_map("172.16.0.0/16", "172.17.0.0/16")
    assert map_.pop(parse_prefix("172.16.0.0/16")) == "172.16.0.0/16"
    assert map_.pop(parse_prefix("172.16.0.0/16")) is None
    assert map_.pop(parse_prefix("172.17.0.0/16")) == "172.17.0.0/16"
    assert map_.pop(parse_prefix("172.17.0.0/16")) is None
    assert len(map_) == 0


def test_unknown_prefixes_are_none_or_an_error() -> None:
    map_ = a_map("172.16.0.0/16")
    assert map_[parse_prefix("172.16.0.0/16")] == "172.16.0.0/16"
    assert map_.get(parse_prefix("172.17.0.0/16")) is None
    assert map_.get(parse_prefix("172.16.0.0/17")) is None
    with pytest.raises(KeyError):
        map_[parse_prefix("172.17.0.0/16")]


prefixes = st.builds(
    prefix_of, st.binary(min_size=4, max_size=4), st.integers(min_value=0, max_value=32)
)


@given(st.lists(prefixes, max_size=30), st.binary(min_size=4, max_size=4))
def test_map_agrees_with_the_standard_library(entries: list[Prefix], address: bytes) -> None:
    map_: PrefixMap[Prefix] = PrefixMap(4)
    for prefix in entries:
        map_[prefix] = prefix
    wanted = ipaddress.IPv4Address(address)
    found = [each for each in entries if wanted in ipaddress.IPv4Network(str(each))]
    assert map_.longest(address) == max(found, key=lambda each: each.length, default=None)
    assert sorted(map_.values()) == sorted(set(entries))
