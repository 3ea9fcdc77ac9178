"""A DMVPN of network namespaces: an Internet, hub and spokes around it, a LAN behind each.

Number N gives a node its addresses: underlay 192.0.2.N (a bridge in the namespace `internet`),
tunnel 10.255.255.N on `gre1` (mGRE, key 42), LAN 172.16.N.0/24 on `lan0` with the host 172.16.N.10
in the namespace `lanN`. With `ipv6`, also fd00:ff::N and fd00:N::/64. Routes between the sites are
static, as a routing protocol would leave them: phase 3 has /32 tunnel addresses and everything via
the hub, phase 2 a common /24 and each LAN via its own spoke.

`Node` is the machine; its NHRP daemons are in tools/lab/nodes.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from tools.lab.capture import Capture
from tools.lab.guest import REPOSITORY
from tools.lab.kernel import Neighbor, Route, iptables_restore, read_neighbors, read_routes
from tools.lab.machine import Machine, Role
from tools.lab.namespace import Namespace
from tools.lab.ping import PingResult
from tools.lab.resolver import RESOLVER_ADDRESS, Resolver
from tools.lab.wiring import GRE_KEY, TUNNEL, UNDERLAY, Wiring, sample_forwarded

ARTIFACTS_VARIABLE = "NHRPD_LAB_ARTIFACTS"
LOG_TAIL_LINES = 80


@dataclass(frozen=True, slots=True)
class Binding:
    """A row of a daemon's cache, with the terms that FRR and nhrpd share."""

    kind: str
    """local, static, nhs, dynamic, cached, incomplete, negative."""
    protocol: str
    nbma: str | None
    claimed_nbma: str | None


@dataclass(slots=True, eq=False, kw_only=True)
class Node(Machine, ABC):
    """A hub or spoke: a machine, its tunnel and its kernel; daemons are started by subclasses."""

    holding_time_s: int = 60
    lab: Lab = field(init=False)
    directory: Path = field(init=False)
    """Configuration, logs, sockets, captures."""

    HOST_ADDRESS_ONLY: ClassVar[bool] = False
    """Whether the daemon insists on a /32 on the tunnel, also in phase 2."""

    # The daemon. Both implementations return the same terms.

    @abstractmethod
    def start(self) -> None:
        """Starts the daemon and returns when it answers."""

    @abstractmethod
    def stop(self) -> int:
        """Ends the daemon with SIGTERM and returns its exit status."""

    @abstractmethod
    def kill(self) -> None:
        """Ends the daemon with SIGKILL: it withdraws nothing."""

    @abstractmethod
    def cache(self, *, ipv6: bool = False) -> list[Binding]:
        """Returns the daemon's cache."""

    @abstractmethod
    def shortcuts(self, *, ipv6: bool = False) -> dict[str, str | None]:
        """Returns the daemon's shortcuts: prefix to tunnel address, None while unresolved."""

    @abstractmethod
    def forget_shortcuts(self) -> None:
        """Has the daemon forget its shortcuts; our hub also the redirects that it sent just now."""

    def binding(self, protocol: str, kind: str | None = None) -> Binding | None:
        """Returns the cache row of a tunnel address, of one kind if given."""
        for row in self.cache(ipv6=":" in protocol):
            if row.protocol == protocol and kind in (None, row.kind):
                return row
        return None

    # The kernel's tables.

    def neighbors(self) -> dict[str, Neighbor]:
        """Returns the tunnel's neighbour entries by tunnel address."""
        return read_neighbors(self.namespace, TUNNEL)

    def routes(self, *, ipv6: bool = False) -> dict[str, Route]:
        """Returns the main table by prefix; of several, the one with the lowest metric."""
        return read_routes(self.namespace, ipv6=ipv6)

    def capture(self, device: str = UNDERLAY, expression: str = "ip proto 47") -> Capture:
        """Returns a capture to be entered with `with`."""
        count = len(list(self.directory.glob("*.pcap")))
        path = self.directory / f"{device}-{count}.pcap"
        return Capture(self.namespace, device, path, expression)

    # Changes of a node.

    def ping_lan(self, other: Node, *, ipv6: bool = False, **options: Any) -> PingResult:
        """Pings from the host behind this node to the host behind another."""
        return self.lan.ping(other.lan_host6 if ipv6 else other.lan_host, **options)

    def make_tunnel(self) -> None:
        """Creates `gre1` with its addresses and static routes; also after `delete_tunnel`."""
        length = 24 if self.lab.phase == 2 and not self.HOST_ADDRESS_ONLY else 32
        commands = [
            f"tunnel add {TUNNEL} mode gre key {GRE_KEY} ttl 64 dev {UNDERLAY}",
            # FRR would take a link-local address for the tunnel's IPv6 protocol address.
            f"link set {TUNNEL} addrgenmode none",
            f"address add {self.tunnel}/{length} dev {TUNNEL}",
        ]
        if self.lab.ipv6:
            commands.append(f"address add {self.tunnel6}/128 dev {TUNNEL} nodad")
        self.namespace.ip(*commands, *self._up_commands())

    def delete_tunnel(self) -> None:
        """Deletes `gre1`, and with it addresses and routes."""
        self.namespace.ip(f"link delete {TUNNEL}")

    def tunnel_down(self) -> None:
        """Sets `gre1` down; the kernel drops its routes."""
        self.namespace.ip(f"link set {TUNNEL} down")

    def tunnel_up(self) -> None:
        """Sets `gre1` up and puts back the static routes that go through it."""
        self.namespace.ip(*self._up_commands())

    def _up_commands(self) -> list[str]:
        return [f"link set {TUNNEL} up", *self.lab.static_routes(self)]

    def set_underlay(self, address: str) -> None:
        """Replaces the address of `eth0` (any free one of 192.0.2.0/24), as DHCP might."""
        old = self.namespace.addresses(UNDERLAY)
        self.namespace.ip(
            f"address add {address}/24 dev {UNDERLAY}",
            *(f"address delete {other}/24 dev {UNDERLAY}" for other in old if other != address),
        )

    def log_files(self) -> list[Path]:
        """Returns the daemons' logs."""
        return sorted(self.directory.glob("*.log"))


AnyNode = TypeVar("AnyNode", bound=Node)


@dataclass(slots=True, eq=False, kw_only=True)
class Lab:
    """The Internet and the nodes connected to it; a context manager that leaves nothing behind.

    When it is left by an exception it prints the end of every daemon's log, and copies everything
    below the directory named by NHRPD_LAB_ARTIFACTS.
    """

    phase: int = 3
    ipv6: bool = False
    delay_ms: float = 0.0
    """One-way delay towards every node."""
    private_run: bool = False
    """Gives every node its own /run (two charons, for example)."""
    static: bool = True
    """Whether routes between the sites are static; else a routing protocol makes them."""
    sample_rate: str = "4/minute"
    """How often the hub samples one pair of sources and destinations for redirection."""
    firewall_sample: bool = False
    """The hub's rule is the one of etc/iptables-hub.rules: four a minute for each pair of /16."""
    nodes: list[Node] = field(default_factory=list)
    directory: Path = field(init=False)
    internet: Namespace = field(init=False)
    _wiring: Wiring = field(init=False)
    _resolver: Resolver | None = None
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    LIVE: ClassVar[list[Lab]] = []
    """Labs that are entered now, for reports of failures."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.directory = Path(tempfile.mkdtemp(prefix="nhrpd-lab-"))
            self.directory.chmod(0o755)
            stack.callback(shutil.rmtree, self.directory)
            self.internet = stack.enter_context(Namespace("internet"))
            self.internet.ip("link add br0 type bridge", "link set br0 up")
            self._stack = stack.pop_all()
        self._wiring = Wiring(self.internet, self._stack)
        Lab.LIVE.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        Lab.LIVE.remove(self)
        try:
            if kind is not None:
                print(self.report())
            for node in reversed(self.nodes):
                node.kill()
        finally:
            self._stack.close()
            self.nodes.clear()

    @property
    def resolver(self) -> Resolver:
        """Returns the DNS server; it runs from the first use on."""
        if self._resolver is None:
            self.internet.ip(f"address add {RESOLVER_ADDRESS}/24 dev br0")
            self._resolver = Resolver(self.internet, self.directory)
            self._resolver.start()
        return self._resolver

    @property
    def hubs(self) -> list[Node]:
        """Returns the hubs in the order of their addition."""
        return [node for node in self.nodes if node.role is Role.HUB]

    @property
    def spokes(self) -> list[Node]:
        """Returns the spokes in the order of their addition."""
        return [node for node in self.nodes if node.role is Role.SPOKE]

    def add(self, node: AnyNode) -> AnyNode:
        """Builds a node's machine and connects it; its daemon is started by `node.start()`."""
        node.lab = self
        node.directory = self.directory / node.name
        node.directory.mkdir()
        node.namespace = self._stack.enter_context(
            Namespace(node.name, self.private_run, directory=node.directory)
        )
        node.lan = self._stack.enter_context(
            Namespace(f"lan{node.number}", directory=node.directory)
        )
        node.namespace.sysctl(
            net__ipv4__ip_forward=1,
            net__ipv4__conf__all__rp_filter=0,
            net__ipv4__conf__default__rp_filter=0,
            net__ipv4__conf__all__promote_secondaries=1,
            net__ipv6__conf__all__forwarding=1,
        )
        self._wiring.connect(node)
        self.nodes.append(node)
        node.make_tunnel()
        for other in self.nodes:
            if other is not node:
                other.namespace.ip(*self.static_routes(other, towards=node))
        if node.role is Role.HUB and self.phase == 3:
            if self.firewall_sample:
                iptables_restore(node.namespace, REPOSITORY / "etc" / "iptables-hub.rules")
            else:
                sample_forwarded(node, self.sample_rate, ipv6=self.ipv6)
        if self.delay_ms:
            self.weather(node, delay_ms=self.delay_ms)
        return node

    def start(self) -> None:
        """Starts the daemons of all nodes."""
        for node in self.nodes:
            node.start()

    def weather(self, node: Node, *, delay_ms: float = 0.0, loss_percent: float = 0.0) -> None:
        """Sets delay and loss of what the Internet delivers to `node`."""
        self.internet.run(
            *f"tc qdisc replace dev {node.name} root netem".split(),
            *f"delay {delay_ms:g}ms loss {loss_percent:g}%".split(),
        )

    def static_routes(self, node: Node, *, towards: Node | None = None) -> list[str]:
        """Returns the ip(8) commands for a node's static routes, to all others or to one."""
        commands: list[str] = []
        if not self.static:
            return commands
        if self.phase == 2 and node.HOST_ADDRESS_ONLY:
            commands.append(f"route replace 10.255.255.0/24 dev {TUNNEL}")
        for other in [towards] if towards is not None else self.nodes:
            if other is node:
                continue
            via = f"via {other.tunnel} dev {TUNNEL}"
            via6 = f"via {other.tunnel6} dev {TUNNEL} onlink"
            if self.phase == 2:
                commands.append(f"route replace {other.lan_prefix} {via}")
            elif node.role is Role.HUB:
                commands.append(f"route replace {other.lan_prefix} {via} onlink")
                if self.ipv6:
                    commands.append(f"route replace {other.lan_prefix6} {via6}")
            elif other.role is Role.HUB:
                metric = f"metric {100 + other.number}"
                commands.append(f"route replace 10.255.255.0/24 {via} onlink {metric}")
                commands.append(f"route replace 172.16.0.0/16 {via} onlink {metric}")
                if self.ipv6:
                    commands.append(f"route replace fd00::/16 {via6} {metric}")
        return commands

    def report(self) -> str:
        """Returns the end of every daemon's log; copies everything to NHRPD_LAB_ARTIFACTS if
        set."""
        lines: list[str] = []
        for node in self.nodes:
            for log in node.log_files():
                lines.append(f"--- {node.name} {log.name}")
                lines += log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        keep = os.environ.get(ARTIFACTS_VARIABLE)
        if keep:
            # Sockets cannot be copied, and are of no use afterwards.
            shutil.copytree(
                self.directory,
                Path(keep) / self.directory.name,
                ignore=lambda at, names: [name for name in names if (Path(at) / name).is_socket()],
                dirs_exist_ok=True,
            )
        return "\n".join(lines)
