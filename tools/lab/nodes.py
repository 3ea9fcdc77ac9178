"""The NHRP daemons of a node: FRR's zebra and nhrpd, or our daemon."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nhrpd_py.cli.client import Client, NoDaemonError
from tools.lab import frr
from tools.lab.frr import FrrDaemons
from tools.lab.guest import REPOSITORY
from tools.lab.machine import Role
from tools.lab.namespace import CommandFailedError, stop, wait_until
from tools.lab.topology import Binding, Lab, Node
from tools.lab.wiring import REDIRECT_GROUP, TUNNEL

START_LIMIT_S = 30.0
KIB = 1024


@dataclass(slots=True, eq=False, kw_only=True)
class FrrNode(Node):
    """A node with FRR's zebra and nhrpd (and bgpd, when it has a configuration)."""

    unique: bool = False
    shortcut: bool = True
    redirect: bool | None = None
    """None: hubs redirect."""
    extra_interface: tuple[str, ...] = ()
    """Further lines of the tunnel's interface block."""
    bgpd: str | None = None
    """bgpd.conf, for nodes that run it."""
    _daemons: FrrDaemons | None = None

    HOST_ADDRESS_ONLY: ClassVar[bool] = True

    def start(self) -> None:
        """See `Node.start`."""
        running = self._daemons = FrrDaemons(
            namespace=self.namespace, name=self.name, directory=self.directory
        )
        running.make_directories()
        daemons = {"zebra": f"hostname {self.name}\n", "nhrpd": self.configuration()}
        if self.bgpd is not None:
            daemons["bgpd"] = self.bgpd
        for daemon, text in daemons.items():
            (self.directory / f"{daemon}.conf").write_text(text)
        running.own(self.directory)
        for daemon in daemons:
            running.start(daemon, self.directory / f"{daemon}.conf")

    @property
    def daemons(self) -> FrrDaemons:
        """Returns the running daemons."""
        if self._daemons is None:
            raise CommandFailedError(f"{self.name}: FRR was not started")
        return self._daemons

    def configuration(self) -> str:
        """Returns nhrpd.conf."""
        families = ("ip", "ipv6") if self.lab.ipv6 else ("ip",)
        redirect = self.role is Role.HUB if self.redirect is None else self.redirect
        lines = [f"hostname {self.name}", f"nhrp nflog-group {REDIRECT_GROUP}"]
        lines += [f"interface {TUNNEL}", " tunnel source eth0"]
        for family in families:
            lines += [f" {family} nhrp network-id 1", f" {family} nhrp holdtime {self._holdtime}"]
            if self.shortcut:
                lines.append(f" {family} nhrp shortcut")
            if redirect:
                lines.append(f" {family} nhrp redirect")
            if not self.unique:
                lines.append(f" {family} nhrp registration no-unique")
            if self.role is Role.SPOKE:
                lines += [f" {family} nhrp nhs dynamic nbma {hub.nbma}" for hub in self.lab.hubs]
        lines += [f" {line}" for line in self.extra_interface]
        return "\n".join(lines) + "\n"

    def stop(self) -> int:
        """See `Node.stop`; the status is nhrpd's."""
        status = self.daemons.end("nhrpd")
        self.daemons.end_all()
        return status

    def kill(self) -> None:
        """See `Node.kill`; zebra goes too."""
        if self._daemons is not None:
            self._daemons.end_all(signal.SIGKILL)

    def kill_nhrpd(self) -> None:
        """Kills nhrpd alone: zebra then withdraws its routes."""
        self.daemons.end("nhrpd", signal.SIGKILL)

    def vtysh(self, *commands: str) -> str:
        """Runs commands in vtysh and returns their output."""
        return self.daemons.vtysh(*frr.commands(*commands), check=False)

    def show(self, command: str) -> Any:
        """Returns the parsed output of `show COMMAND json`."""
        # FRR 8.4 prints the head of the text table before the object.
        _, brace, rest = self.vtysh(f"show {command} json").partition("{")
        return json.loads(brace + rest or "{}")

    def cache(self, *, ipv6: bool = False) -> list[Binding]:
        """See `Node.cache`."""
        return [
            Binding(
                kind=row["type"],
                protocol=row["protocol"],
                nbma=_known(row["nbma"]),
                claimed_nbma=_known(row["claimed_nbma"]),
            )
            for row in self._table("cache", ipv6=ipv6)
        ]

    def shortcuts(self, *, ipv6: bool = False) -> dict[str, str | None]:
        """See `Node.shortcuts`."""
        rows = self._table("shortcut", ipv6=ipv6)
        return {row["prefix"]: _known(row.get("via")) for row in rows}

    def forget_shortcuts(self) -> None:
        """See `Node.forget_shortcuts`."""
        self.vtysh("clear ip nhrp shortcut")

    def resident_bytes(self, daemon: str = "nhrpd") -> int:
        """Returns the resident memory of a daemon."""
        return resident_bytes(self.daemons.processes[daemon].pid)

    @property
    def _holdtime(self) -> int:
        return self.holding_time_s

    def _table(self, view: str, *, ipv6: bool) -> list[dict[str, Any]]:
        answer = self.show(f"{'ipv6' if ipv6 else 'ip'} nhrp {view}")
        rows: list[dict[str, Any]] = answer.get("table", [])
        return rows


@dataclass(slots=True, eq=False, kw_only=True)
class NhrpdNode(Node):
    """A node with our daemon."""

    unique: bool = False
    shortcut: bool = True
    redirect: bool | None = None
    """None: hubs redirect."""
    authentication: str | None = None
    nhs: tuple[tuple[str, str], ...] | None = None
    """(protocol or `dynamic`, NBMA address or name) each; None: every hub, dynamic."""
    extra: str = ""
    """TOML appended to the configuration."""
    log_level: str = "debug"
    search_path: str | None = None
    """Where the daemon finds programs; None: where everybody does."""
    _process: subprocess.Popen[Any] | None = None

    NOT_RUNNING: ClassVar[str] = "the daemon is not running"

    @property
    def socket_path(self) -> Path:
        """Returns the control socket."""
        return self.directory / "nhrpd.sock"

    @property
    def config_path(self) -> Path:
        """Returns the configuration file."""
        return self.directory / "nhrpd.toml"

    @property
    def log_path(self) -> Path:
        """Returns the daemon's log."""
        return self.directory / "nhrpd.log"

    def configuration(self) -> str:
        """Returns nhrpd.toml."""
        redirect = self.role is Role.HUB if self.redirect is None else self.redirect
        lines = [
            "[daemon]",
            f'control-socket = "{self.socket_path}"',
            f'state-directory = "{self.directory}"',
            f'log-level = "{self.log_level}"',
            "[nflog]",
            f"redirect-group = {REDIRECT_GROUP}",
            f"[interface.{TUNNEL}]",
            "network-id = 1",
            f"holding-time = {self.holding_time_s}",
            'tunnel-source = "eth0"',
            f"shortcut = {str(self.shortcut).lower()}",
            f"redirect = {str(redirect).lower()}",
            f"unique = {str(self.unique).lower()}",
        ]
        if self.authentication is not None:
            lines.append(f'authentication = "{self.authentication}"')
        nhs = self.nhs
        if nhs is None:
            hubs = self.lab.hubs if self.role is Role.SPOKE else []
            nhs = tuple(("dynamic", hub.nbma) for hub in hubs)
        for protocol, nbma in nhs:
            lines += [f"[[interface.{TUNNEL}.nhs]]"]
            lines += [f'protocol = "{protocol}"', f'nbma = "{nbma}"']
        return "\n".join(lines) + "\n" + self.extra

    def start(self) -> None:
        """See `Node.start`. Writes the configuration anew."""
        self.config_path.write_text(self.configuration())
        self._process = self.namespace.popen(
            *(sys.executable, "-m", "nhrpd_py.cli.daemon", "-c", self.config_path),
            log=self.log_path,
            env={
                "PYTHONPATH": str(REPOSITORY),
                **({} if self.search_path is None else {"PATH": self.search_path}),
            },
        )
        wait_until(self._answers, START_LIMIT_S, f"{self.name}: nhrpd answers", interval_s=0.05)

    def reload(self) -> None:
        """Writes the configuration anew and sends SIGHUP."""
        self.config_path.write_text(self.configuration())
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """See `Node.stop`."""
        status = stop(self.process)
        self._process = None
        return status

    def kill(self) -> None:
        """See `Node.kill`."""
        if self._process is not None:
            stop(self._process, signal.SIGKILL)
            self._process = None

    @property
    def process(self) -> subprocess.Popen[Any]:
        """Returns the running daemon."""
        if self._process is None:
            raise CommandFailedError(f"{self.name}: {self.NOT_RUNNING}")
        return self._process

    def run_ctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs nhrpctl with these arguments, without --json."""
        argv = [sys.executable, "-m", "nhrpd_py.cli.ctl", "-s", str(self.socket_path), *arguments]
        done = subprocess.run(
            self.namespace.enter(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60.0,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        if check and done.returncode != 0:
            said = f"{done.stdout}{done.stderr}"
            raise CommandFailedError(f"nhrpctl {arguments}: status {done.returncode}\n{said}")
        return done

    def show(self, view: str) -> Any:
        """Returns the rows of `nhrpctl show VIEW`, read from the daemon's socket."""
        with self._asked() as client:
            return client.get(f"/v1/{view}")[view]

    def flush(self, what: str, **limits: str) -> int:
        """Flushes as `nhrpctl flush WHAT` does; returns how many rows matched."""
        with self._asked() as client:
            return int(client.post("/v1/flush", what=what, **limits)["matched"])

    def cache(self, *, ipv6: bool = False) -> list[Binding]:
        """See `Node.cache`."""
        afi = "ipv6" if ipv6 else "ipv4"
        return [
            Binding(row["type"], row["protocol"], row["nbma"], row["claimed_nbma"])
            for row in self.show("cache")
            if row["afi"] == afi
        ]

    def shortcuts(self, *, ipv6: bool = False) -> dict[str, str | None]:
        """See `Node.shortcuts`."""
        afi = "ipv6" if ipv6 else "ipv4"
        rows = self.show("shortcuts")
        return {row["prefix"]: row["via"] for row in rows if row["afi"] == afi}

    def forget_shortcuts(self) -> None:
        """See `Node.forget_shortcuts`."""
        self.flush("shortcuts")

    def logged(self, text: str) -> list[str]:
        """Returns the lines of the daemon's log with this text."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return [line for line in lines if text in line]

    def resident_bytes(self) -> int:
        """Returns the daemon's resident memory."""
        return resident_bytes(self.process.pid)

    @contextlib.contextmanager
    def _asked(self) -> Iterator[Client]:
        """Yields a client of the daemon; fails the test when the daemon does not answer."""
        try:
            yield Client(str(self.socket_path))
        except NoDaemonError as error:
            raise CommandFailedError(f"{self.name}: {error}") from error

    def _answers(self) -> bool:
        status = self.process.poll()
        if status is not None:
            log = self.log_path.read_text(errors="replace")[-4000:]
            raise CommandFailedError(f"{self.name}: nhrpd ended ({status})\n{log}")
        with socket.socket(socket.AF_UNIX) as control, contextlib.suppress(OSError):
            control.connect(str(self.socket_path))
            return True
        return False


def resident_bytes(pid: int) -> int:
    """Returns VmRSS of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    raise CommandFailedError(f"process {pid} has no memory")


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time that a process used so far, user and system."""
    # The command's name may contain blanks; the fields after its closing bracket do not.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def dmvpn(lab: Lab, *, hub: type[Node], spokes: tuple[type[Node], ...], **options: Any) -> Lab:
    """Adds hub 1 and spokes 2, 3… of the given kinds to `lab` and starts them all."""
    lab.add(hub(number=1, role=Role.HUB, **options))
    for number, kind in enumerate(spokes, start=2):
        lab.add(kind(number=number, role=Role.SPOKE, **options))
    lab.start()
    return lab


def registered(hub: Node, spoke: Node) -> Binding | None:
    """Returns the hub's dynamic binding of a spoke once spoke and hub both have it."""
    if spoke.binding(hub.tunnel, "nhs") is None:
        return None
    return hub.binding(spoke.tunnel, "dynamic")


def _known(text: str | None) -> str | None:
    return None if text in (None, "", "-", "(unspec)") else text
