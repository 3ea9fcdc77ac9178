"""What goes through SAs: where packets leave and none come, a peer that does not answer is silent for a reason."""

from nhrpd_py.core.effects import Effect
from nhrpd_py.core.events import SaCount, SasCounted
from nhrpd_py.core.notices import AssociationSilent, NhsDown, PathFailed
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message
from tests.support.engine import Node, of, packets, sent, the
from tests.support.ipsec import a_protected_hub, a_protected_spoke, gone, installed
from tests.support.messages import a_registration_reply, a_resolution_reply
from tests.support.resolution import redirect
from tests.support.sites import HUB, nbma, tunnel

REQUEST = PacketType.REGISTRATION_REQUEST


def silent(count: int) -> str:
    return (
        f"the security association has sent {count} packets and got none: ESP (protocol 50, behind NAT UDP port "
        "4500) does not arrive here or there"
    )


def count(
    node: Node, now: float, came: int, left: int, *, peer: int = 1, local: int = 2
) -> list[Effect]:
    """The kernel's counters of a pair, with packets of 100 octets."""
    counted = SaCount(
        local=nbma(local),
        remote=nbma(peer),
        octets_in=came * 100,
        octets_out=left * 100,
        packets_in=came,
        packets_out=left,
    )
    return node.give(SasCounted((counted,)), now=now)


def last_error(spoke: Node, view: View, now: float, peer: int = 1) -> object:
    rows = spoke.table(view, "nbma", "last_error", now=now)
    return next(error for nbma, error in rows if nbma == f"192.168.100.{peer}")


def problems(node: Node, now: float) -> list[tuple[object, ...]]:
    return node.table(View.PROBLEMS, "kind", "nbma", "subject", "reason", now=now)


def test_octets_are_shown_of_peers_and_added_up_for_the_interface() -> None:
    hub = a_protected_hub(3)
    assert hub.table(View.PEERS, "bytes_in", "bytes_out") == [(None, None)]
    count(hub, 10.0, 5, 7, peer=3, local=1)
    count(hub, 20.0, 9, 8, peer=3, local=1)
    assert hub.table(View.PEERS, "bytes_in", "bytes_out", now=20.0) == [(900, 800)]
    count(hub, 30.0, 2, 1, peer=3, local=1)  # another SA is in its place
    assert hub.table(View.PEERS, "bytes_in", "bytes_out", now=30.0) == [(200, 100)]
    assert hub.table(View.INTERFACES, "sa_bytes_in", "sa_bytes_out") == [(1100, 900)]
    count(hub, 30.0, 2, 1, peer=9, local=1)  # it has no SA any more
    hub.give(gone(3, local=1), now=31.0)
    assert hub.table(View.PEERS, "bytes_in", now=31.0) == []


def test_a_server_to_which_packets_leave_and_from_which_none_come() -> None:
    spoke = a_protected_spoke(1, registered=False)
    assert of(count(spoke, 3.0, 0, 2), AssociationSilent) == []
    notice = the(of(count(spoke, 9.9, 0, 4), AssociationSilent))
    assert (notice.nbma, notice.reason) == (nbma(1), silent(4))
    assert last_error(spoke, View.NHS, 10.0) == silent(4)
    assert last_error(spoke, View.PEERS, 10.0) == silent(4)
    identity = spoke.table(View.PEERS, "identity", now=10.0)[0][0]
    assert ("one-way", "192.168.100.1", identity, silent(4)) in problems(spoke, 10.0)
    assert of(count(spoke, 19.0, 0, 5), AssociationSilent) == []  # once a minute


def test_a_server_that_is_up_is_asked_at_once_and_lost_for_the_reason() -> None:
    spoke = a_protected_spoke(path_check_s=3)
    count(spoke, 10.0, 3, 3)
    effects = count(spoke, 20.0, 3, 9)
    assert of(effects, AssociationSilent) == []  # traffic may well go one way alone
    assert last_error(spoke, View.PEERS, 20.0) is None
    assert len(sent(effects, REQUEST)) == 1
    effects = []
    while not of(effects, NhsDown):
        at = spoke.engine.next_deadline()
        assert at is not None
        assert at < 25.0
        effects = spoke.advance(at)
    assert the(of(effects, NhsDown)).reason == f"no answer to 3 registration requests: {silent(6)}"
    assert ("one-way", silent(6)) in spoke.table(View.PROBLEMS, "kind", "reason", now=25.0)


def test_a_rekeying_makes_nobody_silent() -> None:
    """The new SA has sent before the peer had anything to say; a stream of data may go one way alone."""
    hub = a_protected_hub(3)
    count(hub, 10.0, 5, 7, peer=3, local=1)
    assert count(hub, 20.0, 0, 4000, peer=3, local=1) == []
    assert problems(hub, 20.0) == []
    count(hub, 30.0, 0, 9000, peer=3, local=1)
    assert problems(hub, 30.0) == []


def test_what_comes_ends_it() -> None:
    spoke = a_protected_spoke(path_check_s=3)
    count(spoke, 10.0, 3, 3)
    request = the(sent(count(spoke, 20.0, 3, 9), REQUEST))
    spoke.receive(a_registration_reply(request), HUB.nbma, now=20.1)
    assert sent(count(spoke, 30.0, 4, 10)) == []
    assert problems(spoke, 30.0) == []


def probes(effects: list[Effect]) -> list[Message]:
    return [
        message
        for to, message in packets(effects)
        if to == nbma(3) and message.destination_protocol == tunnel(3)
    ]


def test_a_direct_path_is_checked_at_once_and_fails_for_the_reason() -> None:
    spoke = a_protected_spoke(3, path_check_s=60)
    request = the(sent(redirect(spoke, now=1.0), PacketType.RESOLUTION_REQUEST))
    probe = the(probes(spoke.receive(a_resolution_reply(request), HUB.nbma, now=1.0)))
    spoke.receive(a_resolution_reply(probe), nbma(3), now=1.1)
    count(spoke, 10.0, 3, 3, peer=3)
    assert len(probes(count(spoke, 20.0, 3, 30, peer=3))) == 1
    effects: list[Effect] = []
    for now in (20.5, 21.0, 21.5):
        effects += spoke.advance(now)
    assert the(of(effects, PathFailed)).reason == (
        f"no answer on the direct path to 192.168.100.3: {silent(27)}"
    )


def test_counters_of_a_tunnel_without_ipsec_or_with_another_address_are_nobodys() -> None:
    hub = a_protected_hub()
    hub.give(installed(3, local=7), now=1.0)  # an SA of another address of this machine
    assert count(hub, 9.0, 0, 9, peer=3, local=7) == []
    assert problems(hub, 9.0) == []
