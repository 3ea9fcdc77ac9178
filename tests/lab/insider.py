"""A registered spoke whose daemon was replaced by somebody's own programs: it sends what NHRP it likes, by its tunnel.

Its outer address, and with IPsec its security associations, are its own, for neither can be chosen freely.
"""

import ipaddress
import socket
import time
from collections.abc import Iterable
from typing import Any

from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message, encode
from tools.lab import netns
from tools.lab.nodes import NhrpdNode
from tools.lab.topology import Node
from tools.lab.wiring import TUNNEL

ETHERTYPE_NHRP = 0x2001
HOLDING_TIME_S = 120
SLICE = 16
"""Packets between two pauses."""

Extensions = tuple[Extension, ...]


class Insider:
    """The malicious spoke. What it is in the kernel, and in charon, goes on without its daemon."""

    def __init__(self, node: NhrpdNode) -> None:
        self.node = node
        node.kill()
        with netns.of_process(node.namespace.pid):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)

    def close(self) -> None:
        """Closes its socket."""
        self._socket.close()

    def send(self, to: Node, *messages: Message | bytes) -> None:
        """Sends packets to a node's outer address."""
        where = (TUNNEL, ETHERTYPE_NHRP, 0, 0, packed(to.nbma))
        for each in messages:
            self._socket.sendto(each if isinstance(each, bytes) else encode(each), where)

    def pour(self, to: Node, messages: Iterable[Message], per_s: float) -> int:
        """Sends many packets to a node, evenly; says how many."""
        began, count = time.monotonic(), 0
        for each in messages:
            self.send(to, each)
            count += 1
            if count % SLICE == 0:
                time.sleep(max(0.0, began + count / per_s - time.monotonic()))
        return count

    def message(self, kind: PacketType, destination: str, **fields: Any) -> Message:
        """Returns a message of this spoke; every field can be another one."""
        entry = ClientInformation(prefix_length=32, holding_time_s=HOLDING_TIME_S)
        indication = kind in (PacketType.TRAFFIC_INDICATION, PacketType.ERROR_INDICATION)
        values: dict[str, Any] = {
            "afn": 1,
            "protocol_type": 0x0800,
            "hop_count": 64,
            "source_nbma": packed(self.node.nbma),
            "source_protocol": packed(self.node.tunnel),
            "destination_protocol": packed(destination),
            "entries": () if indication else (entry,),
            "request_id": 0 if indication else 1,
            "extensions": (Extension(4), Extension(5), Extension(3)),
        }
        return Message(type=kind, **{**values, **fields})

    def registration(self, server: Node, address: str, **fields: Any) -> Message:
        """Returns a request to a node to register an address."""
        return self.message(
            PacketType.REGISTRATION_REQUEST,
            server.tunnel,
            **{"source_protocol": packed(address), **fields},
        )

    def purge(self, destination: str, prefix: str, **fields: Any) -> Message:
        """Returns a request to a station to forget a prefix."""
        network = ipaddress.IPv4Network(prefix)
        entry = ClientInformation(
            prefix_length=network.prefixlen, protocol=network.network_address.packed
        )
        return self.message(PacketType.PURGE_REQUEST, destination, entries=(entry,), **fields)


def packed(address: str) -> bytes:
    """Returns the octets of an address."""
    return ipaddress.IPv4Address(address).packed
