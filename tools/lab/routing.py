"""zebra and bgpd of a node, with the sample frr.conf."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.lab import frr
from tools.lab.frr import FrrDaemons
from tools.lab.guest import REPOSITORY
from tools.lab.namespace import Namespace

SAMPLES = REPOSITORY / "etc"


@dataclass(slots=True, eq=False, kw_only=True)
class Routing:
    """FRR's zebra and bgpd of one node."""

    namespace: Namespace
    name: str
    directory: Path
    """The node's directory: logs."""
    configuration: str = ""
    """frr.conf, read at every start."""
    _daemons: FrrDaemons = field(init=False)

    def __post_init__(self) -> None:
        self._daemons = FrrDaemons(
            namespace=self.namespace, name=self.name, directory=self.directory
        )

    @property
    def log_path(self) -> Path:
        """Returns bgpd's log."""
        return self.directory / "bgpd.log"

    def start(self) -> None:
        """Starts the daemons and gives them the configuration as frr.service does."""
        daemons, etc = self._daemons, self._daemons.etc
        daemons.make_directories()
        for file_name in ("zebra.conf", "bgpd.conf"):
            daemons.write(file_name, "")
        daemons.write("frr.conf", self.configuration)
        daemons.own()
        for daemon in ("zebra", "bgpd"):
            daemons.start(daemon, etc / f"{daemon}.conf")
        # Prints the lines that it does not know, and then exits with status 2.
        daemons.vtysh("-f", str(etc / "frr.conf"))

    def stop(self) -> None:
        """Ends the daemons with SIGTERM: zebra removes BGP's routes from the kernel."""
        self._daemons.end_all()

    def kill(self) -> None:
        """Ends the daemons with SIGKILL, if they run: routes stay in the kernel."""
        self._daemons.end_all(signal.SIGKILL)

    @property
    def running(self) -> bool:
        """Whether the daemons were started, and neither stopped nor killed."""
        return bool(self._daemons.processes)

    def vtysh(self, *commands: str) -> str:
        """Runs commands in vtysh and returns their output."""
        return self._daemons.vtysh(*frr.commands(*commands))

    def show(self, command: str) -> Any:
        """Returns the parsed output of `show COMMAND json`."""
        return json.loads(self.vtysh(f"show {command} json") or "{}")

    def established(self, neighbor: str) -> bool:
        """Whether the session with a neighbour is up."""
        answer = self.show(f"ip bgp neighbors {neighbor}")
        return bool(answer.get(neighbor, {}).get("bgpState") == "Established")

    def prefixes(self) -> dict[str, str]:
        """Returns BGP's best paths: prefix to next hop; `0.0.0.0` is the node itself."""
        routes = self.show("ip bgp").get("routes", {})
        return {
            prefix: path["nexthops"][0]["ip"]
            for prefix, paths in routes.items()
            for path in paths
            if path.get("bestpath")
        }


def hub_configuration(tunnel: str, spokes: list[str]) -> str:
    """Returns etc/frr-hub.conf for these tunnel addresses."""
    text = (SAMPLES / "frr-hub.conf").read_text()
    neighbors = "".join(f" neighbor {spoke} peer-group spokes-ibgp\n" for spoke in spokes)
    text = re.sub(r"( neighbor [0-9.]+ peer-group spokes-ibgp\n)+", neighbors, text)
    return text.replace("router-id 10.255.255.1", f"router-id {tunnel}")


def spoke_configuration(tunnel: str, lan: str, hubs: list[str]) -> str:
    """Returns etc/frr-spoke.conf for these tunnel addresses and this LAN."""
    text = (SAMPLES / "frr-spoke.conf").read_text()
    neighbors = "".join(f" neighbor {hub} peer-group hubs-ibgp\n" for hub in hubs)
    text = re.sub(r"( neighbor [0-9.]+ peer-group hubs-ibgp\n)+", neighbors, text)
    text = text.replace("router-id 10.255.255.2", f"router-id {tunnel}")
    return text.replace("network 172.16.2.0/24", f"network {lan}")
