"""Who gets copies of multicast over real tunnels: none is lost, none doubled, none goes back."""

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.clouds import GRE_AND_ESP, cloud, in_clear
from tests.lab.expect import row, wait_registered
from tools.lab import netns
from tools.lab.classic import ClassicNode
from tools.lab.machine import Role
from tools.lab.multicast import Talker, replicate
from tools.lab.namespace import Namespace, wait_until
from tools.lab.nodes import registered
from tools.lab.topology import Lab, Node
from tools.lab.wiring import TUNNEL

STRANGER = "203.0.113.7"
"""A source behind spoke 2 that no route tells: the outer address alone says where it came from."""
GROUP, PORT = "239.1.2.3", 5555
TARGETS, PACKETS = 1000, 40
IPPROTO_IGMP = socket.IPPROTO_IGMP
MRT_INIT, MRT_ADD_VIF, MRT_ADD_MFC = 200, 202, 204
VIFF_USE_IFINDEX = 8
IP_TRANSPARENT = 19


def a_socket(namespace: Namespace, *arguments: int) -> socket.socket:
    with netns.of_process(namespace.pid):
        return socket.socket(*arguments)


def ifindex(namespace: Namespace) -> int:
    with netns.of_process(namespace.pid):
        return socket.if_nametoindex(TUNNEL)


@contextlib.contextmanager
def member(node: Node) -> Iterator[socket.socket]:
    """A socket on a node that gets what comes for the group out of the tunnel."""
    with a_socket(node.namespace, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("=4s4si", socket.inet_aton(GROUP), bytes(4), ifindex(node.namespace))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        sock.bind((GROUP, PORT))
        sock.settimeout(0.5)
        yield sock


@contextlib.contextmanager
def sender(node: Node, source: str | None = None) -> Iterator[socket.socket]:
    """A socket on a node that sends to the group by the tunnel."""
    with a_socket(node.namespace, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("=4s4si", bytes(4), bytes(4), ifindex(node.namespace))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        if source is not None:  # no address of the node, which would not take it back anyway
            sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        sock.bind((source or node.tunnel, 0))
        yield sock


def send(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(PermissionError):  # the original is dropped
        sock.sendto(data, (GROUP, PORT))


def heard(sock: socket.socket) -> list[tuple[bytes, str]]:
    """What comes until nothing does any more, with its source."""
    found = []
    with contextlib.suppress(TimeoutError):
        while True:
            data, (source, _) = sock.recvfrom(2048)
            found.append((data, source))
    return found


def a_cloud(lab: Lab, spokes: int) -> list[Node]:
    lab.add(Talker(number=1, role=Role.HUB))
    for number in range(2, 2 + spokes):
        lab.add(Talker(number=number, role=Role.SPOKE))
    for node in lab.nodes:
        replicate(node)
    lab.start()
    wait_registered(lab)
    return lab.nodes


@pytest.fixture
def three() -> Iterator[list[Node]]:
    """A hub that routes multicast of spoke 2 back into the tunnel, and three spokes."""
    with Lab() as lab:
        nodes = a_cloud(lab, 3)
        hub = nodes[0]
        with a_socket(hub.namespace, socket.AF_INET, socket.SOCK_RAW, IPPROTO_IGMP) as router:
            router.setsockopt(socket.IPPROTO_IP, MRT_INIT, 1)
            # struct vifctl: vif u16, flags u8, threshold u8, rate limit u32, ifindex s32, remote
            vif = struct.pack("=HBBIi4x", 0, VIFF_USE_IFINDEX, 1, 0, ifindex(hub.namespace))
            router.setsockopt(socket.IPPROTO_IP, MRT_ADD_VIF, vif)
            # struct mfcctl: origin, group, parent u16, ttls u8[32], counters
            origin, group = socket.inet_aton(STRANGER), socket.inet_aton(GROUP)
            entry = struct.pack("=4s4sH32s2x4I", origin, group, 0, b"\1" + bytes(31), 0, 0, 0, 0)
            router.setsockopt(socket.IPPROTO_IP, MRT_ADD_MFC, entry)
            yield nodes


def test_datagrams_reach_each_spoke_once_and_whole_and_never_go_back(three: list[Node]) -> None:
    """Whole: the kernel leaves their checksums to the tunnel."""
    hub, one, *others = three
    with contextlib.ExitStack() as stack:
        mine, *theirs = (stack.enter_context(member(spoke)) for spoke in (one, *others))
        with sender(hub) as sock:
            for number in range(5):
                send(sock, b"of the hub %d" % number)
        expected = [(b"of the hub %d" % number, hub.tunnel) for number in range(5)]
        assert [heard(each) for each in (mine, *theirs)] == [expected] * 3

        with sender(one, STRANGER) as sock:  # the hub forwards it, back into the tunnel
            for number in range(3):
                send(sock, b"to all %d" % number)
        forwarded = [(b"to all %d" % number, STRANGER) for number in range(3)]
        assert [heard(each) for each in theirs] == [forwarded] * 2
        assert heard(mine) == []
    assert isinstance(hub, Talker)
    assert not [each for each in hub.show("traffic") if each["direction"] == "dropped"]


def test_copies_go_in_esp_and_only_to_peers_with_an_sa() -> None:
    hub_s = {"settings": 'multicast = ["dynamic", "192.0.2.77"]\n'}
    with cloud(hub_s, {}, {}, static=True, bgp=False) as (_, nodes):
        hub, one, two = nodes
        for spoke in (one, two):
            wait_until(lambda: registered(hub, spoke), 30.0, f"{spoke.name} is registered")  # noqa: B023
        replicate(hub)
        assert row(hub, "interfaces", multicast_targets=2)  # 192.0.2.77 has no SA
        with contextlib.ExitStack() as stack:
            wire = stack.enter_context(hub.capture(expression=GRE_AND_ESP))
            members = [stack.enter_context(member(spoke)) for spoke in (one, two)]
            sock = stack.enter_context(sender(hub))
            send(sock, b"to both")
            assert [heard(each) for each in members] == [[(b"to both", hub.tunnel)]] * 2
            two.charon.kill()
            hub.charon.swanctl("--terminate", "--force", "--ike-id", _ike_with(hub, two))
            wait_until(lambda: row(hub, "interfaces", multicast_targets=1), 20.0, "one target")
            send(sock, b"to one")
            assert [heard(each) for each in members] == [[(b"to one", hub.tunnel)], []]
            packets = wire.packets()
        assert packets
        assert in_clear(packets) == []


def _ike_with(hub: ClassicNode, spoke: ClassicNode) -> str:
    return str(hub.charon.children(spoke.nbma)[0].ike_id)


def test_a_thousand_targets_get_each_packet_once() -> None:
    addresses = [f"198.18.{number // 250}.{number % 250 + 1}" for number in range(TARGETS)]
    listed = ", ".join(f'"{each}"' for each in addresses)
    with Lab() as lab:
        hub = lab.add(Talker(number=1, role=Role.HUB, targets=listed))
        world = lab.add(Talker(number=2, role=Role.SPOKE))
        replicate(hub)
        hub.namespace.ip(f"route add 198.18.0.0/16 via {world.nbma}")
        world.namespace.ip("route add local 198.18.0.0/16 dev lo")
        world.namespace.run("nft", "-f", "-", stdin=COUNTED)
        hub.start()
        wait_until(lambda: row(hub, "interfaces", multicast_targets=TARGETS), 20.0, "targets")
        with sender(hub) as sock:
            for number in range(PACKETS):
                send(sock, b"%d" % number)

        def counts() -> dict[str, int] | None:
            found = counted(world)
            return found if sum(found.values()) >= TARGETS * PACKETS else None

        found = wait_until(counts, 60.0, "all copies")
        assert found == dict.fromkeys(addresses, PACKETS)
        shown: Any = row(hub, "interfaces")
        assert (shown["multicast_packets"], shown["multicast_copies"]) == (
            PACKETS,
            TARGETS * PACKETS,
        )
        assert not [each for each in hub.show("traffic") if each["direction"] == "dropped"]


COUNTED = """
table ip seen {
    set copies { type ipv4_addr; size 2048; flags dynamic; counter; }
    chain input {
        type filter hook input priority 0;
        ip daddr 198.18.0.0/16 ip protocol gre update @copies { ip daddr counter } drop
    }
}
"""


def counted(node: Node) -> dict[str, int]:
    """How many packets came for each target."""
    document = json.loads(node.namespace.run("nft", "-j", "list", "set", "ip", "seen", "copies"))
    (found,) = (each["set"] for each in document["nftables"] if "set" in each)
    return {
        each["elem"]["val"]: each["elem"]["counter"]["packets"] for each in found.get("elem", [])
    }
