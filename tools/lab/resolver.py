"""The nodes' names in DNS: a real server on the lab's Internet."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.lab.namespace import CommandFailedError, Namespace, stop, wait_until

RESOLVER_ADDRESS = "192.0.2.253"
DOMAIN = "vpn.example"
START_LIMIT_S = 30.0


@dataclass(slots=True, eq=False)
class Resolver:
    """dnsmasq on the Internet, at 192.0.2.253; it has only the names that `set` gives it."""

    namespace: Namespace
    directory: Path
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _process: subprocess.Popen[Any] | None = None

    @property
    def resolv_conf(self) -> Path:
        """Returns the resolv.conf of its clients."""
        return self.directory / "resolv.conf"

    @property
    def log_path(self) -> Path:
        """Returns the log, with every query."""
        return self.directory / "dnsmasq.log"

    def start(self) -> None:
        """Starts dnsmasq; with the same names again after `stop`."""
        self.resolv_conf.write_text(
            f"nameserver {RESOLVER_ADDRESS}\noptions timeout:1 attempts:2\n"
        )
        self._write()
        self._process = self.namespace.popen(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="),
            *("--no-resolv", "--no-hosts", f"--addn-hosts={self._hosts}", "--user=root"),
            *(f"--local=/{DOMAIN}/", f"--listen-address={RESOLVER_ADDRESS}", "--bind-interfaces"),
            *("--log-queries", "--log-facility=-"),
            log=self.log_path,
        )
        wait_until(self._started, START_LIMIT_S, "dnsmasq answers", interval_s=0.05)

    def stop(self) -> None:
        """Ends dnsmasq: names cannot be resolved any more."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def set(self, name: str, *addresses: str) -> None:
        """Gives a name these addresses; without any, removes the name."""
        self.names[name] = addresses
        self._write()
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    @property
    def _hosts(self) -> Path:
        return self.directory / "hosts"

    def _write(self) -> None:
        rows = [f"{address} {name}\n" for name, each in self.names.items() for address in each]
        self._hosts.write_text("".join(rows))

    def _started(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise CommandFailedError(f"dnsmasq ended\n{self.log_path.read_text()[-2000:]}")
        with contextlib.suppress(CommandFailedError):
            return ":53 " in self.namespace.run("ss", "-Hlun")
        return False
