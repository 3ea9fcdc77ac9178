"""The daemon as a systemd service, installed by systemd/install, in a guest booted by systemd."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.lab.guest import REPOSITORY
from tools.lab.namespace import CommandFailedError
from tools.lab.nodes import NhrpdNode

INSTALLED = Path("/opt/nhrpd")
"""The project's place for services: they see neither /tmp nor /home, where the repository may
be."""
COMMANDS = {"nhrpd": "daemon", "nhrpctl": "ctl"}
COMMAND_LIMIT_S = 90.0

_COMMAND = """#!/usr/bin/python3
import sys
sys.path[:0] = ["{installed}/source", "{installed}/packages"]
from nhrpd_py.cli.{module} import main
sys.exit(main())
"""


def install() -> None:
    """Installs the project as `pip install` and systemd/install would, for this boot."""
    for source, name in (
        (str(REPOSITORY), "source"),
        (sysconfig.get_path("purelib"), "packages"),
    ):
        target = INSTALLED / name
        if not target.is_mount():
            target.mkdir(parents=True, exist_ok=True)
            run("mount", "--bind", source, target)
    for command, module in COMMANDS.items():
        path = Path("/usr/local/bin") / command
        path.write_text(_COMMAND.format(installed=INSTALLED, module=module))
        path.chmod(0o755)
    run(REPOSITORY / "systemd" / "install")


def run(*argv: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    done = subprocess.run(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_LIMIT_S,
    )
    if check and done.returncode != 0:
        said = f"{done.stdout}{done.stderr}"
        raise CommandFailedError(f"{' '.join(map(str, argv))}: status {done.returncode}\n{said}")
    return done


def as_user(name: str, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command as a user with the groups of that user."""
    who = [f"--reuid={name}", f"--regid={name}", "--init-groups", "--reset-env"]
    return run("setpriv", *who, "--", *argv, check=False)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit, read and controlled with systemctl and journalctl."""

    name: str

    def __getitem__(self, key: str) -> str:
        """Returns a property, such as `ActiveState`."""
        return run("systemctl", "show", "--value", "-p", key, self.name).stdout.strip()

    @property
    def pid(self) -> int:
        """Returns the main process, 0 when there is none."""
        return int(self["MainPID"])

    def do(self, verb: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs `systemctl VERB`; an error has the end of the journal."""
        done = run("systemctl", verb, *options, self.name, check=False)
        if check and done.returncode != 0:
            raise CommandFailedError(f"{verb} {self.name}: {done.stderr}\n{self.text()}")
        return done

    def override(self, **settings: str) -> None:
        """Sets options of the unit's service until the next boot; without any, removes them."""
        directory = Path("/run/systemd/system") / f"{self.name}.d"
        directory.mkdir(exist_ok=True)
        lines = [f"{key}={value}" for key, value in settings.items()]
        (directory / "lab.conf").write_text("\n".join(["[Service]", *lines, ""]))
        run("systemctl", "daemon-reload")

    def journal(self, *, since: float) -> list[dict[str, Any]]:
        """Returns the journal's entries from a wall-clock instant (s) on."""
        run("journalctl", "--sync")
        said = run("journalctl", "-b", "-o", "json", "-u", self.name).stdout
        entries: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
        return [row for row in entries if int(row["__REALTIME_TIMESTAMP"]) >= since * 1e6]

    def text(self) -> str:
        """Returns the end of the journal for a person."""
        return run("journalctl", "-n", "60", "-o", "short-monotonic", "-u", self.name).stdout


@dataclass(slots=True, eq=False, kw_only=True)
class UnitNode(NhrpdNode):
    """Our daemon as `nhrpd@NODE.service`."""

    @property
    def unit(self) -> Unit:
        """Returns the node's service."""
        return Unit(f"nhrpd@{self.name}.service")

    @property
    def socket_path(self) -> Path:
        """See `NhrpdNode.socket_path`."""
        return Path("/run/nhrpd") / self.name / "nhrpd.sock"

    @property
    def config_path(self) -> Path:
        """See `NhrpdNode.config_path`."""
        return Path("/etc/nhrpd") / f"{self.name}.toml"

    def configuration(self) -> str:
        """Returns nhrpd.toml without paths: systemd's directories are the defaults."""
        lines = NhrpdNode.configuration(self).splitlines()
        paths = ("control-socket", "state-directory")
        return "\n".join([*(line for line in lines if not line.startswith(paths)), ""])

    def write_configuration(self) -> None:
        """Writes the file as systemd/README.md tells operators to."""
        self.config_path.write_text(self.configuration())
        run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/nhrpd.conf")

    def start(self) -> None:
        """See `Node.start`. Writes the configuration anew."""
        self.write_configuration()
        self.unit.do("start")

    def stop(self) -> int:
        """See `Node.stop`; the status is that of the last main process."""
        self.unit.do("stop")
        return int(self.unit["ExecMainStatus"])

    def kill(self) -> None:
        """Stops the service without a restart, at the end of the lab."""
        self.unit.do("stop", check=False)
        (self.directory / "journal.log").write_text(self.unit.text())

    def log_files(self) -> list[Path]:
        """See `Node.log_files`."""
        (self.directory / "journal.log").write_text(self.unit.text())
        return [self.directory / "journal.log"]


MACHINE = Unit("nhrpd.service")
"""The daemon of the guest itself."""


@contextlib.contextmanager
def machine(configuration: str) -> Iterator[Unit]:
    """`nhrpd.service` for one test, not started yet."""
    Path("/etc/nhrpd/nhrpd.toml").write_text(configuration)
    run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/nhrpd.conf")
    try:
        yield MACHINE
    finally:
        MACHINE.do("stop", check=False)
        MACHINE.do("reset-failed", check=False)
