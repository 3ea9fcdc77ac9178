"""Programs that only note what they are given."""

import os
from pathlib import Path

import pytest

from nhrpd_py.runtime.source_filter import iptables
from tests.unit.runtime.source_filter.fake_backend import World
from tests.unit.runtime.source_filter.fake_programs import Programs


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(iptables, "IPV6_SETTINGS", tmp_path)
    return Programs(tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
