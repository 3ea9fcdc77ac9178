"""The extensions that decide on a packet: authentication, and compulsory ones that nobody knows."""

from dataclasses import replace

import pytest

from nhrpd_py.core.effects import SendPacket
from nhrpd_py.core.notices import ErrorReceived
from nhrpd_py.packet.extension import Extension, cisco_authentication
from nhrpd_py.packet.iana import ErrorCode, PacketType
from tests.support.engine import (
    a_hub,
    a_spoke,
    drops,
    kinds,
    of,
    packets,
    the_packet,
)
from tests.support.messages import (
    AUTHENTICATION,
    a_purge_request,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
    an_error_indication,
)
from tests.support.sites import (
    HUB,
    SECRET,
    host,
    nbma,
)

VENDOR = Extension(8, b"\0\0\x0cx", compulsory=False)


@pytest.mark.parametrize(
    ("extensions", "offset"),
    [
        ((), 14),  # what is missing has no place: the extension offset
        ((cisco_authentication(b"Secret"),), 52),
        ((cisco_authentication(b"secre"),), 52),
        ((cisco_authentication(b"secrets"),), 52),
        ((Extension(7, b"\0\0\0\2secret"),), 52),
        ((VENDOR, Extension(7, b"")), 60),
    ],
)
def test_wrong_or_missing_pass_phrase_is_error_11(extensions, offset) -> None:
    hub = a_hub(authentication=SECRET)
    effects = hub.receive(a_registration_request(2, extensions=extensions), nbma(2))
    assert drops(effects) == ["authentication-failed"]
    error = the_packet(effects)[1]
    assert error.error_code == ErrorCode.AUTHENTICATION_FAILURE
    assert error.error_offset == offset
    assert error.extensions == ()
    assert b"secret" not in b"".join(
        each.data for each in effects if isinstance(each, SendPacket) and not extensions
    )
    assert hub.cache() == {}


def test_right_pass_phrase_counts_compulsory_or_not() -> None:
    hub = a_hub(authentication=SECRET)
    optional = replace(AUTHENTICATION, compulsory=False)
    effects = hub.receive(a_registration_request(2, extensions=(optional,)), nbma(2))
    assert drops(effects) == []


def test_every_type_must_be_signed_but_an_error() -> None:
    hub = a_hub(authentication=SECRET)
    request = a_resolution_request(2, HUB.tunnel)
    for message in (
        request,
        a_resolution_reply(request),
        a_registration_reply(a_registration_request(1)),
        a_purge_request(2, "10.255.255.2/32", HUB.tunnel),
        a_traffic_indication(2, HUB.tunnel, host(3)),
    ):
        assert drops(hub.receive(message, nbma(2))) == ["authentication-failed"]
    assert drops(hub.receive(an_error_indication(2, 6, a_registration_request(1)), nbma(2))) == []


def test_error_with_a_wrong_pass_phrase_is_dropped_in_silence() -> None:
    wrong = (cisco_authentication(b"wrong"),)
    effects = a_hub(authentication=SECRET).receive(
        an_error_indication(2, 6, a_registration_request(1), extensions=wrong), nbma(2)
    )
    assert drops(effects) == ["authentication-failed"]
    assert packets(effects) == []


def test_pass_phrase_that_we_do_not_ask_for_is_no_harm() -> None:
    effects = a_hub().receive(a_registration_request(2, extensions=(AUTHENTICATION,)), nbma(2))
    assert kinds(effects) == [(nbma(2), PacketType.REGISTRATION_REPLY)]


UNKNOWN = Extension(0x123, b"x")


@pytest.mark.parametrize(
    ("message", "offset"),
    [
        (a_registration_request(2, extensions=(UNKNOWN,)), 52),
        (a_resolution_request(2, host(1, 77), extensions=(VENDOR, UNKNOWN)), 60),
        (a_purge_request(2, "172.16.2.0/24", HUB.tunnel, extensions=(UNKNOWN,)), 56),
    ],
)
def test_request_with_an_unknown_compulsory_extension_is_error_1(message, offset) -> None:
    effects = a_hub(shortcut=True).receive(message, nbma(2))
    assert drops(effects) == ["unrecognized-extension"]
    error = the_packet(effects)[1]
    assert (error.error_code, error.error_offset) == (ErrorCode.UNRECOGNIZED_EXTENSION, offset)


@pytest.mark.parametrize(
    "message",
    [
        a_traffic_indication(1, host(2), host(3), extensions=(UNKNOWN,)),
        a_registration_reply(a_registration_request(2), UNKNOWN),
    ],
)
def test_others_with_an_unknown_compulsory_extension_are_dropped_in_silence(message) -> None:
    effects = a_spoke(2, registered=False).receive(message, HUB.nbma)
    assert drops(effects) == ["unrecognized-extension"]
    assert packets(effects) == []


def test_error_with_an_unknown_compulsory_extension_is_heard() -> None:
    error = an_error_indication(2, 6, a_registration_request(1), extensions=(UNKNOWN,))
    assert of(a_hub().receive(error, nbma(2)), ErrorReceived)
