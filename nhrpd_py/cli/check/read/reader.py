"""Gathers the facts: finds the configuration, asks the daemon, then reads everything else."""

import concurrent.futures
import ipaddress
import itertools
import pwd
import re
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from nhrpd_py import __version__
from nhrpd_py.cli.check.facts import DaemonFacts, Facts, Process, Row
from nhrpd_py.cli.check.findings import Unread
from nhrpd_py.cli.check.read import frr, machine, strongswan
from nhrpd_py.cli.client import Client, NoDaemonError, RefusedError, WrongUsageError
from nhrpd_py.config.load import load
from nhrpd_py.core.config import Config
from nhrpd_py.core.rows import (
    CacheRow,
    ConfigRow,
    InterfaceRow,
    NhsRow,
    PeerRow,
    ProblemRow,
    RouteRow,
)
from nhrpd_py.paths import CONFIG_FILE, CONTROL_SOCKET

ROWS = {
    "cache": CacheRow,
    "nhs": NhsRow,
    "interfaces": InterfaceRow,
    "peers": PeerRow,
    "problems": ProblemRow,
    "routes": RouteRow,
    "config": ConfigRow,
}
VIEWS = {name: {each.name for each in fields(row)} for name, row in ROWS.items()}
"""The views that the checks look at, with the keys that each row must have."""
OF_INSTANCE = re.compile(r"/(?:var/)?run/nhrpd/([^/]+)/nhrpd\.sock")
CONNECT_S = 3.0
RESOLVE_S = 5.0
SOME_PEERS = 8
"""Of a hub's many peers, so many are looked at."""
UCRED = struct.Struct("iII")


def read_facts(socket_path: str | None, file: str | None) -> Facts:
    """Reads the machine. Raises ConfigError.

    What is not given is found: the file by the running daemon, its socket by the file.
    """
    config = load(file) if file is not None else None
    known = config.daemon.control_socket if config is not None else CONTROL_SOCKET
    asked = socket_path or known
    daemon = _daemon(asked)
    process = daemon.process if isinstance(daemon, DaemonFacts) else None
    path = file or _file_of(process) or CONFIG_FILE
    if config is None:
        config = load(path)
        own = config.daemon.control_socket
        if socket_path is None and own != asked and isinstance(daemon, Unread):
            asked, daemon = own, _daemon(own)
            process = daemon.process if isinstance(daemon, DaemonFacts) else None
    facts = Facts(
        config=config,
        file=path,
        now=time.time(),
        version=__version__,
        kernel=machine.read_kernel(config.interfaces),
        firewall=machine.read_firewall(),
        ipsec=machine.read_ipsec(),
        charon=strongswan.read_charon(config, process),
        daemon=daemon,
        socket=asked,
        unit=unit_of(asked),
        routing=frr.read_routing(),
        names=_resolve(config),
        clock_synchronised=machine.clock_synchronised(),
    )
    ways = machine.read_ways(facts.kernel.links, _remotes(facts))
    return replace(facts, kernel=replace(facts.kernel, ways=ways))


def _remotes(facts: Facts) -> list[str]:
    """Returns the outer addresses of all servers, and of some peers."""
    servers = [
        address
        for interface in facts.config.interfaces.values()
        for server in interface.nhs
        if not isinstance(found := facts.names.get(server.nbma, [server.nbma]), Unread)
        for address in found
    ]
    return servers + [str(row["nbma"]) for row in facts.view("peers")[:SOME_PEERS]]


# --- the daemon -----------------------------------------------------------------------------------


def unit_of(path: str) -> str:
    """Returns the systemd unit whose daemon has a socket; nhrpd@NAME.service has a directory NAME."""
    found = OF_INSTANCE.fullmatch(path)
    return f"nhrpd@{found[1]}" if found is not None else "nhrpd"


def _daemon(path: str) -> DaemonFacts | Unread:
    client = Client(path)
    try:
        status = client.get("/v1/status")
        views: dict[str, Sequence[Row]] = {
            name: client.get(f"/v1/{name}").get(name, ()) for name in VIEWS
        }
    except NoDaemonError as error:
        if "no permission" in str(error):
            return Unread(str(error))
        unit = unit_of(path)
        return Unread(str(error), f"systemctl start {unit}   # else: journalctl -u {unit} -n 50")
    except (RefusedError, WrongUsageError) as error:
        return Unread(f"it refuses to tell: {error}", f"systemctl restart {unit_of(path)}")
    lacking = {
        f"{view}.{key}"
        for view, keys in VIEWS.items()
        for row in views[view]
        for key in keys - row.keys()
    }
    if lacking:
        return Unread(
            f"the running daemon is {status.get('version')}, and does not tell nhrpctl {__version__} "
            f"what it asks for ({min(lacking)})",
            f"systemctl restart {unit_of(path)}",
        )
    return DaemonFacts(
        status=status, process=_process(path), views=views, socket_mode=Path(path).stat().st_mode
    )


def _process(path: str) -> Process | None:
    """Returns who listens on the socket; None where that cannot be seen (another PID namespace)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(path)
        except OSError:
            return None
        pid, uid, _gid = UCRED.unpack(
            probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        )
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    if not pid:
        return None
    capabilities = None
    for line in (machine.text_of(Path(f"/proc/{pid}/status")) or "").splitlines():
        if line.startswith("CapEff:"):
            capabilities = int(line.split()[1], 16)
    return Process(pid=pid, user=user, capabilities=capabilities, elsewhere=_elsewhere(pid))


def _elsewhere(pid: int) -> bool:
    """Tells whether a process is in another network namespace; False where that cannot be seen."""
    try:
        ours, its = (Path(f"/proc/{each}/ns/net").stat() for each in ("self", pid))
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) != (its.st_dev, its.st_ino)


def _file_of(process: Process | None) -> str | None:
    """Returns the configuration file that a daemon was started with; None: it does not tell."""
    if process is None:
        return None
    words = (machine.text_of(Path(f"/proc/{process.pid}/cmdline")) or "").split("\0")
    for here, following in itertools.pairwise(words):
        if here in ("-c", "--config"):
            return _absolute(process.pid, following)
        if here.startswith("--config="):
            return _absolute(process.pid, here.partition("=")[2])
    return None


def _absolute(pid: int, path: str) -> str:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink() / path)
    except OSError:
        return path


# --- names ----------------------------------------------------------------------------------------


def _resolve(config: Config) -> dict[str, Sequence[str] | Unread]:
    names = dict.fromkeys(
        server.nbma
        for interface in config.interfaces.values()
        for server in interface.nhs
        if not _is_address(server.nbma)
    )
    if not names:
        return {}
    pool = concurrent.futures.ThreadPoolExecutor(len(names))
    waiting = {name: pool.submit(_addresses, name) for name in names}
    ends_at = time.monotonic() + RESOLVE_S
    found: dict[str, Sequence[str] | Unread] = {}
    for name, future in waiting.items():
        try:
            found[name] = future.result(max(0.0, ends_at - time.monotonic()))
        except concurrent.futures.TimeoutError:
            found[name] = Unread(f"no name server answers within {RESOLVE_S:g} s")
        except OSError as error:
            found[name] = Unread(f"it does not resolve: {error.strerror or error}")
    pool.shutdown(wait=False, cancel_futures=True)
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _addresses(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_RAW)
    return sorted({str(entry[4][0]) for entry in found})
