"""More spokes on one hub than the kernel's default neighbour table would hold (gc_thresh3 = 1024)."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import AFN_IPV4, NAT, PROTOCOL_IPV4, PacketType
from nhrpd_py.packet.message import Message, encode
from tests.lab.expect import OUR_PROTOCOL
from tools.lab.guest import REPOSITORY
from tools.lab.machine import Role
from tools.lab.namespace import Namespace, wait_until
from tools.lab.nodes import NhrpdNode
from tools.lab.topology import Lab

SPOKES = 1500
GC_THRESH3 = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
"""One for all namespaces."""


def nbma_of(number: int) -> str:
    return f"10.64.{number >> 8}.{number & 255}"


def tunnel_of(number: int) -> str:
    return f"10.200.{number >> 8}.{number & 255}"


@pytest.fixture(scope="module")
def crowd() -> Iterator[tuple[NhrpdNode, Namespace]]:
    """A hub, and a namespace that can be 1 500 spokes."""
    with Lab() as lab:
        hub = lab.add(NhrpdNode(number=1, role=Role.HUB, log_level="warning"))
        hub.start()
        spokes = lab._stack.enter_context(Namespace("crowd"))
        lab.internet.ip(
            f"link add crowd type veth peer name eth0 netns {spokes.pid}",
            "link set crowd master br0 up",
        )
        spokes.ip(
            "address add 192.0.2.240/24 dev eth0",
            "link set eth0 up",
            "link set lo up",
            "route add local 10.64.0.0/16 dev lo",
        )
        hub.namespace.ip("route add 10.64.0.0/16 via 192.0.2.240")
        yield hub, spokes


def test_1500_spokes_are_in_daemon_and_kernel_and_survive_a_crash(
    crowd: tuple[NhrpdNode, Namespace],
) -> None:
    hub, spokes = crowd
    assert int(GC_THRESH3.read_text()) < SPOKES
    argv = [sys.executable, __file__, hub.nbma]
    subprocess.run(spokes.enter(argv), check=True, timeout=120, env={"PYTHONPATH": str(REPOSITORY)})
    everyone = {tunnel_of(number) for number in range(1, SPOKES + 1)}
    wait_until(lambda: clients(hub) == everyone, 30.0, "all registered", interval_s=0.5)
    in_kernel(hub, everyone)
    hub.kill()
    in_kernel(hub, everyone)
    hub.start()
    wait_until(lambda: clients(hub) == everyone, 10.0, "all adopted", interval_s=0.5)
    in_kernel(hub, everyone)


def clients(hub: NhrpdNode) -> set[str]:
    return {each["protocol"] for each in hub.show("cache") if each["type"] == "dynamic"}


def in_kernel(hub: NhrpdNode, everyone: set[str]) -> None:
    wait_until(lambda: everyone <= set(hub.neighbors()), 10.0, "all neighbours", interval_s=0.5)
    neighbors = hub.neighbors()
    assert {neighbors[each].state for each in everyone} == {"PERMANENT"}
    assert neighbors[tunnel_of(7)].nbma == nbma_of(7)
    wait_until(lambda: everyone <= set(hub.routes()), 10.0, "all host routes", interval_s=0.5)
    routes = hub.routes()
    assert {routes[each].protocol for each in everyone} == {OUR_PROTOCOL}


def register_all(hub: str) -> None:
    """What the crowd's namespace runs: one registration each, from its own outer address."""
    for number in range(1, SPOKES + 1):
        nbma, tunnel = socket.inet_aton(nbma_of(number)), socket.inet_aton(tunnel_of(number))
        request = Message(
            type=PacketType.REGISTRATION_REQUEST,
            afn=AFN_IPV4,
            protocol_type=PROTOCOL_IPV4,
            flags=NAT,
            request_id=number,
            source_nbma=nbma,
            source_protocol=tunnel,
            destination_protocol=tunnel,
            entries=(ClientInformation(prefix_length=32, holding_time_s=7200),),
        )
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE) as raw:
            raw.bind((nbma_of(number), 0))
            raw.sendto(bytes.fromhex("200020010000002a") + encode(request), (hub, 0))


if __name__ == "__main__":
    register_all(sys.argv[1])
