"""Somebody on the Internet who sends GRE frames with whatever in them, from any outer address."""

import ipaddress
import socket
import struct
import time
from collections.abc import Iterable
from typing import Self

from nhrpd_py.packet.wire import internet_checksum
from tools.lab import netns
from tools.lab.namespace import Namespace
from tools.lab.topology import Lab, Node
from tools.lab.wiring import GRE_KEY, UNDERLAY

ETHERTYPE_NHRP = 0x2001
SLICE = 64
"""Frames between two pauses."""


class Stranger:
    """A machine on the lab's underlay that belongs to no DMVPN; a context manager.

    It is also the next hop for outer addresses of its choice, so that answers to them have a way.
    """

    def __init__(self, lab: Lab, number: int = 200) -> None:
        self.nbma = f"192.0.2.{number}"
        self.namespace = Namespace("stranger")
        self._internet = lab.internet
        self._lab = lab

    def __enter__(self) -> Self:
        self.namespace.__enter__()
        self._internet.ip(
            f"link add stranger type veth peer name {UNDERLAY} netns {self.namespace.pid}",
            "link set stranger master br0 up",
        )
        self.namespace.ip(f"address add {self.nbma}/24 dev {UNDERLAY}", f"link set {UNDERLAY} up")
        self._raw = socket_within(self.namespace, UNDERLAY)
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()
        self.namespace.__exit__()

    def send(
        self,
        to: Node,
        payloads: Iterable[tuple[str, bytes]],
        *,
        key: int | None = GRE_KEY,
        per_s: float = 2000.0,
    ) -> int:
        """Sends (outer source, NHRP packet) pairs to a node, evenly paced; says how many."""
        ethernet = _mac(to.namespace) + _mac(self.namespace) + b"\x08\x00"
        count = 0
        began = time.monotonic()
        for source, payload in payloads:
            self._raw.send(ethernet + gre_packet(source, to.nbma, payload, key))
            count += 1
            if count % SLICE == 0:
                time.sleep(max(0.0, began + count / per_s - time.monotonic()))
        return count

    def send_fragmented(self, to: Node, payload: bytes) -> None:
        """Sends one packet of up to 64 KiB from our own address; the kernel fragments it."""
        sock = socket_within(self.namespace, UNDERLAY, socket.AF_INET, socket.IPPROTO_GRE)
        with sock:
            sock.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: IP_PMTUDISC_DONT
            sock.sendto(_gre_header(GRE_KEY) + payload, (to.nbma, 0))


def socket_within(
    namespace: Namespace, device: str, family: int = socket.AF_PACKET, protocol: int = 0
) -> socket.socket:
    """Opens a raw socket in another network namespace; it stays there."""
    with netns.of_process(namespace.pid):
        sock = socket.socket(family, socket.SOCK_RAW, protocol)
        if family == socket.AF_PACKET:
            sock.bind((device, 0))
    return sock


def gre_packet(source: str, destination: str, payload: bytes, key: int | None) -> bytes:
    """Returns an IPv4 packet with GRE (RFC 2890) and NHRP in it."""
    gre = _gre_header(key) + payload
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(destination).packed
    header = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(gre), 0, 0, 64, socket.IPPROTO_GRE, 0)
    checksum = internet_checksum(header + addresses).to_bytes(2, "big")
    return header[:10] + checksum + addresses + gre


def _gre_header(key: int | None) -> bytes:
    if key is None:
        return struct.pack("!HH", 0, ETHERTYPE_NHRP)
    return struct.pack("!HHI", 0x2000, ETHERTYPE_NHRP, key)


def _mac(namespace: Namespace) -> bytes:
    link = namespace.ip_json("link", "show", "dev", UNDERLAY)[0]
    return bytes.fromhex(link["address"].replace(":", ""))
