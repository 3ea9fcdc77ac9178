"""Client and server with different pass phrases: each is told so, and no healthy SA is ended for it."""

from dataclasses import replace

import pytest

from nhrpd_py.core.effects import Effect, EndSa
from nhrpd_py.core.notices import ErrorReceived, NhsDown, RegistrationRefused
from nhrpd_py.core.queries import View
from nhrpd_py.packet.extension import Extension, cisco_authentication
from nhrpd_py.packet.iana import ErrorCode, PacketType
from tests.support.engine import a_hub, drops, of, sent, the, the_packet
from tests.support.ipsec import a_protected_spoke
from tests.support.messages import (
    a_registration_reply,
    a_registration_request,
    an_error_indication,
)
from tests.support.registration import a_fresh_spoke, states
from tests.support.sites import HUB, SECRET, nbma, tunnel

OTHER = (cisco_authentication(b"another"),)


@pytest.mark.parametrize(
    ("extensions", "what"),
    [((), "no pass phrase, and we have one"), (OTHER, "another pass phrase than we")],
)
def test_a_server_whose_replies_lack_our_pass_phrase_is_called_so(
    extensions: tuple[Extension, ...], what: str
) -> None:
    spoke = a_fresh_spoke(authentication=SECRET)
    reply = replace(a_registration_reply(the_packet(spoke.started)[1]), extensions=extensions)
    effects = spoke.receive(reply, HUB.nbma)
    assert drops(effects) == ["authentication-failed"]
    reason = f"authentication failed: the server has {what}"
    assert the(of(effects, ErrorReceived)).error == reason
    assert spoke.table(View.NHS, "state", "last_error") == [("refused", reason)]
    effects = [each for at in (1.0, 3.0, 7.0) for each in spoke.advance(at)]
    assert the(of(effects, NhsDown)).reason == reason
    assert spoke.table(View.NHS, "last_error") == [(reason,)]


def test_an_error_with_another_pass_phrase_is_as_good() -> None:
    spoke = a_fresh_spoke(authentication=SECRET)
    request = the_packet(spoke.started)[1]
    error = an_error_indication(1, ErrorCode.AUTHENTICATION_FAILURE, request, extensions=OTHER)
    assert drops(spoke.receive(error, HUB.nbma)) == ["authentication-failed"]
    assert "another pass phrase" in str(spoke.table(View.NHS, "last_error")[0][0])


def test_who_does_not_know_the_request_is_not_believed() -> None:
    spoke = a_fresh_spoke(authentication=SECRET)
    request = the_packet(spoke.started)[1]
    reply = replace(a_registration_reply(request), extensions=())
    spoke.receive(replace(reply, request_id=request.request_id + 1), HUB.nbma)
    spoke.receive(reply, nbma(9))
    assert spoke.table(View.NHS, "state", "last_error") == [("registering", None)]


def test_an_sa_that_carries_refusals_is_not_ended() -> None:
    spoke = a_protected_spoke()
    assert states(spoke) == ["up"]
    effects: list[Effect] = []
    for at in (20.0, 21.0, 23.0, 27.0):
        effects += spoke.advance(at)
        requests = sent(effects, PacketType.REGISTRATION_REQUEST)
        error = an_error_indication(1, ErrorCode.AUTHENTICATION_FAILURE, requests[-1])
        effects += spoke.receive(error, HUB.nbma, now=at)
    assert states(spoke, 27.0) == ["refused"]
    assert of(effects, EndSa) == []


@pytest.mark.parametrize(("extensions", "what"), [((), "no"), (OTHER, "another")])
def test_a_hub_tells_which_client_lacks_its_pass_phrase_once_a_minute(
    extensions: tuple[Extension, ...], what: str
) -> None:
    hub = a_hub(authentication=SECRET)
    request = a_registration_request(2, extensions=extensions)
    refusal = the(of(hub.receive(request, nbma(2)), RegistrationRefused))
    assert (refusal.protocol, refusal.nbma) == (tunnel(2), nbma(2))
    assert refusal.reason == f"the client has {what} pass phrase"
    assert of(hub.receive(request, nbma(2), now=9.0), RegistrationRefused) == []
