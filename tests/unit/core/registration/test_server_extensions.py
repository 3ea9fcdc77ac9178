"""The extensions of a Registration Reply, and what they tell of NAT."""

from dataclasses import replace

from nhrpd_py.core.queries import View
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import (
    ExtensionType,
)
from tests.support.engine import a_hub, a_spoke, sent, the, the_packet
from tests.support.messages import (
    AUTHENTICATION,
    a_registration_request,
    nat_extension,
    std_extensions,
)
from tests.support.sites import (
    HUB,
    SECRET,
    an_nhs,
    ip,
    nbma,
    tunnel,
)


def test_extensions_come_back_in_their_order_known_or_not() -> None:
    vendor = Extension(ExtensionType.VENDOR_PRIVATE, b"\0\0\x0cgroup", compulsory=False)
    unknown = Extension(0x123, b"x", compulsory=False)
    request = a_registration_request(2, extensions=(vendor, *std_extensions(), unknown, vendor))
    reply = the_packet(a_hub().receive(request, nbma(2)))[1]
    assert [each.type for each in reply.extensions] == [8, 4, 5, 3, 0x123, 8]
    assert reply.extensions[0] == vendor
    assert reply.extensions[4] == unknown
    responder = the(reply.extensions[3].entries(4, 4))
    assert (responder.protocol, responder.nbma) == (HUB.tunnel, HUB.nbma)
    assert (responder.code, responder.prefix_length, responder.holding_time_s) == (0, 0, 60)


def test_nothing_is_added_that_was_not_asked_for() -> None:
    reply = the_packet(a_hub().receive(a_registration_request(2, extensions=()), nbma(2)))[1]
    assert reply.extensions == ()


def test_signature_is_ours_in_the_place_of_the_client_s() -> None:
    """Cisco signs before its last extension, and wants to find everything where it was."""
    hub = a_hub(authentication=SECRET)
    extensions = std_extensions(replace(AUTHENTICATION, compulsory=False), nat_extension())
    request = a_registration_request(2, extensions=extensions)
    reply = the_packet(hub.receive(request, nbma(2)))[1]
    assert [each.type for each in reply.extensions] == [4, 5, 3, 7, 9]
    assert reply.extensions[3] == AUTHENTICATION


def test_nat_extension_of_another_meaning_gets_our_entry_alone() -> None:
    """Other documents gave type 9 to something else: its value is not a list of entries."""
    odd = Extension(ExtensionType.NAT_ADDRESS, b"\1\2\3", compulsory=False)
    request = a_registration_request(2, extensions=std_extensions(odd))
    reply = the_packet(a_hub().receive(request, nbma(50)))[1]
    extension = reply.extension(ExtensionType.NAT_ADDRESS)
    assert extension is not None
    seen = the(extension.entries(4, 4))
    assert (seen.protocol, seen.nbma, seen.prefix_length) == (tunnel(2), nbma(50), 32)
    # Seen as claimed, it comes back as it was.
    reply = the_packet(a_hub().receive(request, nbma(2)))[1]
    assert reply.extension(ExtensionType.NAT_ADDRESS) == odd


def test_two_of_our_own_agree() -> None:
    """Our client's request, answered by our server, brings our client up."""
    spoke = a_spoke(2, registered=False)
    request = the(sent(spoke.started))
    to, reply = the_packet(a_hub().receive(request, nbma(2)))
    assert to == nbma(2)
    spoke.receive(reply, HUB.nbma)
    assert spoke.cache() == {"10.255.255.1": ("nhs", "192.168.100.1")}


def test_client_behind_nat_and_server_behind_nat_agree() -> None:
    spoke = a_spoke(2, registered=False, nhs=(an_nhs("198.51.100.1"),))
    request = the(sent(spoke.started))
    # The hub sees the spoke at .50, the spoke sees the hub at 198.51.100.1.
    reply = the_packet(a_hub().receive(request, nbma(50)))[1]
    spoke.receive(reply, ip("198.51.100.1"))
    assert spoke.cache() == {"10.255.255.1": ("nhs", "198.51.100.1")}
    assert spoke.table(View.CACHE, "type", "nbma", "claimed_nbma", "nat")[0] == (
        "local",
        "192.168.100.50",
        "192.168.100.2",
        True,
    )
