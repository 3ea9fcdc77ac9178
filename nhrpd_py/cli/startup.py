"""What `nhrpd` does before the daemon proper: reads the command line and the configuration, checks
what can be checked beforehand, claims the control socket.

Until the configuration is known to be good, nothing on the machine is touched.
"""

import argparse
import errno
import faulthandler
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from nhrpd_py import __version__
from nhrpd_py.config.load import load
from nhrpd_py.core.config import AuthorizeConfig, Config, ConfigError
from nhrpd_py.paths import CONFIG_FILE
from nhrpd_py.runtime.signals import EarlySignals

FIRST_FREE_DESCRIPTOR = 3
CAPABILITIES = {
    12: ("CAP_NET_ADMIN", "to program neighbours and routes"),
    13: ("CAP_NET_RAW", "to send and receive NHRP packets"),
}
"""linux/capability.h: bit → name and what we need it for."""


def run(arguments: Sequence[str] | None, signals: EarlySignals) -> int:
    """Runs the command; returns its exit status. Raises StopRequested when a signal asks for the end
    before the daemon has begun anything."""
    _fill_standard_descriptors()
    options = _parser().parse_args(arguments)
    if options.check:
        signals.release()  # nothing here but a command that ends by itself
        return _check(options.config)
    return _run(options, signals)


def _check(path: str) -> int:
    try:
        config = load(path)
    except ConfigError as error:
        return _fail(2, *error.problems)
    if any(each.ipsec is not None for each in config.interfaces.values()):
        import trio  # noqa: PLC0415 (only profiles need it)

        from nhrpd_py.runtime.vici.profiles.profiles import faults_of  # noqa: PLC0415

        faults = trio.run(faults_of, config)
        if faults:
            return _fail(2, *(f"{path}: {fault}" for fault in faults))
    sys.stdout.write(f"{path}: good\n")
    for line in _advice(config):
        sys.stdout.write(f"{path}: {line}\n")
    return 0


def _advice(config: Config) -> Iterator[str]:
    """Yields what the settings leave open or refuse, without being mistakes."""
    for name, each in config.interfaces.items():
        if not each.overlay:
            yield (
                f"interface.{name}: note: without overlay, public IPv4 addresses are no tunnel "
                "addresses unless they are in the tunnel's own network; to name the cloud's "
                'addresses: overlay = ["10.255.255.0/24"]'
            )
        if each.ipsec is not None and each.authorize == AuthorizeConfig():
            yield (
                f"interface.{name}: note: without rules, every peer that IKE lets in may have any "
                f"free tunnel address and any network; see [[interface.{name}.authorize]]"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nhrpd", description="NHRP daemon of a Linux DMVPN.")
    add = parser.add_argument
    add("-c", "--config", metavar="FILE", default=CONFIG_FILE, help="default: %(default)s")
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
    """Returns what this process lacks, each with its purpose; read from its effective set
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


def _run(options: argparse.Namespace, signals: EarlySignals) -> int:
    try:
        config = load(options.config)
    except ConfigError as error:
        return _fail(2, *error.problems)
    missing = missing_capabilities()
    if missing:
        return _fail(1, f"nhrpd: cannot run without {', '.join(missing)}; start it as root")
    return _serve(options, config, partial(load, options.config), signals)


def _serve(
    options: argparse.Namespace,
    config: Config,
    read: Callable[[], Config],
    signals: EarlySignals,
) -> int:
    import structlog  # noqa: PLC0415 (the checks above should be quick)
    import trio  # noqa: PLC0415

    from nhrpd_py.runtime import app, logs  # noqa: PLC0415
    from nhrpd_py.runtime.control.socket import ControlSocket, ControlSocketError  # noqa: PLC0415

    faulthandler.enable(2)  # the watchdog's SIGABRT shows where we hang
    logs.configure(options.log_level or config.daemon.log_level, options.log_format)
    signals.hold()
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
                read=read,
                log_level=options.log_level,
                log_format=options.log_format,
                earlier=signals.received,
            )
        )
    except* Exception as group:
        failed = True
        log = structlog.get_logger()
        lacking = _lack_of_descriptors(group)
        if lacking is None:
            log.exception("daemon.failed")
        else:
            log.error("daemon.failed", reason=lacking)  # noqa: TRY400 (see there)
    finally:
        control.close()
    return 1 if failed else 0


def _lack_of_descriptors(group: ExceptionGroup[Exception]) -> str | None:
    """Returns a sentence when want of file descriptors is all that failed: no traceback explains
    that any better."""
    _those, others = group.split(
        lambda error: isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    )
    if others is not None:
        return None
    return f"{os.strerror(errno.EMFILE)}: raise the limit (systemd: LimitNOFILE=)"


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
