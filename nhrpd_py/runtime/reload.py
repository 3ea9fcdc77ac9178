"""Reads the configuration file again and applies it to the running daemon, or refuses it whole.

The file is read and checked in a thread, completely, before anything is changed. Reloads run one
after the other. Settings that only a restart can change are named in the answer, and all others are
applied.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import structlog
import trio

from nhrpd_py.core.config import Config, ConfigError, InterfaceConfig


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """The result of a reload: `problems` when the file was refused, else what changed."""

    changes: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    """Changed settings that need a restart; the old values are in force."""
    problems: tuple[str, ...] = ()


class Reloader:
    """Keeps the configuration in force, and replaces it by the file's."""

    def __init__(
        self,
        read: Callable[[], Config],
        config: Config,
        apply: Callable[[Config], Awaitable[None]],
        faults_of: Callable[[Config], Awaitable[Sequence[str]]],
    ) -> None:
        """`read` returns the file's configuration or raises ConfigError; `apply` returns when all
        of a new configuration is in force. `faults_of` returns what other files lack that a new
        configuration needs, as sentences with the path of the setting."""
        self._read = read
        self._faults_of = faults_of
        self._apply = apply
        self._turn = trio.Lock()
        self._log = structlog.get_logger()
        self.config = config
        """The configuration in force."""

    async def reload(self) -> ReloadOutcome:
        """Reads the file and applies it; logs the outcome."""
        async with self._turn:
            try:
                read = await trio.to_thread.run_sync(self._read)
                wanted, restart = _keep_fixed(self.config, read)
                changes = tuple(describe(self.config, wanted))
                faults = tuple(await self._faults_of(wanted)) if changes else ()
            except ConfigError as error:
                return self._refuse(error.problems)
            except Exception as error:  # noqa: BLE001 (nothing was touched yet, and peers are served)
                self._log.exception("config.unreadable")
                what = " ".join(str(error).split())
                return ReloadOutcome(
                    problems=(f"reading it failed: {type(error).__name__}: {what}",)
                )
            if faults:
                return self._refuse(faults)
            if changes:
                await self._apply(wanted)
                self.config = wanted
            for setting in restart:
                self._log.warning("config.restart_needed", setting=setting)
            self._log.info("config.reloaded", changes="; ".join(changes) or "nothing")
            return ReloadOutcome(changes, restart)

    def _refuse(self, problems: Sequence[str]) -> ReloadOutcome:
        for problem in problems:
            self._log.error("config.refused", problem=problem)
        return ReloadOutcome(problems=tuple(problems))


def _keep_fixed(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """Returns the new configuration with the old values of the settings that only a restart can
    change, and their names."""
    restart: list[str] = []
    level = replace(old.daemon, log_level=new.daemon.log_level)
    for section, before, after in (
        ("daemon", level, new.daemon),
        ("routes", old.routes, new.routes),
    ):
        restart += [f"{section}.{name}" for name in _differences(before, after)]
    return replace(new, daemon=level, routes=old.routes), tuple(restart)


def describe(old: Config, new: Config) -> Iterator[str]:
    """Yields the differences, a line for each section."""
    for section in ("daemon", "nflog", "vici"):
        names = _differences(getattr(old, section), getattr(new, section))
        if names:
            yield f"{section}: {', '.join(names)}"
    for name in sorted(old.profiles.keys() | new.profiles.keys()):
        if old.profiles.get(name) != new.profiles.get(name):
            yield f"profile {name}: {_fate(name in old.profiles, name in new.profiles)}"
    for name in sorted(old.interfaces.keys() | new.interfaces.keys()):
        before, after = old.interfaces.get(name), new.interfaces.get(name)
        if before is None or after is None:
            yield f"interface {name}: {_fate(before is not None, after is not None)}"
        elif before != after:
            yield f"interface {name}: {', '.join(_within(before, after))}"


def _within(before: InterfaceConfig, after: InterfaceConfig) -> Iterator[str]:
    for name in _differences(before, after):
        if name == "nhs":
            yield from _moved(
                "server",
                {(each.protocol, each.nbma): each for each in before.nhs},
                {(each.protocol, each.nbma): each for each in after.nhs},
            )
        elif name == "maps":
            yield from _moved(
                "map",
                {each.protocol: each for each in before.maps},
                {each.protocol: each for each in after.maps},
            )
        else:
            yield "holding-time" if name == "holding-time-s" else name


def _moved(what: str, before: dict[Any, Any], after: dict[Any, Any]) -> Iterator[str]:
    both = before.keys() & after.keys()
    counts = {
        "added": len(after.keys() - both),
        "removed": len(before.keys() - both),
        "changed": sum(before[key] != after[key] for key in both),
    }
    if not any(counts.values()):
        yield f"{what}s in another order"
    for verb, count in counts.items():
        if count:
            yield f"{count} {what}{'' if count == 1 else 's'} {verb}"


def _differences(before: Any, after: Any) -> list[str]:
    return [
        each.name.replace("_", "-")
        for each in fields(before)
        if getattr(before, each.name) != getattr(after, each.name)
    ]


def _fate(was: bool, will_be: bool) -> str:
    return "changed" if was and will_be else "added" if will_be else "removed"
