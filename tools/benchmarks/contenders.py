"""The hub under load: a namespace with the tunnel, one for the generator, and the daemons to
compare.

The hub is 192.0.2.1 on a veth whose other end is the generator's, with all of 10.64.0.0/10 behind
it, and 10.255.255.1/32 on `gre1` (mGRE, key 42). Both contenders log warnings or errors only, and
neither redirects. Every run gets fresh namespaces and a fresh daemon.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tools.lab.frr import FrrDaemons
from tools.lab.guest import REPOSITORY
from tools.lab.namespace import CommandFailedError, Namespace, stop, wait_until
from tools.lab.nodes import START_LIMIT_S, cpu_seconds, resident_bytes
from tools.lab.wiring import GRE_KEY, TUNNEL, UNDERLAY

HUB_NBMA = "192.0.2.1"
HUB_PROTOCOL = "10.255.255.1"
HUB_MAC = "02:00:00:00:00:01"
GENERATOR_MAC = "02:00:00:00:00:fe"
ROUTER = "192.0.2.254"
SPOKES_NBMA = "10.64.0.0/10"
HOLDING_TIME_S = 7200
FRR_NETLINK_BUFFER = 90_000_000
"""zebra's value in Debian's /etc/frr/daemons."""


@dataclass(slots=True, eq=False, kw_only=True)
class Contender(ABC):
    """The daemons of one implementation, on the load's hub."""

    directory: Path
    """Configuration and logs."""
    multicast: tuple[str, ...] = ()
    """Outer addresses that get copies of multicast."""
    namespace: Namespace = field(init=False)

    NAME: ClassVar[str]

    @abstractmethod
    def start(self) -> None:
        """Starts the daemons in `namespace`."""

    @abstractmethod
    def stop(self) -> None:
        """Ends the daemons, the last one first."""

    @abstractmethod
    def check(self) -> None:
        """Raises when a daemon has ended by itself."""

    @property
    @abstractmethod
    def processes(self) -> Mapping[str, subprocess.Popen[Any]]:
        """Returns the daemons that run, by name."""

    def resident(self) -> dict[str, int]:
        """Returns each daemon's resident memory in octets."""
        return {name: resident_bytes(process.pid) for name, process in self.processes.items()}

    def cpu_seconds(self) -> float:
        """Returns the CPU time of all daemons together, to the kernel's tick of 10 ms."""
        return sum(cpu_seconds(process.pid) for process in self.processes.values())


@dataclass(slots=True, eq=False, kw_only=True)
class Frr(Contender):
    """The contender with FRR's zebra and nhrpd."""

    _daemons: FrrDaemons = field(init=False)

    NAME: ClassVar[str] = "frr"

    def start(self) -> None:
        """See `Contender.start`."""
        self._daemons = FrrDaemons(
            namespace=self.namespace,
            name=self.namespace.name,
            directory=self.directory,
            log_level="errors",
            options={"zebra": ("-s", str(FRR_NETLINK_BUFFER))},
        )
        configurations = {
            "zebra": "hostname hub\n",
            "nhrpd": f"hostname hub\ninterface {TUNNEL}\n tunnel source {UNDERLAY}\n"
            f" ip nhrp network-id 1\n ip nhrp holdtime {HOLDING_TIME_S}\n"
            " ip nhrp registration no-unique\n"
            + "".join(f" ip nhrp map multicast {each}\n" for each in self.multicast),
        }
        if self.multicast:
            configurations["nhrpd"] = f"nhrp multicast-nflog-group 2\n{configurations['nhrpd']}"
        self._daemons.make_directories()
        for daemon, text in configurations.items():
            (self.directory / f"{daemon}.conf").write_text(text)
        self._daemons.own(self.directory)
        for daemon in configurations:
            self._daemons.start(daemon, self.directory / f"{daemon}.conf")

    def stop(self) -> None:
        """See `Contender.stop`. Clears what the daemons left in /run for the next ones."""
        self._daemons.end_all()
        self.namespace.run("rm", "-rf", self._daemons.run_directory)

    def check(self) -> None:
        """See `Contender.check`."""
        self._daemons.check()

    @property
    def processes(self) -> Mapping[str, subprocess.Popen[Any]]:
        """See `Contender.processes`."""
        return self._daemons.processes


@dataclass(slots=True, eq=False, kw_only=True)
class Ours(Contender):
    """The contender with our daemon."""

    profile: Path | None = None
    """Where to put profiles; see profiled.py."""
    _process: subprocess.Popen[Any] | None = None

    NAME: ClassVar[str] = "nhrpd_py"

    def start(self) -> None:
        """See `Contender.start`."""
        config = self.directory / "nhrpd.toml"
        control = self.directory / "nhrpd.sock"
        config.write_text(
            f'[daemon]\ncontrol-socket = "{control}"\nstate-directory = "{self.directory}"\n'
            f'log-level = "warning"\n[interface.{TUNNEL}]\nnetwork-id = 1\nunique = false\n'
            f'holding-time = {HOLDING_TIME_S}\ntunnel-source = "{UNDERLAY}"\n'
            + (
                f"multicast = {list(self.multicast)}\nmulticast-rate = 1000000\n"
                * bool(self.multicast)
            )
        )
        module = ["nhrpd_py.cli.daemon"]
        if self.profile is not None:
            module = ["tools.benchmarks.profiled", str(self.profile)]
        self._process = self.namespace.popen(
            *(sys.executable, "-m", *module, "-c", str(config)),
            log=self.directory / "nhrpd.log",
            env={"PYTHONPATH": str(REPOSITORY)},
        )
        wait_until(lambda: self._answers(control), START_LIMIT_S, "nhrpd answers")

    def stop(self) -> None:
        """See `Contender.stop`."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def check(self) -> None:
        """See `Contender.check`."""
        if self._process is not None and self._process.poll() is not None:
            said = (self.directory / "nhrpd.log").read_text(errors="replace")[-2000:]
            raise CommandFailedError(f"nhrpd ended ({self._process.returncode})\n{said}")

    @property
    def processes(self) -> Mapping[str, subprocess.Popen[Any]]:
        """See `Contender.processes`."""
        return {} if self._process is None else {"nhrpd": self._process}

    def _answers(self, control: Path) -> bool:
        self.check()
        return control.is_socket()


@contextlib.contextmanager
def network() -> Iterator[tuple[Namespace, Namespace]]:
    """Builds the hub's and the generator's machines and yields their namespaces."""
    with Namespace("hub") as hub, Namespace("load") as load:
        hub.sysctl(
            net__ipv4__ip_forward=1,
            net__ipv4__conf__all__rp_filter=0,
            net__ipv4__conf__default__rp_filter=0,
        )
        hub.ip(
            f"link add {UNDERLAY} address {HUB_MAC} type veth"
            f" peer name {UNDERLAY} address {GENERATOR_MAC} netns {load.pid}",
            # An IPv6 address that becomes valid a second later would be a change of the underlay:
            # FRR drops all bindings then.
            f"link set {UNDERLAY} addrgenmode none",
            f"address add {HUB_NBMA}/24 dev {UNDERLAY}",
            f"link set {UNDERLAY} up",
            f"neighbor add {ROUTER} lladdr {GENERATOR_MAC} dev {UNDERLAY} nud permanent",
        )
        load.ip(f"link set {UNDERLAY} addrgenmode none", f"link set {UNDERLAY} up")
        hub.ip(
            f"route add {SPOKES_NBMA} via {ROUTER}",
            f"tunnel add {TUNNEL} mode gre key {GRE_KEY} ttl 64 dev {UNDERLAY}",
            f"link set {TUNNEL} addrgenmode none",
            f"address add {HUB_PROTOCOL}/32 dev {TUNNEL}",
            f"link set {TUNNEL} up",
        )
        yield hub, load


@contextlib.contextmanager
def started(contender: Contender) -> Iterator[Namespace]:
    """Starts the daemons on a new hub, and yields the generator's namespace."""
    with network() as (hub, load):
        contender.namespace = hub
        contender.directory.mkdir(parents=True, exist_ok=True)
        try:
            contender.start()
            yield load
        finally:
            contender.stop()
