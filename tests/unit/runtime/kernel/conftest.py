"""The tests of the kernel store share one world."""

import pytest

from nhrpd_py.runtime.kernel import store as kernel_module
from tests.unit.runtime.kernel.kernel_world import World, running


@pytest.fixture
async def world(tmp_path, monkeypatch):
    setting = tmp_path / "send_redirects"
    setting.write_text("1\n")
    monkeypatch.setattr(kernel_module, "SEND_REDIRECTS_ALL", setting)
    async with running(World()) as world:
        yield world
