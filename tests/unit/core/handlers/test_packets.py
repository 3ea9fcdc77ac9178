"""The way of a received packet: every drop, every answer (RFC 2332 §5.2, §5.3)."""

from dataclasses import replace

import pytest

from nhrpd_py.core.events import PacketReceived
from nhrpd_py.core.notices import ErrorReceived, PacketDropped
from nhrpd_py.core.queries import Query, View
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import ErrorCode, PacketType
from nhrpd_py.packet.message import encode
from nhrpd_py.packet.wire import internet_checksum
from tests.support import inspect
from tests.support.engine import (
    Node,
    a_hub,
    a_spoke,
    drops,
    kinds,
    of,
    packets,
    sent,
    the,
    the_packet,
)
from tests.support.messages import (
    a_purge_request,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
    an_error_indication,
)
from tests.support.sites import (
    GRE,
    HUB,
    LAN,
    a_route,
    a_tunnel_link,
    an_address,
    host,
    ip,
    nbma,
    tunnel,
)


def patched(data: bytes, at: int, value: bytes) -> bytes:
    """Octets changed, and the checksum right again."""
    changed = bytearray(data)
    changed[at : at + len(value)] = value
    changed[12:14] = bytes(2)
    changed[12:14] = internet_checksum(bytes(changed)).to_bytes(2)
    return bytes(changed)


REGISTRATION = encode(a_registration_request(2))

MALFORMED = [
    ("truncated", REGISTRATION[:27], None),
    (
        "truncated",
        patched(encode(a_registration_request(2, extensions=()))[:38], 10, b"\0\x26"),
        None,
    ),
    ("bad-packet-size", REGISTRATION[:-1], None),
    ("bad-packet-size", patched(REGISTRATION, 10, b"\0\4"), None),
    ("bad-checksum", REGISTRATION[:-1] + b"\1", None),
    # Of another version (0 is MARS) even the place of the sender's address is unknown.
    ("bad-version", patched(REGISTRATION, 16, b"\0"), None),
    ("unknown-type", patched(REGISTRATION, 17, b"\x09"), 7),
    ("unsupported-address-family", patched(REGISTRATION, 0, b"\0\x0f"), None),
    ("unsupported-address-family", patched(REGISTRATION, 2, b"\x08\x06"), None),
    ("bad-address-length", patched(REGISTRATION, 20, b"\x03"), None),
    ("bad-extension-offset", patched(REGISTRATION, 14, b"\0\x08"), 7),
    ("bad-client-information", patched(REGISTRATION, 48, b"\x05"), 7),
    ("extension-overrun", patched(REGISTRATION, 54, b"\xff\xff"), 9),
    ("duplicate-extension", patched(REGISTRATION, 56, b"\x80\4"), 9),
    ("bad-extension", encode(a_registration_request(2, extensions=(Extension(4, b"\1"),))), 9),
    (
        "missing-client-information",
        encode(a_registration_request(2, entries=(), extensions=())),
        7,
    ),
]


@pytest.mark.parametrize(("reason", "data", "answer"), MALFORMED)
def test_malformed_packet_is_dropped_counted_and_answered_where_the_rfc_says_so(
    reason, data, answer
) -> None:
    hub = a_hub()
    effects = hub.receive(data, nbma(2))
    assert drops(effects) == [reason]
    assert inspect.drops(hub.engine) == {("gre1", reason): 1}
    errors = packets(effects)
    assert [message.error_code for _, message in errors] == ([] if answer is None else [answer])
    for to, error in errors:
        assert to == nbma(2)
        assert error.destination_protocol == tunnel(2)
        assert error.payload == data[:256]
        assert error.extensions == ()
    assert hub.cache() == {}


def test_error_offset_points_at_the_octet_at_fault() -> None:
    effects = a_hub().receive(patched(REGISTRATION, 54, b"\xff\xff"), nbma(2))
    assert the_packet(effects)[1].error_offset == 52


def test_malformed_error_is_never_answered() -> None:
    error = encode(an_error_indication(2, 6, a_registration_request(1)))
    effects = a_hub(2).receive(patched(error, 18, b"\x05"), nbma(2))
    assert len(drops(effects)) == 1
    assert packets(effects) == []


def test_malformed_packet_of_a_family_that_we_do_not_speak_is_not_answered() -> None:
    data = patched(REGISTRATION, 2, b"\x86\xdd")
    assert packets(a_hub().receive(data, nbma(2))) == []


def test_errors_are_limited() -> None:
    hub = a_hub()
    data = patched(REGISTRATION, 16, b"\0\3")
    bad = encode(a_registration_request(2, extensions=(Extension(4, b"\1"),)))
    assert data != bad
    answers = [len(packets(hub.receive(bad, nbma(2), now=1.0))) for _ in range(100)]
    assert sum(answers) == 20
    assert len(packets(hub.receive(bad, nbma(2), now=1.1))) == 1


def test_packet_of_an_interface_of_nobody_is_counted() -> None:
    hub = a_hub()
    assert hub.receive(REGISTRATION, nbma(2), ifindex=LAN) == []
    assert inspect.drops(hub.engine) == {(None, "unknown-interface"): 1}
    rows = hub.engine.view(Query(view=View.TRAFFIC), 0.0)
    assert [(row.interface, row.direction, row.type) for row in rows] == [  # type: ignore[union-attr]
        (None, "dropped", "unknown-interface")
    ]


def test_packet_of_a_family_without_an_address_is_dropped() -> None:
    request = replace(
        a_registration_request(2),
        protocol_type=0x86DD,
        source_protocol=ip("fd00::2"),
        destination_protocol=ip("fd00::2"),
        extensions=(),
    )
    assert drops(a_hub().receive(request, nbma(2))) == ["not-enabled"]


def test_packet_of_another_underlay_than_ours_is_dropped() -> None:
    request = a_registration_request(2, afn=2, source_nbma=ip("2001:db8::2"), extensions=())
    hub = a_hub()
    effects = hub.receive(request, nbma(2))
    assert drops(effects) == ["unsupported-address-family"]
    assert hub.cache() == {}


def test_packet_from_ourselves_is_dropped() -> None:
    assert drops(a_hub().receive(REGISTRATION, HUB.nbma)) == ["from-ourselves"]


# Errors.


def test_error_about_nothing_of_ours_is_told_once_a_minute() -> None:
    hub = a_hub(2)
    error = an_error_indication(2, 3, a_registration_request(1))
    notice = the(of(hub.receive(error, nbma(2)), ErrorReceived))
    assert (notice.protocol, notice.nbma, notice.error) == (tunnel(2), nbma(2), "LOOP_DETECTED")
    assert of(hub.receive(error, nbma(2), now=1.0), ErrorReceived) == []


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1, "UNRECOGNIZED_EXTENSION"),
        (2, "LOOP_DETECTED"),
        (3, "LOOP_DETECTED"),
        (6, "PROTOCOL_ADDRESS_UNREACHABLE"),
        (7, "PROTOCOL_ERROR"),
        (8, "SDU_SIZE_EXCEEDED"),
        (9, "INVALID_EXTENSION"),
        (10, "INVALID_RESOLUTION_REPLY"),
        (11, "AUTHENTICATION_FAILURE"),
        (15, "HOP_COUNT_EXCEEDED"),
        (16, "VPN_MISMATCH"),
        (17, "VPN_UNSUPPORTED"),
        (99, "UNKNOWN(99)"),
    ],
)
def test_every_error_code_has_a_name(code, name) -> None:
    effects = a_hub(2).receive(an_error_indication(2, code, a_registration_request(1)), nbma(2))
    assert the(of(effects, ErrorReceived)).error == name


@pytest.mark.parametrize("payload", [b"", b"\0\1\x08\0", encode(a_registration_request(3))[:40]])
def test_error_about_an_unreadable_or_foreign_packet_touches_nothing(payload) -> None:
    spoke = a_spoke(2, registered=False)
    effects = spoke.receive(
        an_error_indication(1, 6, a_registration_request(2), payload=payload), HUB.nbma
    )
    assert len(of(effects, ErrorReceived)) == 1
    assert spoke.table(View.NHS, "last_error") == [(None,)]


def test_error_without_addresses_is_for_us() -> None:
    error = an_error_indication(
        2, 6, a_registration_request(1), source_protocol=b"", destination_protocol=b""
    )
    assert of(a_hub().receive(error, nbma(2)), ErrorReceived)


# Whom it is for.


def test_request_about_a_host_behind_us_is_ours() -> None:
    effects = a_hub(2, shortcut=True).receive(a_resolution_request(2, host(1, 77)), nbma(2))
    assert kinds(effects) == [(nbma(2), PacketType.RESOLUTION_REPLY)]


def test_purge_to_an_unknown_station_is_error_6() -> None:
    effects = a_hub(2).receive(a_purge_request(2, "172.16.9.0/24", ip("10.9.9.9")), nbma(2))
    assert drops(effects) == ["no-route"]
    error = the_packet(effects)[1]
    assert error.error_code == ErrorCode.PROTOCOL_ADDRESS_UNREACHABLE
    assert error.error_offset == 36  # its destination


@pytest.mark.parametrize(
    "message",
    [
        replace(a_resolution_reply(a_resolution_request(2)), source_protocol=ip("10.9.9.9")),
        replace(
            an_error_indication(2, 6, a_registration_request(1)),
            destination_protocol=ip("10.9.9.9"),
        ),
    ],
)
def test_reply_or_error_to_an_unknown_station_is_dropped_in_silence(message) -> None:
    effects = a_hub(2).receive(message, nbma(2))
    assert drops(effects) == ["no-route"]
    assert packets(effects) == []


def test_unsolicited_resolution_reply_is_error_10() -> None:
    reply = a_resolution_reply(a_resolution_request(2))
    effects = a_spoke(2).receive(reply, nbma(3))
    assert drops(effects) == ["unsolicited-reply"]
    to, error = the_packet(effects)
    assert (to, error.error_code) == (nbma(3), ErrorCode.INVALID_RESOLUTION_REPLY)


@pytest.mark.parametrize(
    "message",
    [
        a_registration_reply(a_registration_request(2, request_id=999)),
        replace(a_purge_request(2, "10.255.255.3/32", tunnel(3)), type=PacketType.PURGE_REPLY),
    ],
)
def test_other_unsolicited_replies_are_dropped_in_silence(message) -> None:
    effects = a_spoke(2).receive(message, HUB.nbma)
    assert drops(effects) == ["unsolicited-reply"]
    assert packets(effects) == []


def test_indication_for_an_address_that_we_do_not_route_is_ours() -> None:
    spoke = a_spoke(2)
    indication = a_traffic_indication(1, ip("192.0.2.77"), host(3))
    assert kinds(spoke.receive(indication, HUB.nbma)) == [(HUB.nbma, PacketType.RESOLUTION_REQUEST)]


def test_every_drop_is_a_quiet_notice_too() -> None:
    effects = a_hub().receive(b"", nbma(2))
    assert of(effects, PacketDropped) == [
        PacketDropped(interface="gre1", reason="truncated", nbma=nbma(2))
    ]
    assert PacketDropped.level == "debug"


def test_refusal_behind_an_exhausted_limit_is_silence() -> None:
    hub = a_hub(2)
    inspect.exhaust_errors(hub.engine, 0.0)
    effects = hub.receive(a_resolution_request(2, host(99)), nbma(2))
    assert drops(effects) == ["no-route"]
    assert packets(effects) == []


def test_packet_between_down_and_up_is_of_an_unknown_interface() -> None:
    hub: Node = a_hub(2)
    hub.give(a_tunnel_link(up=False))
    assert sent(hub.receive(REGISTRATION, nbma(2))) == []
    hub.give(a_tunnel_link())
    assert kinds(hub.receive(REGISTRATION, nbma(2))) == [(nbma(2), PacketType.REGISTRATION_REPLY)]


def test_octets_behind_the_packet_are_ignored() -> None:
    """Ethernet padding of small frames."""
    data = REGISTRATION + bytes(10)
    effects = a_hub().give(PacketReceived(GRE, nbma(2), data))
    assert drops(effects) == []


def test_request_without_a_source_address_in_its_family_is_malformed() -> None:
    message = a_resolution_request(2, tunnel(3), source_nbma=b"")
    assert drops(a_hub(2, 3).receive(message, nbma(2))) == ["bad-address-length"]


def test_entry_of_an_unknown_code_and_length_is_answered_and_not_crashed_on() -> None:
    entry = ClientInformation(code=77, prefix_length=200, holding_time_s=65535, preference=255)
    effects = a_hub().receive(a_registration_request(2, entries=(entry,)), nbma(2))
    assert the(the_packet(effects)[1].entries).code == 0


def test_resolution_for_what_routes_to_a_hole_is_refused() -> None:
    hub = a_hub(2, routes=[a_route("172.16.9.0/24", 0)])
    effects = hub.receive(a_resolution_request(2, host(9)), nbma(2))
    assert the(the_packet(effects)[1].entries).code == 12


def test_both_families_of_one_tunnel_live_side_by_side() -> None:
    hub = a_hub(2)
    hub.give(an_address(GRE, ip("fd00::1"), 128))
    request = replace(
        a_registration_request(2),
        protocol_type=0x86DD,
        source_protocol=ip("fd00::2"),
        destination_protocol=ip("fd00::2"),
        entries=(ClientInformation(prefix_length=128, holding_time_s=60),),
        extensions=(),
    )
    hub.receive(request, nbma(2))
    assert hub.cache() == {
        "10.255.255.2": ("dynamic", "192.168.100.2"),
        "fd00::2": ("dynamic", "192.168.100.2"),
    }
    assert inspect.is_local(hub.engine, HUB.tunnel)
