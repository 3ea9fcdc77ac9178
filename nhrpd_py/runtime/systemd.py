"""Reports to the service manager (sd_notify(3)), among them the line that `systemctl status` shows.

Without NOTIFY_SOCKET in the environment everything here does nothing. The watchdog is the pump's:
it calls `beat` once a turn, so that a daemon whose pump hangs is ended and started anew, even if
all its other tasks run.
"""

import os
import socket
import time
from collections.abc import Iterable, Mapping, MutableMapping

import structlog

from nhrpd_py.core.rows import InterfaceRow, NhsRow

BEATS_PER_WATCHDOG = 3
"""Turns of the pump within the watchdog's time: two of them may be late."""
SEND_LIMIT_S = 1.0
"""How long a send may wait for a service manager that does not read."""
PROBLEMS_SHOWN = 3
USEC_PER_S = 1_000_000


class Notifier:
    """Sends the daemon's state to the service manager."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        """`address` is that of NOTIFY_SOCKET: a path, or with a leading `@` an abstract name; None
        where no service manager listens. `watchdog_s` is the time without a beat after which it
        ends the daemon."""
        self._address = address
        self._log = structlog.get_logger()
        self._status = ""
        self._failing = False
        self._last_beat = float("-inf")
        self._socket: socket.socket | None = None
        self.beat_interval_s: float | None = None
        """Longest time between two turns of the pump; None: there is no watchdog."""
        if address is None:
            return
        if not address.startswith(("/", "@")):
            self._log.warning(
                "systemd.unreachable", socket=address, reason="unknown address family"
            )
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(SEND_LIMIT_S)
        if watchdog_s is not None:
            self.beat_interval_s = watchdog_s / BEATS_PER_WATCHDOG

    @classmethod
    def of_environment(cls, environment: MutableMapping[str, str] = os.environ) -> "Notifier":
        """Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and removes them, so that child
        processes do not inherit them."""
        address = environment.pop("NOTIFY_SOCKET", None)
        watchdog_usec = environment.pop("WATCHDOG_USEC", "")
        watched = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        if not watched or not watchdog_usec.isdecimal() or int(watchdog_usec) == 0:
            return cls(address)
        return cls(address, int(watchdog_usec) / USEC_PER_S)

    @property
    def listened_to(self) -> bool:
        """Whether a service manager listens."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """Reports that we are ready: after the start, and at the end of every reload, also of a
        failed one."""
        self._status = status
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """Reports that a reload begins; `ready` must follow."""
        # the clock that Type=notify-reload (systemd 253) compares with its own
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_usec}")

    def stopping(self, status: str) -> None:
        """Reports that a clean stop begins."""
        self._status = status
        self._send("STOPPING=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """Sets the sentence that `systemctl status` shows; costs nothing when it is the same."""
        if text != self._status and self._send(f"STATUS={_one_line(text)}"):
            self._status = text

    def beat(self, now: float) -> None:
        """Reports that the pump has turned, which feeds the watchdog."""
        if self.beat_interval_s is None or now - self._last_beat < self.beat_interval_s:
            return
        if self._send("WATCHDOG=1"):
            self._last_beat = now

    def close(self) -> None:
        """Closes the socket; nothing is sent any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self.beat_interval_s = None

    def _send(self, *assignments: str) -> bool:
        if self._socket is None or self._address is None:
            return False
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto("\n".join(assignments).encode(), name)
        except OSError as error:
            if not self._failing:
                reason = error.strerror or str(error)
                self._log.warning("systemd.unreachable", socket=self._address, reason=reason)
            self._failing = True
            return False
        self._failing = False
        return True


def _one_line(text: str) -> str:
    return " ".join(text.split())


def status_text(
    servers: Iterable[NhsRow],
    interfaces: Iterable[InterfaceRow],
    peers: int,
    problems: Mapping[str, str],
) -> str:
    """Returns the status line: `2/2 NHS up, 14 peers`, followed by the problems: `; gre1: there is
    no such interface`."""
    parts = []
    states = [row.state for row in servers]
    if states:
        parts.append(f"{states.count('up')}/{len(states)} NHS up")
    parts.append("1 peer" if peers == 1 else f"{peers} peers")
    wrong = [f"{row.interface}: {row.problem}" for row in interfaces if row.problem]
    wrong += problems.values()
    if len(wrong) > PROBLEMS_SHOWN:
        wrong[PROBLEMS_SHOWN:] = [f"and {len(wrong) - PROBLEMS_SHOWN} more problems"]
    return "; ".join([", ".join(parts), *wrong])
