"""Runs the parts of the daemon that only some configurations need.

There are two kinds. A part that can take another configuration while it runs (`follow`) is started
when it is first needed, gets every configuration, and is never stopped, for it may have to finish
what it began under an earlier one. Any other part is stopped when it is no longer needed, and
restarted when its settings change.
"""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog
import trio

from nhrpd_py.core.config import Config

Settings = TypeVar("Settings")

RETRY_S = 30.0


class Steered(Generic[Settings]):
    """Starts, restarts and stops one part of the daemon as the configuration says."""

    def __init__(
        self,
        name: str,
        settings: Callable[[Config], Settings | None],
        run: Callable[[Settings, trio.TaskStatus[None]], Awaitable[None]],
        *,
        follow: Callable[[Config], None] | None = None,
        isolates: tuple[type[Exception], ...] = (),
        loss: str = "",
    ) -> None:
        """`settings` returns the part's settings, None where it is not needed; `run` runs it until
        cancelled; `follow` gives it another configuration.

        Errors in `isolates` do not end the daemon: they are logged as `NAME.failed`, and `run` is
        tried again every RETRY_S. `loss` names what the daemon cannot do meanwhile.
        """
        self.name = name
        self.problem: str | None = None
        """Why the part does not work, for people."""
        self._settings = settings
        self._run = run
        self._follow = follow
        self._isolates = isolates
        self._loss = loss
        self._life: _Life[Settings] | None = None
        self._log = structlog.get_logger()

    @property
    def running(self) -> bool:
        """Whether the part was started and not stopped since."""
        return self._life is not None

    async def steer(self, nursery: trio.Nursery, config: Config) -> None:
        """Starts, restarts or stops the part as a configuration requires; returns when it has
        started or failed."""
        settings = self._settings(config)
        if self._follow is not None:
            try:
                self._follow(config)
            except self._isolates as error:
                self._log.error(f"{self.name}.failed", reason=_reason(error))
        elif self._life is not None and self._life.settings != settings:
            await self._stop(self._life)
        if settings is not None and self._life is None:
            self._life = _Life(settings)
            await nursery.start(self._live, self._life)

    async def _stop(self, life: "_Life[Settings]") -> None:
        life.scope.cancel()
        await life.ended.wait()
        self._life = None
        self.problem = None

    async def _live(self, life: "_Life[Settings]", task_status: trio.TaskStatus[None]) -> None:
        first = _Started(task_status.started)
        try:
            with life.scope:
                while True:
                    await self._run_once(life.settings, first)
                    first.started()
                    await trio.sleep(RETRY_S)
        finally:
            life.ended.set()

    async def _run_once(self, settings: Settings, first: "_Started") -> None:
        """Runs the part until it raises one of the `isolates`."""

        def started() -> None:
            self.problem = None
            first.started()

        try:
            await self._run(settings, _Started(started))
            reason = "it ended by itself"
        except self._isolates as error:
            reason = _reason(error)
        self.problem = f"{self._loss}: {reason}" if self._loss else reason
        self._log.error(f"{self.name}.failed", reason=reason, retry_in_s=RETRY_S)


class _Life(Generic[Settings]):
    """One run of a part, from its start to its stop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.scope = trio.CancelScope()
        self.ended = trio.Event()


class _Started:
    """Takes the place of a nursery's task status; only its first call has an effect."""

    def __init__(self, then: Callable[[], object]) -> None:
        self._then: Callable[[], object] | None = then

    def started(self, _value: None = None) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
