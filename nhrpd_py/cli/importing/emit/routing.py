"""Writes the lines for FRR's zebra and bgpd, which stay beside nhrpd."""

import ipaddress
from collections.abc import Iterator

from nhrpd_py.cli.importing.emit.output import Output
from nhrpd_py.cli.importing.node import Node

FAMILIES = {"ipv4": ("ip", "", 32, 24), "ipv6": ("ipv6", "-ipv6", 128, 64)}
"""Family → FRR's word for it, what its names end in, the length of an address, that of a network."""
ALL = {"ipv4": "0.0.0.0/0", "ipv6": "::/0"}


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
        *(_announced(node) if node.announced else ()),
        *interfaces,
        *node.routing,
    ]
    while lines[-1] == "!":
        lines.pop()
    secret = any(" password " in line for line in node.routing)
    return Output(f"frr{suffix}.conf", "/etc/frr/frr.conf", "\n".join(lines) + "\n", secret)


def _announced(node: Node) -> Iterator[str]:
    """The filters for what nhrpd puts into the kernel: tunnel addresses, and nothing else."""
    yield "! nhrpd puts a host route for every registered peer into the kernel, which `redistribute kernel`"
    yield "! stands for. Tunnel addresses and nothing else: a route that nhrpd made for a LAN behind a peer"
    yield "! is this machine's own business. Announced, it would draw others' traffic here."
    for family in sorted(node.announced):
        yield from _filter(node, family)


def _filter(node: Node, family: str) -> Iterator[str]:
    word, suffix, host, guessed = FAMILIES[family]
    networks = [
        network
        for tunnel in node.speakers
        for address in tunnel.device.addresses
        if (network := ipaddress.ip_interface(address).network).max_prefixlen == host
    ]
    for network in networks:
        wide = network
        if network.prefixlen == host:
            wide = network.supernet(new_prefix=guessed)
            yield f"! {wide} is a guess, from {network.network_address}: put the cloud's tunnel addresses."
        yield f"{word} prefix-list tunnel-addresses{suffix} permit {wide} ge {host}"
    if not networks:
        yield "! No tunnel address is known here: put the cloud's in place of all."
        yield f"{word} prefix-list tunnel-addresses{suffix} permit {ALL[family]} ge {host}"
    yield "!"
    for number, tunnel in enumerate(node.speakers, 1):
        yield f"route-map from-nhrpd{suffix} permit {10 * number}"
        yield f" match {word} address prefix-list tunnel-addresses{suffix}"
        yield f" match interface {tunnel.netdev}"
        yield "exit"
    yield "!"
