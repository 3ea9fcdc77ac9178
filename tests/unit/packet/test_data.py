"""Data packets for a group: RFC 791, RFC 8200, RFC 768."""

import ipaddress

import pytest

from nhrpd_py.packet.data import group_packet
from nhrpd_py.packet.wire import BadPacket, DropReason, internet_checksum
from tests.support.messages import a_data_packet

HERE, OSPF = ipaddress.ip_address("10.255.255.1").packed, bytes([224, 0, 0, 5])
HERE_6 = ipaddress.ip_address("fe80::1").packed
OSPF_6 = ipaddress.ip_address("ff02::5").packed


def a_datagram(source: bytes, group: bytes, data: bytes, *, complete: bool = False) -> bytes:
    """A UDP datagram in a packet, with the sum of the pseudo header alone as the kernel leaves it."""
    udp = bytes.fromhex("02080208") + (8 + len(data)).to_bytes(2) + b"\0\0" + data
    pseudo = source + group + len(udp).to_bytes(4) + b"\0\0\0\x11"
    checksum = internet_checksum(pseudo + udp) if complete else 0xFFFF ^ internet_checksum(pseudo)
    udp = udp[:6] + checksum.to_bytes(2) + udp[8:]
    if len(source) == 4:
        header = (
            bytes.fromhex("4500") + (20 + len(udp)).to_bytes(2) + bytes.fromhex("0000000001110000")
        )
    else:
        header = bytes.fromhex("60000000") + len(udp).to_bytes(2) + b"\x11\x01"
    return header + source + group + udp


@pytest.mark.parametrize(
    ("source", "group", "protocol_type"), [(HERE, OSPF, 0x0800), (HERE_6, OSPF_6, 0x86DD)]
)
def test_a_packet_for_a_group_is_as_it_was(source, group, protocol_type) -> None:
    data = a_data_packet(source, group)
    packet = group_packet(data)
    assert (packet.protocol_type, packet.source, packet.data) == (protocol_type, source, data)
    assert packet.on_link
    assert group_packet(data + b"padding").data == data


@pytest.mark.parametrize("group", ["224.0.1.1", "239.0.0.5", "ff05::5", "ff0e::5"])
def test_groups_that_routers_forward_are_not_of_the_link(group) -> None:
    address = ipaddress.ip_address(group).packed
    source = HERE if len(address) == 4 else HERE_6
    assert not group_packet(a_data_packet(source, address)).on_link


@pytest.mark.parametrize(("source", "group"), [(HERE, OSPF), (HERE_6, OSPF_6)])
@pytest.mark.parametrize("data", [b"", b"hello", b"\xff" * 8])
def test_a_checksum_that_was_left_to_the_netdev_is_completed(source, group, data) -> None:
    whole = a_datagram(source, group, data, complete=True)
    assert group_packet(a_datagram(source, group, data)).data == whole
    assert group_packet(whole).data == whole


def test_a_checksum_of_zero_is_written_as_ones() -> None:
    """0 says that there is none."""
    data = a_datagram(HERE, OSPF, b"\0\0")
    sum_of_rest = internet_checksum(HERE + OSPF + bytes([0, 0, 0, 10, 0, 0, 0, 17]) + data[20:26])
    data = data[:-2] + sum_of_rest.to_bytes(2)
    assert group_packet(data).data[26:28] == b"\xff\xff"


@pytest.mark.parametrize("fragment", ["2000", "00b9", "20b9"])
def test_fragments_are_left_alone(fragment) -> None:
    data = a_datagram(HERE, OSPF, b"hello")
    data = data[:6] + bytes.fromhex(fragment) + data[8:]
    assert group_packet(data).data == data


def test_a_datagram_without_room_for_its_header_is_left_alone() -> None:
    data = bytes.fromhex("45000018000000000111") + b"\0\0" + HERE + OSPF + b"\0\0\0\0"
    assert group_packet(data).data == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", DropReason.INNER_PACKET),
        (a_data_packet(HERE, OSPF)[:19], DropReason.INNER_PACKET),
        (a_data_packet(HERE_6, OSPF_6)[:39], DropReason.INNER_PACKET),
        (b"\x75" + a_data_packet(HERE, OSPF)[1:], DropReason.INNER_PACKET),
        (b"\x44" + a_data_packet(HERE, OSPF)[1:], DropReason.INNER_PACKET),
        (b"\x4f\0\0\x14" + a_data_packet(HERE, OSPF)[4:], DropReason.INNER_PACKET),
        (a_data_packet(HERE, HERE), DropReason.MULTICAST_NO_GROUP),
        (a_data_packet(HERE, b"\xff" * 4), DropReason.MULTICAST_NO_GROUP),
        (a_data_packet(HERE_6, HERE_6), DropReason.MULTICAST_NO_GROUP),
        (a_data_packet(HERE, OSPF)[:83], DropReason.MULTICAST_CUT),
        (a_data_packet(HERE_6, OSPF_6)[:103], DropReason.MULTICAST_CUT),
    ],
)
def test_what_cannot_be_replicated_has_its_reason(data, reason) -> None:
    with pytest.raises(BadPacket) as caught:
        group_packet(data)
    assert caught.value.reason is reason
