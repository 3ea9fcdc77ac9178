"""Our own end: messages, signatures, errors."""

import pytest

from nhrpd_py.core.address import Afi
from nhrpd_py.core.station.station import Station, entries_in
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import ErrorCode, PacketType
from nhrpd_py.packet.inner import peek
from nhrpd_py.packet.message import encode
from tests.support import inspect
from tests.support.engine import a_hub, packets
from tests.support.messages import (
    AUTHENTICATION,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
    an_error_indication,
    nat_extension,
)
from tests.support.sites import HUB, SECRET, a_tunnel_link, host, nbma, tunnel


def a_station(**settings) -> Station:
    return inspect.station(a_hub(**settings).engine)


def test_message_is_from_us() -> None:
    message = a_station().message(PacketType.PURGE_REQUEST, tunnel(2), request_id=5)
    assert (message.source_nbma, message.source_protocol) == (HUB.nbma, HUB.tunnel)
    assert (message.afn, message.protocol_type, message.hop_count) == (1, 0x0800, 255)


def test_station_is_ready_with_an_open_interface_and_both_addresses() -> None:
    hub = a_hub()
    assert inspect.station(hub.engine).ready
    assert not inspect.station(hub.engine, Afi.IPV6).ready
    hub.give(a_tunnel_link(up=False))
    assert not inspect.station(hub.engine).ready


def test_signature_replaces_that_of_another_in_its_place_and_else_comes_last() -> None:
    vendor = Extension(8, b"x", compulsory=False)
    foreign = Extension(7, b"\0\0\0\1other")
    station = a_station(authentication=SECRET)
    assert station.signed((foreign, vendor)) == (AUTHENTICATION, vendor)
    assert station.signed((vendor,)) == (vendor, AUTHENTICATION)
    assert a_station().signed((foreign, vendor)) == (vendor,)


def test_own_nat_list_is_empty_or_has_our_post_nat_address() -> None:
    station = a_station()
    assert station.own_nat_extension() == nat_extension()
    station.nat_nbma = nbma(50)
    assert station.own_nat_extension() == nat_extension((HUB.tunnel, nbma(50)))


@pytest.mark.parametrize(
    ("extensions", "found"),
    [
        ((), b""),
        ((nat_extension(),), b""),
        ((nat_extension((tunnel(3), nbma(3))),), b""),
        ((nat_extension((tunnel(3), nbma(3)), (tunnel(2), nbma(50))),), nbma(50)),
        ((nat_extension((tunnel(2), b"")),), b""),
        ((Extension(9, b"\1\2\3", compulsory=False),), b""),
    ],
)
def test_post_nat_address_is_the_one_of_that_protocol_address(extensions, found) -> None:
    message = a_registration_request(2, extensions=extensions)
    assert a_station().nat_address_in(message, tunnel(2)) == found


def test_entries_of_something_else_are_none() -> None:
    assert entries_in(Extension(9, b"\1"), a_registration_request(2)) == ()
    assert entries_in(nat_extension((tunnel(2), nbma(2))), a_registration_request(2)) != ()


def errors(about: bytes, **settings) -> list[bytes]:
    hub = a_hub(**settings)
    station, code = inspect.station(hub.engine), ErrorCode.LOOP_DETECTED
    sent = packets(
        inspect.said(
            hub.engine,
            lambda: station.send_error(nbma(2), peek(about), about, code, 0.0, offset=17),
        )
    )
    assert all(message.error_offset == 17 for _, message in sent)
    return [message.destination_protocol for _, message in sent]


def test_error_goes_to_who_made_the_packet() -> None:
    request = a_resolution_request(2, host(3))
    assert errors(encode(request)) == [tunnel(2)]
    assert errors(encode(a_resolution_reply(request))) == [host(3)]
    assert errors(encode(a_registration_reply(a_registration_request(2), server=tunnel(9)))) == [
        tunnel(9)
    ]
    assert errors(encode(a_traffic_indication(2, host(2), host(3)))) == [tunnel(2)]


def test_nothing_is_said_about_errors_and_what_cannot_be_read() -> None:
    assert errors(encode(an_error_indication(2, 6, a_registration_request(1)))) == []
    assert errors(b"") == []
    assert (
        errors(encode(an_error_indication(2, 6, a_registration_request(1), source_protocol=b"")))
        == []
    )


def test_nothing_is_said_to_nobody_or_without_an_address_of_ours() -> None:
    nobody = bytearray(encode(a_registration_request(2)))
    nobody[20] = 0  # no source protocol address
    assert errors(bytes(nobody)) == []
    hub = a_hub()
    station, code = inspect.station(hub.engine, Afi.IPV6), ErrorCode.PROTOCOL_ERROR
    data = encode(a_registration_request(2))
    effects = inspect.said(
        hub.engine, lambda: station.send_error(nbma(2), peek(data), data, code, 0.0)
    )
    assert effects == []


@pytest.mark.parametrize("count", [4000, 80])  # more than a packet, and than the tunnel, can have
def test_message_too_long_is_dropped_and_not_counted_as_sent(count) -> None:
    hub = a_hub()
    station = inspect.station(hub.engine)
    huge = tuple(ClientInformation(nbma=nbma(2), protocol=tunnel(2)) for _ in range(count))
    message = station.message(PacketType.PURGE_REQUEST, tunnel(2), entries=huge)
    effects = inspect.said(hub.engine, lambda: station.send(nbma(2), message))
    assert packets(effects) == []
    assert station.counters.sent[PacketType.PURGE_REQUEST] == 0
    assert list(inspect.drops(hub.engine).values()) == [1]


def test_record_says_nothing_about_a_prefix() -> None:
    record = a_station().record(code=5)
    assert (record.code, record.prefix_length, record.mtu, record.preference) == (5, 0, 1472, 0)


def test_mtu_that_the_field_cannot_hold_is_its_largest_value() -> None:
    station = a_station()
    station.interface.mtu = 65536
    assert station.record().mtu == 65535
