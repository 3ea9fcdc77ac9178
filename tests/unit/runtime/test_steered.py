"""Parts of the daemon that the configuration starts, restarts and stops."""

import pytest
import structlog
import trio
import trio.testing

from nhrpd_py.core.config import Config, NflogConfig
from nhrpd_py.runtime import steered
from nhrpd_py.runtime.steered import Steered


class LackingError(OSError):
    """What the part may fail with."""


def a_config(group: int) -> Config:
    return Config(nflog=NflogConfig(redirect_group=group))


def a_group(config: Config) -> int | None:
    """0 stands for: not needed."""
    return config.nflog.redirect_group or None


class Part:
    """Writes down its lives."""

    def __init__(self) -> None:
        self.deeds: list[tuple[str, int]] = []
        self.failures: list[Exception] = []

    async def run(self, group: int, task_status) -> None:
        self.deeds.append(("start", group))
        try:
            if self.failures:
                raise self.failures.pop(0)
            task_status.started()
            await trio.sleep_forever()
        finally:
            self.deeds.append(("end", group))

    def follow(self, config: Config) -> None:
        self.deeds.append(("follow", config.nflog.redirect_group))
        if self.failures:
            raise self.failures.pop(0)


async def test_a_part_runs_while_it_is_needed_and_anew_with_other_settings(nursery) -> None:
    part = Part()
    it = Steered("part", a_group, part.run)
    for group in (0, 1, 1, 2, 0, 0):
        await it.steer(nursery, a_config(group))
        assert it.running is bool(group)
    assert part.deeds == [("start", 1), ("end", 1), ("start", 2), ("end", 2)]


async def test_a_part_that_follows_is_told_of_everything_and_goes_on(nursery) -> None:
    part = Part()
    it = Steered("part", a_group, part.run, follow=part.follow)
    for group in (0, 1, 2, 0):
        await it.steer(nursery, a_config(group))
    assert it.running
    assert part.deeds == [("follow", 0), ("follow", 1), ("start", 1), ("follow", 2), ("follow", 0)]


async def test_a_failure_is_a_problem_until_the_part_runs_again(nursery, autojump_clock) -> None:
    part = Part()
    part.failures = [LackingError(16, "it is taken"), LackingError("odd")]
    it = Steered("part", a_group, part.run, isolates=(LackingError,), loss="no service")
    with structlog.testing.capture_logs() as lines:
        await it.steer(nursery, a_config(1))
        first = it.problem
        await trio.sleep(steered.RETRY_S + 1)
        second = it.problem
        await trio.sleep(steered.RETRY_S + 1)
    assert first == "no service: it is taken"
    assert second == "no service: odd"
    assert it.problem is None
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("part.failed", "it is taken"),
        ("part.failed", "odd"),
    ]


async def test_a_part_that_waits_for_its_next_try_can_be_stopped(nursery, autojump_clock) -> None:
    part = Part()
    part.failures = [LackingError(16, "it is taken")]
    it = Steered("part", a_group, part.run, isolates=(LackingError,))
    await it.steer(nursery, a_config(1))
    await it.steer(nursery, a_config(0))
    assert (it.running, it.problem) == (False, None)
    await trio.sleep(steered.RETRY_S * 2)
    assert part.deeds == [("start", 1), ("end", 1)]


async def test_a_part_that_cannot_follow_runs_all_the_same(nursery) -> None:
    part = Part()
    part.failures = [LackingError(1, "not allowed")]
    it = Steered("part", a_group, part.run, follow=part.follow, isolates=(LackingError,))
    await it.steer(nursery, a_config(1))
    assert it.running


async def test_any_other_error_ends_the_daemon() -> None:
    part = Part()
    part.failures = [ZeroDivisionError()]
    it = Steered("part", a_group, part.run, isolates=(LackingError,))
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await it.steer(nursery, a_config(1))
    assert caught.group_contains(ZeroDivisionError)
