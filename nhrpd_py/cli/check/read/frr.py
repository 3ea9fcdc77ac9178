"""Reads what FRR or BIRD has of our routes, where one of them runs in our network namespace."""

import json
import re
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nhrpd_py.cli.check.facts import RoutingFacts
from nhrpd_py.cli.check.findings import Unread
from nhrpd_py.cli.check.read.machine import AS_ROOT
from nhrpd_py.cli.check.read.programs import is_there, output_of

RUN = Path("/run/frr")
CONNECT_S = 1.0
UCRED = struct.Struct("iII")
BIRD_ROUTE = re.compile(r"^(\d+\.\d+\.\d+\.\d+/\d+)\s")


def read_routing() -> RoutingFacts:
    """Asks the routing daemons that there are."""
    frr = _frr()
    bird = _bird() if is_there("birdc") else None
    if isinstance(frr, Unread):
        return RoutingFacts(frr_kernel=frr, bird_kernel=bird)
    if frr is None:
        return RoutingFacts(bird_kernel=bird)
    kernel = _vtysh(frr, "show ip route kernel json")
    bgp = _vtysh(frr, "show bgp ipv4 unicast json")
    return RoutingFacts(
        frr_kernel=frozenset(kernel) if isinstance(kernel, Mapping) else None,
        frr_bgp=frozenset(bgp["routes"]) if isinstance(bgp, Mapping) and "routes" in bgp else None,
        asn=bgp.get("localAS", 0) if isinstance(bgp, Mapping) else 0,
        vtysh=" ".join(("vtysh", *frr)),
        bird_kernel=bird,
    )


def _frr() -> tuple[str, ...] | Unread | None:
    """Returns the options with which vtysh talks to the zebra of our network namespace.

    None: there is no such zebra.
    """
    if not is_there("vtysh"):
        return None
    try:
        found = [RUN / "zebra.vty", *sorted(RUN.glob("*/zebra.vty"))]
        there = [path for path in found if path.exists()]
    except PermissionError:
        return Unread(f"FRR: {RUN} is for root and the group frrvty", AS_ROOT)
    for path in there:
        pid = _owner(path)
        if isinstance(pid, Unread):
            return pid
        if pid is not None and _is_ours(pid):
            return () if path.parent == RUN else ("-N", path.parent.name)
    return None


def _owner(path: Path) -> int | Unread | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(str(path))
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        except PermissionError:
            return Unread("FRR: vtysh is for root and the group frrvty", AS_ROOT)
        except OSError:  # it died and left its socket
            return None
    return int(UCRED.unpack(credentials)[0])


def _is_ours(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
    except OSError:  # another PID namespace: it is taken for the only one
        return True


def _vtysh(options: tuple[str, ...], command: str) -> Any:
    said = output_of("vtysh", *options, "-c", command)
    if isinstance(said, Unread):
        return said
    try:
        return json.loads(said or "{}")
    except ValueError:  # "bgpd is not running"
        return None


def _bird() -> frozenset[str] | None:
    said = output_of("birdc", "-r", "show", "route")
    if isinstance(said, Unread):
        return None
    found = [BIRD_ROUTE.match(line) for line in said.splitlines()]
    return frozenset(match[1] for match in found if match is not None)
