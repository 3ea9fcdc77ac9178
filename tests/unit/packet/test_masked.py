"""Packets for the log: as they came, without pass phrases."""

import pytest

from nhrpd_py.packet.extension import Extension, cisco_authentication
from nhrpd_py.packet.iana import ExtensionType
from nhrpd_py.packet.masked import masked
from nhrpd_py.packet.message import HEADER_SIZE, encode
from tests.support.messages import (
    a_registration_request,
    an_error_indication,
    std_extensions,
)

SECRET = b"open sesame"
AUTHENTICATED = encode(
    a_registration_request(2, extensions=std_extensions(cisco_authentication(SECRET)))
)


def test_a_pass_phrase_is_zeros_and_all_else_is_as_it_came() -> None:
    shown = masked(AUTHENTICATED)
    value = b"\0\0\0\x01" + SECRET
    assert shown == AUTHENTICATED.replace(value, bytes(len(value)))
    assert shown != AUTHENTICATED


def test_a_packet_without_one_is_shown_whole() -> None:
    packet = encode(a_registration_request(2, extensions=std_extensions()))
    assert masked(packet) == packet


def test_the_packet_that_an_error_quotes_is_not_shown() -> None:
    error = encode(an_error_indication(1, 1, a_registration_request(2), payload=AUTHENTICATED))
    shown = masked(error)
    assert SECRET in error
    assert SECRET not in shown
    assert shown[:HEADER_SIZE] == error[:HEADER_SIZE]
    assert len(shown) == len(error)


@pytest.mark.parametrize("size", range(len(AUTHENTICATED)))
def test_a_packet_that_was_cut_shows_no_part_of_it(size: int) -> None:
    shown = masked(AUTHENTICATED[:size])
    assert len(shown) == size
    assert SECRET[:4] not in shown


def test_an_extension_whose_length_is_wrong_hides_what_follows() -> None:
    longer = Extension(ExtensionType.NAT_ADDRESS, b"", compulsory=False)
    packet = bytearray(
        encode(a_registration_request(2, extensions=(longer, cisco_authentication(SECRET))))
    )
    at = packet.index(SECRET) - 4 - 4 - 2  # the length of the extension before it
    packet[at : at + 2] = b"\xff\xff"
    assert SECRET not in masked(bytes(packet))
