"""A reply, or an Error Indication, counts only if it comes by the way that was asked."""

from dataclasses import replace

import pytest

from nhrpd_py.core.queries import View
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, of_entries
from nhrpd_py.packet.iana import ErrorCode, ExtensionType, PacketType
from tests.support.engine import a_spoke, drops, sent, the
from tests.support.messages import (
    a_registration_reply,
    a_resolution_reply,
    an_error_indication,
    nat_extension,
)
from tests.support.resolution import an_asking_spoke, redirect
from tests.support.sites import GRE, HUB, a_map, a_route, a_site, an_nhs, host, ip, nbma, tunnel

SHORTCUT = [("172.16.3.0/24", "10.255.255.3", "active")]
WAITING = [("172.16.3.10/32", None, "incomplete")]
OTHER_HUB = a_site(7)
PUBLIC = ip("203.0.113.3")
INSIDE = ip("192.168.1.3")


def told_by(nbma_address: bytes, *extensions: Extension, code: int = 0) -> dict[str, object]:
    """Returns the fields of a reply whose responder claims an NBMA address."""
    entry = ClientInformation(
        code=code, prefix_length=24, holding_time_s=60, nbma=nbma_address, protocol=tunnel(3)
    )
    return {"entries": (entry,), "extensions": extensions}


def responder(nbma_address: bytes) -> Extension:
    entry = ClientInformation(nbma=nbma_address, protocol=tunnel(3))
    return of_entries(ExtensionType.RESPONDER_ADDRESS, (entry,))


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        (HUB.nbma, told_by(PUBLIC)),  # by way of the hub that we asked
        (PUBLIC, told_by(PUBLIC)),  # straight
        (PUBLIC, told_by(INSIDE, nat_extension((tunnel(3), PUBLIC)))),  # behind NAT, and knows it
        (PUBLIC, told_by(INSIDE)),  # behind NAT, and does not
        (PUBLIC, told_by(ip("198.51.100.9"), responder(PUBLIC))),  # its other address
        (PUBLIC, told_by(b"")),  # claims none
    ],
)
def test_reply_from_whom_we_asked_or_straight_from_its_responder_is_taken(source, fields) -> None:
    spoke, request = an_asking_spoke()
    assert drops(spoke.receive(a_resolution_reply(request, **fields), source)) == []
    assert spoke.shortcuts() == SHORTCUT


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        (nbma(4), told_by(PUBLIC)),
        (nbma(4), told_by(PUBLIC, responder(PUBLIC))),
        (nbma(4), told_by(PUBLIC, nat_extension((tunnel(3), PUBLIC)))),
        (nbma(4), told_by(INSIDE, nat_extension((tunnel(3), PUBLIC)))),
        (nbma(4), told_by(PUBLIC, nat_extension((tunnel(4), nbma(4))))),  # of another station
        (nbma(4), told_by(b"", code=4)),  # a refusal of somebody who was not asked
    ],
)
def test_reply_by_another_way_is_not_taken(source, fields) -> None:
    spoke, request = an_asking_spoke()
    effects = spoke.receive(a_resolution_reply(request, **fields), source)
    assert drops(effects) == ["wrong-way"]
    assert sent(effects) == []
    assert spoke.shortcuts() == WAITING
    spoke.receive(a_resolution_reply(request), HUB.nbma)  # the true one still counts
    assert spoke.shortcuts() == SHORTCUT


def test_reply_of_another_type_without_any_entry_is_not_taken_from_others() -> None:
    spoke, request = an_asking_spoke()
    other = replace(a_resolution_reply(request), type=PacketType.PURGE_REPLY, entries=())
    assert drops(spoke.receive(other, nbma(4))) == ["wrong-way"]


def test_reply_may_come_back_by_another_of_our_servers() -> None:
    spoke = a_spoke(2, nhs=(an_nhs(), an_nhs(OTHER_HUB)), registered=False)
    first, _ = sent(spoke.started, PacketType.REGISTRATION_REQUEST)
    spoke.receive(a_registration_reply(first), HUB.nbma)
    request = the(sent(redirect(spoke)))
    spoke.receive(a_resolution_reply(request), OTHER_HUB.nbma)
    assert spoke.shortcuts() == SHORTCUT


def test_reply_from_a_next_hop_that_is_no_server_is_taken() -> None:
    spoke = a_spoke(
        2,
        maps=(a_map(tunnel(9), nbma(9)),),
        routes=[a_route(each, GRE, tunnel(9)) for each in ("10.255.255.0/24", "172.16.0.0/16")],
    )
    request = the(sent(redirect(spoke)))
    spoke.receive(a_resolution_reply(request), nbma(9))
    assert spoke.shortcuts() == SHORTCUT


def test_error_by_another_way_ends_nothing() -> None:
    spoke, request = an_asking_spoke()
    error = an_error_indication(4, ErrorCode.PROTOCOL_ADDRESS_UNREACHABLE, request)
    assert drops(spoke.receive(error, nbma(4))) == ["wrong-way"]
    assert spoke.shortcuts() == WAITING
    assert drops(spoke.receive(error, HUB.nbma)) == []
    assert spoke.shortcuts() == [("172.16.3.10/32", None, "negative")]


def test_registration_is_confirmed_by_its_server_alone() -> None:
    spoke = a_spoke(2, nhs=(an_nhs(), an_nhs(OTHER_HUB)), registered=False)
    request = sent(spoke.started, PacketType.REGISTRATION_REQUEST)[0]
    reply = a_registration_reply(request)
    for other in (OTHER_HUB.nbma, nbma(4)):
        assert drops(spoke.receive(reply, other)) == ["wrong-way"]
    error = an_error_indication(4, ErrorCode.AUTHENTICATION_FAILURE, request)
    assert drops(spoke.receive(error, nbma(4))) == ["wrong-way"]
    assert spoke.cache() == {}
    complaint = "the answer came from 192.168.100.4, which is not its NBMA address"
    assert spoke.table(View.NHS, "last_error")[0] == (complaint,)
    spoke.receive(reply, HUB.nbma)
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}
    assert spoke.table(View.NHS, "last_error")[0] == (None,)


def test_reply_of_another_target_and_the_right_id_still_does_not_count() -> None:
    spoke, request = an_asking_spoke()
    reply = replace(a_resolution_reply(request), destination_protocol=host(4))
    assert drops(spoke.receive(reply, HUB.nbma)) == ["unsolicited-reply"]
