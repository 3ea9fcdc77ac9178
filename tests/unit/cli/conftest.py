"""Processes of the daemon, which end with their test."""

from collections.abc import Callable, Iterator

import pytest

from tests.unit.cli.daemon_process import Process


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def begin(*command: str) -> Process:
        started.append(Process(tmp_path, *command))
        return started[-1]

    yield begin
    for each in started:
        each.process.kill()
        each.process.wait()
