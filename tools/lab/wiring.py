"""The cables of the lab: a node's way to the Internet, its router where there is one, and its LAN."""

from __future__ import annotations

import contextlib

from tools.lab.kernel import iptables
from tools.lab.machine import Machine, Nat
from tools.lab.namespace import Namespace

TUNNEL = "gre1"
UNDERLAY = "eth0"
LAN = "lan0"
GRE_KEY = 42
REDIRECT_GROUP = 1


class Wiring:
    """Connects machines to the namespace that is the Internet; `stack` ends what is made for them."""

    def __init__(self, internet: Namespace, stack: contextlib.ExitStack) -> None:
        self._internet = internet
        self._stack = stack
        self._routers: dict[int, Namespace] = {}

    def connect(self, machine: Machine) -> None:
        """Gives a machine its links."""
        self._connect_underlay(machine)
        self._connect_lan(machine)

    def _connect_underlay(self, machine: Machine) -> None:
        if machine.nat_of is not None:
            self._connect_inside(machine, self._routers[machine.nat_of])
            return
        router = machine.namespace
        if machine.nat is not Nat.NONE:
            router = self._stack.enter_context(Namespace(f"nat{machine.number}"))
            router.sysctl(net__ipv4__ip_forward=1)
            self._routers[machine.number] = router
        self._internet.ip(
            f"link add {machine.name} type veth peer name {UNDERLAY} netns {router.pid}",
            f"link set {machine.name} master br0 up",
        )
        router.ip(f"address add {machine.nbma}/24 dev {UNDERLAY}", f"link set {UNDERLAY} up")
        if machine.nat is Nat.NONE:
            return
        self._connect_inside(machine, router)
        rule = f"POSTROUTING -o {UNDERLAY} -j SNAT --to-source {machine.nbma}"
        iptables(router, f"-t nat -A {rule}")
        if machine.nat is Nat.STATIC:
            for match in ("-p gre", "-p esp", "-p udp --dport 500", "-p udp --dport 4500"):
                rule = (
                    f"PREROUTING -i {UNDERLAY} {match} -j DNAT --to-destination {machine.underlay}"
                )
                iptables(router, f"-t nat -A {rule}")

    def _connect_inside(self, machine: Machine, router: Namespace) -> None:
        device, inside = f"inside{machine.number}", f"10.9.{machine.number}.1"
        router.ip(
            f"link add {device} type veth peer name {UNDERLAY} netns {machine.namespace.pid}",
            f"address add {inside}/24 dev {device}",
            f"link set {device} up",
        )
        machine.namespace.ip(
            f"address add {machine.underlay}/24 dev {UNDERLAY}",
            f"link set {UNDERLAY} up",
            f"route add default via {inside}",
        )

    def _connect_lan(self, machine: Machine) -> None:
        machine.namespace.ip(
            f"link add {LAN} type veth peer name {UNDERLAY} netns {machine.lan.pid}",
            f"address add 172.16.{machine.number}.1/24 dev {LAN}",
            f"address add fd00:{machine.number:x}::1/64 dev {LAN} nodad",
            f"link set {LAN} up",
        )
        machine.lan.ip(
            f"address add {machine.lan_host}/24 dev {UNDERLAY}",
            f"address add {machine.lan_host6}/64 dev {UNDERLAY} nodad",
            f"link set {UNDERLAY} up",
            f"route add default via 172.16.{machine.number}.1",
            f"route add default via fd00:{machine.number:x}::1",
        )


def sample_forwarded(hub: Machine, rate: str, *, ipv6: bool) -> None:
    """Hands the daemon what the hub sends back into the tunnel, as FRR's manual has it."""
    for over_ipv6 in (False, True) if ipv6 else (False,):
        length = 64 if over_ipv6 else 24
        iptables(
            hub.namespace,
            f"-A FORWARD -i {TUNNEL} -o {TUNNEL} -m hashlimit"
            f" --hashlimit-upto {rate} --hashlimit-burst 1"
            f" --hashlimit-mode srcip,dstip --hashlimit-srcmask {length}"
            f" --hashlimit-dstmask {length} --hashlimit-name redirect{int(over_ipv6)}"
            f" -j NFLOG --nflog-group {REDIRECT_GROUP} --nflog-size 128",
            ipv6=over_ipv6,
        )
