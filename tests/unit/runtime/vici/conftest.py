"""A supervisor and a charon that it can reach. Tests that use them take `autojump_clock` as well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.runtime.vici.fake_charon import FakeCharon
from tests.unit.runtime.vici.supervised import Supervised, supervised


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Supervised]:
    """A supervisor without a charon."""
    async with supervised(tmp_path) as it:
        yield it


@pytest.fixture
async def charon(it: Supervised) -> FakeCharon:
    """The charon of `it`, which begins to listen before the test begins."""
    return await it.start_charon()
