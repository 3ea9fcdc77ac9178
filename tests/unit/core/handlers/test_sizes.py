"""Packets that the tunnel does not take in one piece: what cannot be handed on or confirmed is Error 8 (§5.2.7).

The tunnel's MTU is 1472. A request may be longer: the underlay brought it in fragments.
"""

from dataclasses import replace

import pytest

from nhrpd_py.core.effects import Effect, SendPacket, SetNeighbor
from nhrpd_py.core.events import RouteRemoved
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import ErrorCode, ExtensionType, PacketType
from nhrpd_py.packet.layout import size_of
from nhrpd_py.packet.message import Message
from tests.support.engine import a_hub, a_spoke, drops, kinds, of, sent, the, the_packet
from tests.support.messages import (
    a_purge_request,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    an_error_indication,
)
from tests.support.resolution import FORWARDED, a_shortcut_spoke, ask
from tests.support.sites import HUB, LAN, a_route, host, nbma, tunnel

MTU = 1472
RECORD = 20
"""Octets of our own entry, as responder or in a transit record."""


def a_long(message: Message, size: int) -> Message:
    """Returns the message with a vendor's extension that makes it so many octets long."""
    vendor = Extension(ExtensionType.VENDOR_PRIVATE, b"", compulsory=False)
    empty = replace(message, extensions=(*message.extensions, vendor))
    filled = replace(vendor, value=bytes(size - size_of(empty)))
    return replace(message, extensions=(*message.extensions, filled))


def is_error_8(effects: list[Effect], to: bytes) -> bool:
    assert drops(effects) == ["sdu-size-exceeded"]
    assert kinds(effects) == [(to, PacketType.ERROR_INDICATION)]
    error = the(sent(effects))
    assert error.error_offset == 10  # ar$pktsz
    return error.error_code == ErrorCode.SDU_SIZE_EXCEEDED


def test_registration_that_cannot_be_confirmed_is_not_bound() -> None:
    hub = a_hub()
    effects = hub.receive(a_long(a_registration_request(2), MTU - RECORD + 1), nbma(2))
    assert is_error_8(effects, nbma(2))
    assert hub.cache() == {}
    effects = hub.receive(a_long(a_registration_request(2), MTU - RECORD), nbma(2))
    assert kinds(effects) == [(nbma(2), PacketType.REGISTRATION_REPLY)]
    assert len(the(of(effects, SendPacket)).data) == MTU
    assert set(hub.cache()) == {"10.255.255.2"}


def test_request_that_cannot_be_answered_binds_nobody_and_is_not_remembered() -> None:
    spoke = a_spoke(3)
    request = a_long(a_resolution_request(2, host(3), extensions=FORWARDED), MTU)
    effects = spoke.receive(request, HUB.nbma)
    assert is_error_8(effects, HUB.nbma)
    assert of(effects, SetNeighbor) == []
    assert sent(spoke.give(RouteRemoved(a_route("172.16.3.0/24", LAN)), now=5.0)) == []


def test_request_whose_answer_just_fits_is_answered() -> None:
    request = a_resolution_request(2, host(3), extensions=FORWARDED)
    extensions = a_long(request, MTU - 8).extensions  # the addresses in our entry
    effects = ask(a_spoke(3), extensions=extensions)
    assert [len(each.data) for each in of(effects, SendPacket)] == [MTU]


def test_refusal_that_does_not_fit_is_error_8_too() -> None:
    request = a_long(a_resolution_request(2, host(3)), MTU)
    assert is_error_8(a_spoke(3, shortcut=False).receive(request, HUB.nbma), HUB.nbma)


def test_purge_that_cannot_be_confirmed_is_obeyed_all_the_same() -> None:
    spoke = a_shortcut_spoke()
    purge = a_long(a_purge_request(3, "172.16.3.0/24", tunnel(2)), MTU + 1)
    assert is_error_8(spoke.receive(purge, nbma(3), now=1.0), nbma(3))
    assert spoke.shortcuts() == []


@pytest.mark.parametrize(
    ("message", "source", "onward"),
    [
        (a_resolution_request(2, host(3)), nbma(2), nbma(3)),
        (a_resolution_reply(a_resolution_request(2, host(3))), nbma(3), nbma(2)),
    ],
)
def test_transit_packet_that_has_no_room_for_our_record_is_error_8(message, source, onward) -> None:
    """Without our record its receiver would take us for its sender, and bind that to our NBMA address."""
    hub = a_hub(2, 3)
    assert is_error_8(hub.receive(a_long(message, MTU - RECORD + 1), source), source)
    to, handed_on = the_packet(hub.receive(a_long(message, MTU - RECORD), source))
    assert to == onward
    assert size_of(handed_on) == MTU


def test_transit_error_that_is_too_long_is_dropped_in_silence() -> None:
    error = an_error_indication(3, 6, a_resolution_request(2, host(3)), payload=bytes(MTU))
    effects = a_hub(2, 3).receive(error, nbma(3))
    assert drops(effects) == ["sdu-size-exceeded"]
    assert kinds(effects) == []


def test_entries_of_a_purge_may_fill_the_tunnel() -> None:
    entries = tuple(ClientInformation(prefix_length=32, protocol=host(3, n)) for n in range(80))
    purge = a_purge_request(3, "172.16.3.0/24", tunnel(2), entries=entries)
    assert size_of(purge) == 1320
    assert kinds(a_shortcut_spoke().receive(purge, nbma(3))) == [(nbma(3), PacketType.PURGE_REPLY)]
