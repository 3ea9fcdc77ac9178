"""The command `nhrpd`: checks what can be checked beforehand, then runs the daemon in the
foreground.

Exit 0 after a clean stop (and for a good file with `--check`), 1 when it cannot run here or failed,
2 when the command line or the configuration is wrong. Until the configuration is known to be good,
nothing on the machine is touched.
"""

import argparse
import faulthandler
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from nhrpd_py import __version__
from nhrpd_py.config.load import load
from nhrpd_py.core.config import Config, ConfigError
from nhrpd_py.runtime import late_imports

DEFAULT_FILE = "/etc/nhrpd/nhrpd.toml"
FIRST_FREE_DESCRIPTOR = 3
CAPABILITIES = {
    12: ("CAP_NET_ADMIN", "to program neighbours and routes"),
    13: ("CAP_NET_RAW", "to send and receive NHRP packets"),
}
"""linux/capability.h: bit → name and what we need it for."""


def main(arguments: Sequence[str] | None = None) -> int:
    late_imports.install()
    _fill_standard_descriptors()
    options = _parser().parse_args(arguments)
    try:
        config = load(options.config)
    except ConfigError as error:
        return _fail(2, *error.problems)
    if options.check:
        sys.stdout.write(f"{options.config}: good\n")
        return 0
    missing = missing_capabilities()
    if missing:
        return _fail(1, f"nhrpd: cannot run without {', '.join(missing)}; start it as root")
    return _run(options.config, config, options.log_level, options.log_format)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nhrpd", description="NHRP daemon of a Linux DMVPN.")
    add = parser.add_argument
    add("-c", "--config", metavar="FILE", default=DEFAULT_FILE, help="default: %(default)s")
    add("--check", action="store_true", help="check the configuration and exit")
    add(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        help="overrides the configuration's log-level",
    )
    add(
        "--log-format",
        choices=["auto", "console", "json"],
        default="auto",
        help="auto: coloured on a terminal, else one line of key=value each (default)",
    )
    add("--version", action="version", version=f"nhrpd {__version__}")
    return parser


def missing_capabilities(status: str = "/proc/self/status") -> list[str]:
    """What this process lacks, each with its purpose; read from its effective set
    (capabilities(7))."""
    effective = 0
    try:
        text = Path(status).read_text(encoding="utf-8")
    except OSError:  # no /proc here: then the kernel will tell
        return []
    for line in text.splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    return [
        f"{name} ({purpose})"
        for bit, (name, purpose) in CAPABILITIES.items()
        if not effective >> bit & 1
    ]


def _run(
    path: str,
    config: Config,
    log_level: str | None,
    log_format: Literal["auto", "console", "json"],
) -> int:
    import structlog  # noqa: PLC0415 (the checks above should be quick)
    import trio  # noqa: PLC0415

    from nhrpd_py.runtime import app, logs  # noqa: PLC0415
    from nhrpd_py.runtime.control.socket import ControlSocket, ControlSocketError  # noqa: PLC0415

    faulthandler.enable(2)  # the watchdog's SIGABRT shows where we hang
    logs.configure(log_level or config.daemon.log_level, log_format)
    try:
        control = ControlSocket(config.daemon.control_socket, config.daemon.control_group)
    except ControlSocketError as error:
        return _fail(1, f"nhrpd: {error}")
    failed = False
    try:
        trio.run(
            partial(
                app.run,
                config,
                control,
                read=partial(load, path),
                log_level=log_level,
                log_format=log_format,
            )
        )
    except* Exception:  # noqa: BLE001 (it is logged whole)
        structlog.get_logger().exception("daemon.failed")
        failed = True
    except* KeyboardInterrupt:  # before the daemon obeys signals: nothing has begun yet
        failed = True
    finally:
        control.close()
    return 1 if failed else 0


def _fill_standard_descriptors() -> None:
    """Opens what the caller closed of 0, 1 and 2: the next socket of ours would take its place, and
    whatever writes there would write to our peers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < FIRST_FREE_DESCRIPTOR:
        pass
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _fail(status: int, *lines: str) -> int:
    priority = "<3>" if "JOURNAL_STREAM" in os.environ else ""  # an error, sd-daemon(3)
    for line in lines:
        sys.stderr.write(f"{priority}{line}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
