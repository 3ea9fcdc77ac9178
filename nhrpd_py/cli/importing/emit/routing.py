"""Writes the lines for FRR's zebra and bgpd, which stay beside nhrpd."""

import ipaddress
from collections.abc import Iterator

from nhrpd_py.cli.importing.emit.output import Output
from nhrpd_py.cli.importing.node import Node

GUESSED_LENGTH = 24
HOST_LENGTH = 32
IPV4 = 4


def frr_conf(node: Node, suffix: str) -> Output | None:
    interfaces = [
        line
        for tunnel in node.speakers
        if tunnel.routing
        for line in (
            f"interface {tunnel.netdev}",
            *(f" {each}" for each in tunnel.routing),
            "exit",
            "!",
        )
    ]
    if not node.routing and not interfaces:
        return None
    lines = [
        "! Routing beside nhrpd, made by nhrpctl import: for zebra and bgpd of FRR (/etc/frr/frr.conf).",
        "! Without FRR's own nhrpd: nhrpd=no in /etc/frr/daemons.",
        "!",
        *(_announced(node) if node.announces_peers else ()),
        *interfaces,
        *node.routing,
    ]
    while lines[-1] == "!":
        lines.pop()
    secret = any(" password " in line for line in node.routing)
    return Output(f"frr{suffix}.conf", "/etc/frr/frr.conf", "\n".join(lines) + "\n", secret)


def _announced(node: Node) -> Iterator[str]:
    """The filter for what nhrpd puts into the kernel: tunnel addresses, and nothing else."""
    yield "! nhrpd puts a host route for every registered peer into the kernel, which `redistribute kernel`"
    yield "! stands for. Tunnel addresses and nothing else: a route that nhrpd made for a LAN behind a peer"
    yield "! is this machine's own business. Announced, it would draw others' traffic here."
    named = False
    for tunnel in node.speakers:
        for address in tunnel.device.addresses:
            network = ipaddress.ip_interface(address).network
            if network.version != IPV4:
                continue
            wide = network
            if network.prefixlen == HOST_LENGTH:
                wide = network.supernet(new_prefix=GUESSED_LENGTH)
                yield f"! {wide} is a guess, from {network.network_address}: put the cloud's tunnel addresses."
            yield f"ip prefix-list tunnel-addresses permit {wide} ge 32"
            named = True
    yield "!"
    yield "route-map from-nhrpd permit 10"
    if named:
        yield " match ip address prefix-list tunnel-addresses"
    for tunnel in node.speakers[:1]:
        yield f" match interface {tunnel.netdev}"
    yield "exit"
    yield "!"
