"""What lives by multicast on a node: FRR's ospfd, ospf6d and pimd; and the firewall rules that it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tools.lab import frr
from tools.lab.frr import FrrDaemons
from tools.lab.guest import REPOSITORY
from tools.lab.kernel import iptables_restore
from tools.lab.machine import Role
from tools.lab.nodes import FrrNode, NhrpdNode
from tools.lab.topology import Node
from tools.lab.wiring import LAN, TUNNEL

HELLO_S, DEAD_S = 1, 4
MULTICAST_GROUP = 2
RULES = ("iptables-multicast.rules", "ip6tables-multicast.rules")


def replicate(node: Node) -> None:
    """Adds the rules of etc/ that give multicast to the daemon and drop the original."""
    for name in RULES:
        iptables_restore(node.namespace, REPOSITORY / "etc" / name)


def link_local(node: Node) -> str:
    """Returns the link-local address of a node's tunnel, which has none by itself here."""
    return f"fe80::{node.number}"


@dataclass(slots=True, eq=False, kw_only=True)
class Talker(NhrpdNode):
    """A node with our daemon, which replicates multicast: a hub to its clients, a spoke to its
    servers."""

    targets: str | None = None
    """Other targets, as TOML."""

    def configuration(self) -> str:
        """See `NhrpdNode.configuration`."""
        usual = '"dynamic"' if self.role is Role.HUB else '"nhs"'
        head, number, rest = NhrpdNode.configuration(self).partition("network-id = 1\n")
        return f"{head}{number}multicast = [{self.targets or usual}]\n{rest}"


@dataclass(slots=True, eq=False, kw_only=True)
class FrrTalker(FrrNode):
    """A node with FRR's nhrpd; `multicast nhs` is in later versions only."""

    def configuration(self) -> str:
        """See `FrrNode.configuration`."""
        to = "dynamic" if self.role is Role.HUB else self.lab.hubs[0].nbma
        text = FrrNode.configuration(self)
        return f"nhrp multicast-nflog-group {MULTICAST_GROUP}\n{text} ip nhrp map multicast {to}\n"


@dataclass(slots=True, eq=False, kw_only=True)
class RoutingProtocols:
    """FRR's daemons for OSPF and PIM of one node; an FRR node has its zebra already."""

    node: Node
    ospfv3: bool = False
    pim: bool = False
    _daemons: FrrDaemons = field(init=False)

    def start(self) -> None:
        """Starts the daemons; returns when they answer."""
        node = self.node
        if isinstance(node, FrrNode):
            self._daemons = node.daemons
        else:
            directory = node.directory / "frr"
            directory.mkdir()
            self._daemons = FrrDaemons(
                namespace=node.namespace, name=node.name, directory=directory
            )
            self._daemons.make_directories()
        texts = {"zebra": f"hostname {node.name}\n", "ospfd": self._ospfd()}
        if self.ospfv3:
            texts["ospf6d"] = self._ospf6d()
        if self.pim:
            texts["pimd"] = f"hostname {node.name}\ninterface {TUNNEL}\n ip pim\n ip pim hello 1\n"
        for daemon, text in texts.items():
            if daemon not in self._daemons.processes:
                (self._daemons.directory / f"{daemon}.conf").write_text(text)
        self._daemons.own(self._daemons.directory)
        for daemon in texts:
            if daemon not in self._daemons.processes:
                self._daemons.start(daemon, self._daemons.directory / f"{daemon}.conf")

    def stop(self) -> None:
        """Ends the daemons, if they are not the node's own."""
        if not isinstance(self.node, FrrNode):
            self._daemons.end_all()

    def _ospfd(self) -> str:
        node = self.node
        lines = [
            f"hostname {node.name}",
            f"interface {TUNNEL}",
            " ip ospf network point-to-multipoint",
            f" ip ospf hello-interval {HELLO_S}",
            f" ip ospf dead-interval {DEAD_S}",
            " ip ospf area 0",
            f"interface {LAN}",
            " ip ospf area 0",
            " ip ospf passive",
            "router ospf",
            f" ospf router-id {node.tunnel}",
            " timers throttle spf 10 100 500",
        ]
        return "\n".join(lines) + "\n"

    def _ospf6d(self) -> str:
        node = self.node
        priority = 10 if node.role is Role.HUB else 0  # the hub is the only one that all reach
        lines = [
            f"hostname {node.name}",
            f"interface {TUNNEL}",
            " ipv6 ospf6 network broadcast",
            f" ipv6 ospf6 hello-interval {HELLO_S}",
            f" ipv6 ospf6 dead-interval {DEAD_S}",
            f" ipv6 ospf6 priority {priority}",
            " ipv6 ospf6 area 0",
            f"interface {LAN}",
            " ipv6 ospf6 area 0",
            " ipv6 ospf6 passive",
            "router ospf6",
            f" ospf6 router-id {node.tunnel}",
            " timers throttle spf 10 100 500",
        ]
        return "\n".join(lines) + "\n"

    def vtysh(self, *commands: str) -> str:
        """Runs commands in vtysh and returns their output."""
        return self._daemons.vtysh(*frr.commands(*commands), check=False)

    def show(self, command: str) -> Any:
        """Returns the parsed output of `show COMMAND json`."""
        _, brace, rest = self.vtysh(f"show {command} json").partition("{")
        return json.loads(brace + rest or "{}")

    def full(self) -> set[str]:
        """Returns the router ids with which OSPFv2 has a full adjacency."""
        found = self.show("ip ospf neighbor").get("neighbors", {})
        return {
            router
            for router, rows in found.items()
            if any(str(row.get("state", row.get("nbrState"))).startswith("Full") for row in rows)
        }

    def full6(self) -> set[str]:
        """Returns the router ids with which OSPFv3 has a full adjacency."""
        rows = self.show("ipv6 ospf6 neighbor").get("neighbors", [])
        return {row["neighborId"] for row in rows if row["state"] == "Full"}

    def pim_neighbors(self) -> set[str]:
        """Returns the tunnel addresses from which PIM hellos came."""
        return set(self.show("ip pim neighbor").get(TUNNEL, {}))
