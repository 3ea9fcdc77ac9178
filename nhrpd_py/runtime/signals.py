"""The signals that the daemon handles, and how they are caught before its event loop runs.

SIGTERM and SIGINT stop it, SIGHUP reads the configuration file again. SIGUSR1 and SIGUSR2 have no
meaning here; they are caught all the same, for their default action ends the process, while an
operator who sends one expects the daemon to write its state or to reopen its log. Imports only
light modules of the standard library, so that it can be the first thing that the daemon does.
"""

import signal
from collections.abc import Callable
from types import FrameType

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})
UNUSED = frozenset({signal.SIGUSR1, signal.SIGUSR2})
ALL = (*STOPPING, signal.SIGHUP, *UNUSED)


class StopRequested(BaseException):
    """A signal asks the daemon to stop before it has begun anything that must be undone."""


class EarlySignals:
    """Catches the daemon's signals from its first moment until the event loop takes over.

    A signal to stop raises StopRequested wherever the start-up is. After `hold` it only goes into
    `received`, with all others: the event loop looks there first.
    """

    def __init__(self) -> None:
        self.received: list[signal.Signals] = []
        self._holding = False
        self._before: dict[
            signal.Signals, Callable[[int, FrameType | None], object] | int | None
        ] = {}

    def __enter__(self) -> "EarlySignals":  # noqa: PYI034 (typing.Self is not light)
        self._before = {number: signal.signal(number, self._catch) for number in ALL}
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    def release(self) -> None:
        """Restores the former handlers of the signals."""
        while self._before:
            signal.signal(*self._before.popitem())

    def hold(self) -> None:
        """Only records signals from now on, for what follows must not be interrupted.

        Raises StopRequested if a signal to stop came before and its exception was lost, as
        exceptions in a finalizer are.
        """
        self._holding = True
        if STOPPING.intersection(self.received):
            raise StopRequested

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(signal.Signals(number))
        if number in STOPPING and not self._holding:
            raise StopRequested
