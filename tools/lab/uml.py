"""The User-Mode-Linux kernels that a guest can boot.

`tools/lab-kernel` builds one whose programs need no ptrace: a guest with it computes less than half
as long. Without it, the one of Debian's package user-mode-linux is booted. NHRPD_LAB_KERNEL=built or
NHRPD_LAB_KERNEL=debian asks for one of them, NHRPD_LAB_KERNEL=/a/path for another one that was built.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

KERNEL_VARIABLE = "NHRPD_LAB_KERNEL"
CONFIGURATION = Path(__file__).with_name("kernel.config")
"""Of the kernel that is built: another content makes another kernel."""
DEBIAN_KERNEL = "linux.uml"
DEBIAN_MODULES = Path("/usr/lib/uml/modules")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel to boot."""

    path: Path
    options: tuple[str, ...] = ()
    """Words for its command line."""
    traces: bool = False
    """Whether it runs programs by ptrace, and sets all their registers itself."""

    def environment(self, directory: Path) -> dict[str, str]:
        """Returns what its process needs in the environment; files for it go into `directory`."""
        if not (self.traces and _wide_xstate()):
            return {}
        source, shim = Path(__file__).with_name("wide_xstate.c"), directory / "wide_xstate.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", shim, source], check=True)
        return {"LD_PRELOAD": str(shim)}


def built_path() -> Path:
    """Returns where `tools/lab-kernel` leaves the kernel that it builds."""
    digest = hashlib.sha256(CONFIGURATION.read_bytes()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "nhrpd-lab" / f"linux-{digest[:12]}"


def find() -> Kernel | str:
    """Returns the kernel to boot, or what is missing for one."""
    choice = os.environ.get(KERNEL_VARIABLE, "")
    if choice not in ("", "built", "debian") and not choice.startswith("/"):
        return f"{KERNEL_VARIABLE}={choice}: only built, debian and a path are known"
    if choice != "debian":
        path = Path(choice) if choice.startswith("/") else built_path()
        if _runs(path):
            return Kernel(path, options=("seccomp=auto",))
        if choice:
            return f"{path} is not there, or not for this machine (tools/lab-kernel builds it)"
    installed = shutil.which(DEBIAN_KERNEL)
    if installed is None:
        return f"{DEBIAN_KERNEL} is not installed (Debian package user-mode-linux)"
    if not DEBIAN_MODULES.is_dir():
        return f"{DEBIAN_MODULES} is missing (Debian package user-mode-linux)"
    if shutil.which("insmod") is None:
        return "insmod is not installed (Debian package kmod)"
    if _wide_xstate() and shutil.which("cc") is None:
        return "no C compiler, needed on a processor with AMX (Debian packages gcc, libc6-dev)"
    return Kernel(Path(installed), traces=True)


def missing() -> str | None:
    """Returns what is missing to boot a guest, or None."""
    found = find()
    return found if isinstance(found, str) else None


def _runs(path: Path) -> bool:
    """Whether a built kernel can be started here: another machine with this home may have built it."""
    if not path.is_file():
        return False
    try:
        done = subprocess.run([path, "--version"], capture_output=True, check=False, timeout=10.0)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _wide_xstate() -> bool:
    """Whether the register state is larger than Debian's kernel knows, see wide_xstate.c."""
    return " amx_tile " in Path("/proc/cpuinfo").read_text().replace("\n", " ")
