"""Places for the lab: a kernel with mGRE and NFLOG, and a throw-away environment in it.

Two places offer the same `run`. `Guest` boots User-Mode Linux on the machine's own root file
system: whatever is installed here runs inside, everything written there is gone afterwards except
below the shared directory, and no privileges are needed. `Sandbox` uses the present kernel, when it
has the modules and we are root, inside fresh network, mount and process namespaces. `place()`
chooses; the environment variable NHRPD_LAB=guest|host forces one of them.

Processes inside have NHRPD_LAB_INSIDE=1 in their environment.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tools.lab import uml
from tools.lab.process import Job, Usage

REPOSITORY = Path(__file__).resolve().parents[2]
"""The project's root directory; it has the same path inside."""

INSIDE_VARIABLE = "NHRPD_LAB_INSIDE"
CHOICE_VARIABLE = "NHRPD_LAB"
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TERM", "COLUMNS", "LINES", "CI", "NO_COLOR", "FORCE_COLOR")
CONSOLE_TAIL_LINES = 60
MIB = 1 << 20

SYSTEMD = "/lib/systemd/systemd"
KERNEL_MODULES = ("ip_gre", "nfnetlink_log", "xt_NFLOG", "xt_hashlimit", "veth", "sch_netem")

_SANDBOX = """
mount -t tmpfs -o mode=0755 tmpfs /run && ip link set lo up || exit 125
[ ! -d /etc/frr ] || mount -t tmpfs -o mode=0755 tmpfs /etc/frr || exit 125
"""


# A user's PATH, and root's after a plain `su`, lacks commands that the lab calls, here and inside.
os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


class LabUnavailableError(Exception):
    """No kernel for the lab; the message names what is missing."""


class GuestFailedError(Exception):
    """The guest ended without an exit status: it crashed, or its wall-clock limit passed."""


class Place(Protocol):
    """A place that runs a lab job."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
        console: Path | None = None,
    ) -> int:
        """Runs `argv` to its end and returns its exit status.

        Output goes to the file `console`, or to this process's standard output without one.
        Raises `GuestFailedError` with the end of the console when there is no status to return.
        """

    def shell(
        self,
        argv: Sequence[str],
        *,
        cwd: Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Runs `argv` with this process's terminal as its controlling terminal."""

    def kill(self) -> None:
        """Ends what is running, from any thread; nothing starts here afterwards."""

    @property
    def usage(self) -> Usage:
        """Returns the resources that the last `run` used; known after its end."""


def inside() -> bool:
    """Whether this process already runs in a place made here."""
    return os.environ.get(INSIDE_VARIABLE) == "1"


def missing_in_present_kernel() -> str | None:
    """Returns what the present kernel lacks for the lab, or None when it has everything."""
    if os.geteuid() != 0:
        return "not root"
    for module in KERNEL_MODULES:
        # Built-in modules need no loading: only the tries below decide.
        _succeeds(["modprobe", "--quiet", module])
    if not _can_make_gre():
        return "no ip_gre in this kernel"
    if not _can_sample():
        return "no NFLOG or hashlimit in this kernel"
    return None


def missing_for_systemd() -> str | None:
    """Returns what is missing for a guest with systemd, or None."""
    if not Path(SYSTEMD).exists():
        return f"{SYSTEMD} is not installed (Debian package systemd)"
    return None


def place(
    share: Path,
    *,
    memory: str = "2G",
    limit_s: float = 900.0,
    systemd: bool = False,
    cpu: int | None = None,
) -> Place:
    """Chooses where to run; raises `LabUnavailableError` when nothing fits.

    With `systemd`, the job is a service of Debian's systemd, which always needs a guest. A guest is
    kept on the processor `cpu`.
    """
    if systemd:
        there = uml.missing() or missing_for_systemd()
        if there is not None:
            raise LabUnavailableError(f"guest: {there}")
        return Guest(share=share, memory=memory, limit_s=limit_s, systemd=True, cpu=cpu)
    choice = os.environ.get(CHOICE_VARIABLE, "")
    if choice not in ("", "guest", "host"):
        raise LabUnavailableError(f"{CHOICE_VARIABLE}={choice}: only guest and host are known")
    here = "not asked" if choice == "guest" else missing_in_present_kernel()
    if here is None:
        return Sandbox(share=share, limit_s=limit_s)
    there = "not asked" if choice == "host" else uml.missing()
    if there is None:
        return Guest(share=share, memory=memory, limit_s=limit_s, cpu=cpu)
    raise LabUnavailableError(f"this kernel: {here}; guest: {there}")


def _on_cpu(number: int | None) -> list[str]:
    """Returns the command that keeps a guest on one processor, which makes its system calls cheap."""
    taskset = shutil.which("taskset")
    if taskset is None:
        return []
    return [taskset, "-c", str(min(os.sched_getaffinity(0)) if number is None else number)]


@dataclass(slots=True, eq=False)
class Guest:
    """A place with a User-Mode-Linux machine for each `run`; several may run at once."""

    share: Path
    """Directory that is the same inside, read-write. Writes inside are seen here at the end at the
    latest; earlier after an fsync inside."""
    memory: str = "2G"
    limit_s: float = 900.0
    systemd: bool = False
    """Whether Debian's systemd is the first process, and the job a service of it."""
    cpu: int | None = None
    """The processor on which it is kept; by default the first one."""
    _running: Job = field(init=False)

    def __post_init__(self) -> None:
        self._running = Job(limit_s=self.limit_s)

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
        console: Path | None = None,
    ) -> int:
        """See `Place.run`."""
        return self._boot(argv, cwd=cwd, env=env or {}, console=console, terminal=False)

    def shell(
        self,
        argv: Sequence[str],
        *,
        cwd: Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """See `Place.shell`."""
        return self._boot(argv, cwd=cwd, env=env or {}, console=None, terminal=True)

    def kill(self) -> None:
        """See `Place.kill`."""
        self._running.kill()

    @property
    def usage(self) -> Usage:
        """See `Place.usage`."""
        return self._running.usage

    def _boot(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        console: Path | None,
        terminal: bool,
    ) -> int:
        kernel = uml.find()
        if isinstance(kernel, str):
            raise LabUnavailableError(kernel)
        # The kernel command line has no quoting: the control directory's name has no blanks.
        with tempfile.TemporaryDirectory(prefix="nhrpd-guest-", dir="/tmp") as name:
            control = Path(name)
            shutil.copy(Path(__file__).with_name("guest-init"), control / "init")
            (control / "init").chmod(0o755)
            shares = dict.fromkeys([str(control), str(self.share.resolve())])
            (control / "shares").write_text("".join(f"{share}\n" for share in shares))
            (control / "job").write_text(_job(argv, cwd=cwd, env=env, terminal=terminal))
            if terminal:
                (control / "interactive").touch()
            if self.systemd:
                (control / "systemd").touch()
            kernel_log = control / "kernel.log"
            with kernel_log.open("wb") as log:
                # tty0 is the kernel's console, tty1 the job's.
                consoles = ["con=null", f"con0=null,fd:{log.fileno()}", "con1=fd:0,fd:1"]
                ended = self._running.wait(
                    [
                        *_on_cpu(self.cpu),
                        str(kernel.path),
                        f"mem={self.memory}",
                        "quiet",
                        *kernel.options,
                        "root=/dev/root",
                        "rootfstype=hostfs",
                        "rootflags=/",
                        "ro",
                        f"init={control}/init",
                        *consoles,
                        f"uml_dir={control}/",
                        f"nhrpd_lab={control}",
                    ],
                    console=console,
                    terminal=terminal,
                    env={"TMPDIR": _room_for_memory(), **kernel.environment(control)},
                    pass_fds=[log.fileno()],
                    litter=control,
                )
            status = control / "status"
            if not self._running.timed_out and status.exists() and status.read_text().strip():
                return int(status.read_text())
            said = console_tail(kernel_log, title="kernel")
        why = f"no end after {self.limit_s:g} s" if self._running.timed_out else f"ended ({ended})"
        raise GuestFailedError(
            f"the guest gave no exit status: {why}\n{said}\n{console_tail(console)}"
        )


@dataclass(slots=True, eq=False)
class Sandbox:
    """Fresh network, mount and process namespaces of the present kernel for each `run`."""

    share: Path
    limit_s: float = 900.0
    _running: Job = field(init=False)

    def __post_init__(self) -> None:
        self._running = Job(limit_s=self.limit_s)

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
        console: Path | None = None,
    ) -> int:
        """See `Place.run`."""
        return self._unshare(argv, cwd=cwd, env=env or {}, console=console, terminal=False)

    def shell(
        self,
        argv: Sequence[str],
        *,
        cwd: Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """See `Place.shell`."""
        return self._unshare(argv, cwd=cwd, env=env or {}, console=None, terminal=True)

    def kill(self) -> None:
        """See `Place.kill`."""
        self._running.kill()

    @property
    def usage(self) -> Usage:
        """See `Place.usage`."""
        return self._running.usage

    def _unshare(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        console: Path | None,
        terminal: bool,
    ) -> int:
        # --kill-child ends the process namespace, hence everything in it, together with unshare.
        job = _SANDBOX + _job(argv, cwd=cwd, env=env, terminal=terminal)
        namespaces = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        status = self._running.wait(
            ["unshare", *namespaces, "/bin/sh", "-c", job], console=console, terminal=terminal
        )
        if self._running.timed_out:
            tail = console_tail(console)
            raise GuestFailedError(f"the sandbox did not end within {self.limit_s:g} s\n{tail}")
        if status < 0:
            raise GuestFailedError(f"the sandbox was killed ({status})\n{console_tail(console)}")
        return status


def console_tail(
    console: Path | None, *, lines: int = CONSOLE_TAIL_LINES, title: str = "console"
) -> str:
    """Returns the last lines of a console log, for a message to a person."""
    if console is None or not console.exists():
        return ""
    text = console.read_text(errors="replace").replace("\r", "")
    return "\n".join([f"{title}:", *(f"  {line}" for line in text.splitlines()[-lines:])])


def _job(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], terminal: bool) -> str:
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    wanted = {"HOME": "/root", **passed, **env, INSIDE_VARIABLE: "1"}
    lines = [f"cd {shlex.quote(str(cwd))} || exit 125"]
    if terminal:
        size = shutil.get_terminal_size()
        lines.append(f"stty rows {size.lines} columns {size.columns} 2>/dev/null")
    settings = [f"{name}={value}" for name, value in wanted.items()]
    lines.append("exec " + shlex.join(["env", "-i", *settings, *argv]))
    return "\n".join(lines) + "\n"


def _room_for_memory() -> str:
    """Returns a directory for the file that is a guest's memory."""
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and shutil.disk_usage(shm).free >= 4096 * MIB
    return str(shm) if roomy else tempfile.gettempdir()


def _can_make_gre() -> bool:
    script = "ip link add probe type gre key 42"
    return _succeeds(["unshare", "--net", "sh", "-c", script])


def _can_sample() -> bool:
    rule = "-A FORWARD -m hashlimit --hashlimit-upto 4/minute --hashlimit-name probe"
    tries = " || ".join(
        f"{command} {rule} -j NFLOG --nflog-group 1" for command in ("iptables-legacy", "iptables")
    )
    return _succeeds(["unshare", "--net", "sh", "-c", tries])


def _succeeds(argv: Sequence[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
