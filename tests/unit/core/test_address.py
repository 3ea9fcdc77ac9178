"""Addresses and prefixes."""

import pytest

from nhrpd_py.core.address import (
    Afi,
    Prefix,
    afi_of,
    format_address,
    host_prefix,
    is_link_local,
    is_unicast,
    parse_address,
    parse_prefix,
    prefix_of,
)


@pytest.mark.parametrize(
    ("text", "unicast"),
    [
        ("10.255.255.2", True),
        ("1.0.0.1", True),
        ("223.255.255.255", True),
        ("0.0.0.0", False),
        ("127.0.0.1", False),
        ("224.0.0.9", False),
        ("255.255.255.255", False),
        ("fd00::1", True),
        ("fe80::1", True),
        ("::", False),
        ("::1", False),
        ("ff02::1", False),
    ],
)
def test_unicast_is_what_can_name_one_station(text, unicast) -> None:
    assert is_unicast(parse_address(text)) is unicast


@pytest.mark.parametrize(
    ("text", "link_local"),
    [
        ("169.254.1.1", True),
        ("169.253.1.1", False),
        ("fe80::1", True),
        ("febf::1", True),
        ("fec0::1", False),
        ("fd00::1", False),
    ],
)
def test_link_local_addresses_are_known(text, link_local) -> None:
    assert is_link_local(parse_address(text)) is link_local


def test_family_is_told_by_length() -> None:
    assert afi_of(bytes(4)) is Afi.IPV4
    assert afi_of(bytes(16)) is Afi.IPV6


def test_no_address_is_an_empty_text() -> None:
    assert format_address(b"") == ""
    assert format_address(parse_address("fd00:0::1")) == "fd00::1"


def test_bad_text_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.300"):
        parse_address("10.0.0.300")


def test_prefix_text_may_have_host_bits_or_no_length() -> None:
    assert str(parse_prefix("172.16.4.1/24")) == "172.16.4.0/24"
    assert str(parse_prefix("172.16.4.1")) == "172.16.4.1/32"
    assert parse_prefix("fd00::1").is_host


def test_prefix_contains_only_its_own_family() -> None:
    everything = parse_prefix("0.0.0.0/0")
    assert everything.contains(parse_address("10.0.0.1"))
    assert not everything.contains(parse_address("fd00::1"))


def test_prefix_covers_itself_and_what_is_longer() -> None:
    wide, narrow = parse_prefix("172.16.0.0/16"), parse_prefix("172.16.4.0/24")
    assert wide.covers(narrow)
    assert wide.covers(wide)
    assert not narrow.covers(wide)


def test_prefix_around_an_address_has_no_host_bits() -> None:
    address = parse_address("172.16.4.77")
    assert prefix_of(address, 26) == Prefix(parse_address("172.16.4.64"), 26)
    assert prefix_of(address, 32) == host_prefix(address)
    assert prefix_of(address, 0).length == 0
