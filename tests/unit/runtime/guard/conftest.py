"""The guard's tests share one world."""

import pytest

from tests.unit.runtime.guard.guard_world import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.kernel.close()
